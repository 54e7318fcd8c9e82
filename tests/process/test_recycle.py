"""Workers are replaced by fresh ones of the same generation, one by one, and nobody notices."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from process.clients import Gate, Http, address_of
from process.crowd import Crowd
from process.releases import check_capacity, deploy, served, wait_at
from process.support import APPS

from leeward.testing import serve

#: Under load; `make test` does 20, RECYCLES=100 in the environment makes the long run of it.
TIMES = int(os.environ.get("RECYCLES", "20"))


@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_every_slot_gets_a_fresh_worker_one_after_the_other(tmp_path: Path, mode: str) -> None:
    """Same generation, same slots, new processes; a replacement is ready before one drains."""
    deploy(tmp_path, "one")
    with served(tmp_path, "--start", mode, workers=3) as service:
        old = {it["slot"]: it["pid"] for it in service.workers()}
        start = service.mark()
        done = service.leeward("recycle")
        assert (done.returncode, done.stderr) == (0, ""), done
        assert done.stdout.splitlines() == [
            "1 of 3 replaced",
            "2 of 3 replaced",
            "3 workers replaced",
        ]
        for slot in range(3):
            service.wait_line(rf"worker={slot} gen=1 pid={old[slot]} gone$")
        new = {it["slot"]: it["pid"] for it in service.workers()}
        assert new.keys() == old.keys() and not set(new.values()) & set(old.values())
        assert service.ps()["generation"] == 1 and not service.ps()["ends"]
        check_capacity(service, 3, start)
        told = re.findall(r"pid=(\d+) (ready|draining)", "\n".join(service.lines[start:]))
        olds = [int(pid) in old.values() for pid, _ in told]
        assert olds == [False, True] * 3, "one at a time"


def test_one_slot_alone(tmp_path: Path) -> None:
    """`recycle 1` leaves the others as they are."""
    deploy(tmp_path, "one")
    with served(tmp_path, workers=2) as service:
        old = {it["slot"]: it["pid"] for it in service.workers()}
        done = service.leeward("recycle", "1")
        assert (done.returncode, done.stdout) == (0, "1 worker replaced\n"), done
        service.wait_line(rf"pid={old[1]} gone$")
        new = {it["slot"]: it["pid"] for it in service.workers()}
        assert new[0] == old[0] and new[1] != old[1]


def test_a_slot_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Exit code 2, the slot, and where to look; a word that is no slot is a name."""
    deploy(tmp_path, "one")
    with served(tmp_path, workers=1) as service:
        done = service.leeward("recycle", "7")
        assert done.returncode == 2 and "no worker serves in slot 7" in done.stderr, done
        done = service.leeward("recycle", service.name)
        assert done.returncode == 0, done
        done = service.leeward("recycle", "first", service.name)
        assert done.returncode == 2 and "found 'first'" in done.stderr, done


@pytest.mark.timeout(60 + 3 * TIMES)
def test_nobody_notices_under_load(tmp_path: Path) -> None:
    """Keep-alive clients and new ones: every request is answered by 200."""
    deploy(tmp_path, "one")
    with served(tmp_path, workers=2) as service, Crowd(address_of(service)) as crowd:
        for _ in range(TIMES):
            assert service.leeward("recycle").returncode == 0
            crowd.all_answered()
        print(f"{TIMES} times, {crowd.answers} answers, {len(crowd.errors)} errors")


def test_all_that_ask_at_once_are_replaced_one_by_one(tmp_path: Path) -> None:
    """systemd's TERM to the whole control group: never more than one worker too many."""
    deploy(tmp_path, "one")
    with served(tmp_path, workers=4) as service:
        old = [it["pid"] for it in service.workers()]
        start = service.mark()
        for pid in old:
            os.kill(pid, signal.SIGTERM)
        for pid in old:
            service.wait_line(rf"pid={pid} gone$")
        check_capacity(service, 4, start)
        told = re.findall(r"pid=(\d+) (ready|draining)", "\n".join(service.lines[start:]))
        assert [word for _, word in told] == ["ready", "draining"] * 4


def test_a_recycle_during_a_reload_during_a_stop(tmp_path: Path) -> None:
    """The stop wins, each caller hears so, and nothing is left."""
    deploy(tmp_path, "one")
    with served(tmp_path, workers=2) as service, Gate() as gate:
        deploy(tmp_path, "two", at_import=wait_at(gate))
        reload = service.begin("reload")
        service.wait_line("reload asked for")
        recycle = service.begin("recycle")
        service.wait_line("recycling 2 workers")
        done = service.leeward("stop")
        assert done.returncode == 0, done
        for asking in (reload, recycle):
            _, words = asking.communicate(timeout=30)
            assert asking.returncode == 0 or "it is stopping" in words, words


def test_a_request_in_flight_is_finished_by_the_old_worker() -> None:
    """The replacement is there at once; the answer comes when it comes."""
    with serve("held", "-w", "1", cwd=APPS) as service, Gate() as gate:
        with Http(address_of(service.wait_ready(1))) as busy:
            held = gate.hold(busy)
            assert service.leeward("recycle").returncode == 0
            service.wait_line(rf"pid={held.pid} draining")
            held.release()
            answer = busy.answer()
            assert answer.status == 200 and answer.announces_close
        service.wait_line(rf"pid={held.pid} gone$")
