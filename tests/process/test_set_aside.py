"""`leeward drain SLOT`: a worker is taken out of accept, and stays to be looked at."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path

import pytest
from process.clients import Address, Gate, Http, WebSocket, address_of, get
from process.crowd import Crowd
from process.releases import MODULE, NO_PYC, check_capacity, deploy, served, wait_at
from process.support import APPS, gone, until

from leeward.testing import Service, serve


def aside(service: Service, slot: int, *flags: str) -> int:
    """Sets the worker of `slot` aside.  Returns its pid."""
    (pid,) = [it["pid"] for it in service.workers() if it["slot"] == slot]
    done = service.leeward("drain", str(slot), *flags)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert f"worker {slot} (pid {pid}) is aside" in done.stdout, done
    return int(pid)


def connected_to(address: Address, pid: int) -> Http:
    """A connection that this worker has accepted: whoever is quicker does."""

    def tried() -> Http | None:
        client = Http(address)
        if client.get().json["pid"] == pid:
            return client
        client.close()
        return None

    found = until(tried, f"{pid} to accept")
    assert found is not None
    return found


def states(service: Service) -> dict[int, str]:
    return {it["pid"]: it["state"] for it in service.ps()["workers"]}


@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_it_keeps_what_it_has_and_gets_nothing_new(start: str) -> None:
    """WebSockets live, each HTTP client is told to go with its answer; TERM ends the looking."""
    with serve("held", "-w", "2", "--start", start, cwd=APPS) as service, Gate() as gate:
        address = address_of(service.wait_ready(2))
        with WebSocket(address) as socket, Http(address) as busy:
            slot = int(re.findall(r'"slot": "(\d)"', socket.hear())[0])
            (pid,) = [it["pid"] for it in service.workers() if it["slot"] == slot]
            idle = connected_to(address, pid)
            held = gate.hold(busy)
            mark = service.mark()
            assert aside(service, slot) == pid
            found = service.ps()
            (it,) = [it for it in found["workers"] if it["pid"] == pid]
            assert it["state"] == "aside" and 590 < it["aside_left"] <= 600
            assert re.search(rf"{pid} +aside, (9m\d\ds|10m00s) left", service.leeward("ps").stdout)
            assert len([it for it in found["workers"] if it["state"] == "serving"]) == 2
            assert pid not in {get(address).json["pid"] for _ in range(10)}
            answer = idle.get()
            assert (answer.json["pid"], answer.announces_close) == (pid, True) and idle.at_end()
            idle.close()
            if held.pid == pid:
                held.release()
                assert busy.answer().announces_close
            socket.say("still here")
            assert socket.hear() == "still here"
            os.kill(pid, signal.SIGTERM)
            assert socket.close_code() == 1012
        held.release()
        service.wait_line(rf"worker={slot} gen=1 pid={pid} gone$")
        check_capacity(service, 2, mark)
        assert not service.ps()["ends"]


def test_when_its_time_is_over_it_drains_as_for_a_reload() -> None:
    """Nobody needs to remember it."""
    with serve("held", "-w", "1", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with WebSocket(address) as socket:
            socket.hear()
            pid = aside(service, 0, "--for", "400ms")
            service.wait_line(rf"pid={pid} draining \(reload\): 1 connection")
            assert socket.close_code() == 1012
        assert gone(pid)


def test_only_a_stop_ends_it_before_its_time(tmp_path: Path) -> None:
    """Reload, rollback, recycle and scale leave it alone, and nobody notices it."""
    deploy(tmp_path, "one")
    with served(tmp_path, workers=2) as service, Crowd(address_of(service)) as crowd:
        # Longer than poll(2) and epoll_wait(2) can be asked to wait: 24.8 days.
        pid = aside(service, 1, "--for", "1000h")
        for verb in ("reload", "rollback", "recycle"):
            done = service.leeward(verb, "--timeout", "1000h")
            assert done.returncode == 0, done
            assert states(service)[pid] == "aside", verb
            crowd.all_answered()
        assert service.leeward("scale", "1").returncode == 0
        assert states(service)[pid] == "aside"
    assert gone(pid)
    assert f"pid={pid} gone" in service.log and "outlived" not in service.log


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV])
def test_its_death_is_one_line_and_no_strike(tmp_path: Path, signum: int) -> None:
    """Whoever attaches a debugger may well kill it."""
    deploy(tmp_path, "one")
    with served(tmp_path, workers=1) as service:
        pid = aside(service, 0)
        before = states(service)
        os.kill(pid, signum)
        service.wait_line(rf"pid={pid} gone while it was aside \(killed by SIG")
        found = service.ps()
        assert not found["ends"] and not found["backoff"]
        assert {it["pid"] for it in found["workers"]} == before.keys() - {pid}


def test_what_cannot_be_set_aside_is_said(tmp_path: Path) -> None:
    """Exit code 2: no such slot, no number, one is aside already."""
    deploy(tmp_path, "one")
    with served(tmp_path, workers=1) as service:
        done = service.leeward("drain", "7")
        assert done.returncode == 2 and "there is no slot 7: 1 worker" in done.stderr, done
        done = service.leeward("drain", "first")
        assert done.returncode == 2 and "found 'first'" in done.stderr, done
        pid = aside(service, 0)
        done = service.leeward("drain", "0")
        assert done.returncode == 2 and f"(pid {pid}); kill {pid} ends it" in done.stderr, done
        os.kill(pid, signal.SIGTERM)
        service.wait_line(rf"pid={pid} gone$")
        assert aside(service, 0) != pid


def test_a_worker_that_starts_is_nothing_to_look_at_yet(tmp_path: Path) -> None:
    """Its slot is named, and nothing is touched."""
    with Gate() as gate:
        deploy(tmp_path, "one", in_factory=wait_at(gate))
        with serve(MODULE, "-w", "2", cwd=tmp_path, env=NO_PYC) as service:
            gate.arrival().release()
            held = gate.arrival()
            done = service.leeward("drain", "1")
            assert done.returncode == 2 and "no worker serves in slot 1" in done.stderr, done
            held.release()
            service.wait_ready(2)


def test_a_stop_answers_who_waits(tmp_path: Path) -> None:
    """The replacement still starts: nobody is set aside, and the caller hears why."""
    deploy(tmp_path, "one")
    with Gate() as gate, served(tmp_path, "--start", "spawn", workers=1) as service:
        deploy(tmp_path, "one", at_import=wait_at(gate))
        drain = service.begin("drain", "0")
        gate.arrival()
        assert service.leeward("stop").returncode == 0
        _, words = drain.communicate(timeout=30)
        assert drain.returncode == 1 and "it is stopping" in words, words


def test_a_worker_that_ends_before_it_is_replaced(tmp_path: Path) -> None:
    """There is nobody to look at: exit code 3."""
    deploy(tmp_path, "one")
    with Gate() as gate, served(tmp_path, "--start", "spawn", workers=1) as service:
        deploy(tmp_path, "one", at_import=wait_at(gate))
        (pid,) = states(service)
        drain = service.begin("drain", "0")
        held = gate.arrival()
        os.kill(pid, signal.SIGKILL)
        _, words = drain.communicate(timeout=30)
        assert drain.returncode == 3 and f"(pid {pid}) has ended before" in words, words
        threading.Thread(target=held.release).start()
        service.wait_ready()


def test_an_adopted_program_is_set_aside_too() -> None:
    """Whose loop it is does not matter."""
    flags = ("--kind", "script")
    with serve("adopted.py", *flags, args=("asyncio_run", "--port=0"), bind=None, cwd=APPS) as it:
        address = address_of(it.wait_ready(1))
        with Http(address) as client:
            pid = client.get().json["pid"]
            assert aside(it, 0, "--for", "1m") == pid
            answer = client.get()
            assert (answer.json["pid"], answer.announces_close) == (pid, True)
            assert get(address).json["pid"] != pid
