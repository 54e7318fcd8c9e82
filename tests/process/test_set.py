"""`leeward set`: other settings at once, in every worker, and in all those to come."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from process.clients import Gate, Http, address_of, get
from process.registry import WAITS, waiting
from process.releases import deploy, served, wait_at
from process.support import until

from leeward.testing import Service, serve


def set_(service: Service, *words: str) -> str:
    done = service.leeward("set", *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def drained_within(service: Service, slot: int = 0) -> str:
    """How long a worker says that it may take, when it is recycled."""
    mark = service.mark()
    done = service.leeward("recycle", str(slot))
    assert done.returncode == 0, done
    return service.wait_line(rf"worker={slot} .* draining .* at most (\S+) s", after=mark)[1]


def test_the_log_level_changes_at_once() -> None:
    """Leeward's lines and the application's, and back again."""
    with waiting("--log-level", "warning", workers=2) as service:
        address = address_of(service)
        get(address, "/before")
        assert set_(service, "log-level=info") == "set in 2 workers\n"
        for _ in range(4):
            get(address, "/between")
        service.wait_line(r"said: served /between")
        assert set_(service, "log_level=default") == "set in 2 workers\n"
        get(address, "/after")
        assert set_(service, "log-level=debug")
        get(address, "/last")
        service.wait_line(r"said: served /last")
        assert "/before" not in service.log and "/after" not in service.log


def test_what_is_set_holds_for_whoever_comes_later() -> None:
    """A replacement, a worker after a crash, a new generation, a new slot."""
    with waiting("--settle", "0s", workers=2, graceful="25s") as service:
        assert set_(service, "graceful-timeout=7s") == "set in 2 workers\n"
        assert drained_within(service) == "7"
        assert drained_within(service) == "7", "its replacement knows it too"
        pid = service.workers()[1]["pid"]
        mark = service.mark()
        os.kill(pid, signal.SIGKILL)
        service.wait_line(r"worker=1 .* ready", after=mark)
        assert drained_within(service, 1) == "7"
        assert service.leeward("reload").returncode == 0
        service.wait_line(r"generation 2 serves")
        assert drained_within(service) == "7"
        mark = service.mark()
        service.leeward("scale", "3")
        service.wait_line(r"worker=2 .* ready", after=mark)
        assert drained_within(service, 2) == "7"
        assert set_(service) == 'graceful-timeout = "7s"\n'
        set_(service, "--unset", "graceful-timeout")
        assert drained_within(service, 2) == "25"
        assert "nothing is set" in set_(service)


@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_in_both_modes(start: str) -> None:
    with waiting("--start", start) as service:
        set_(service, "graceful-timeout=6", "drain-window=1s")
        assert drained_within(service) == "6"
        assert drained_within(service) == "6"


def test_the_origin_of_what_is_set_is_told() -> None:
    """`config --origin` says `runtime`, and what follows from it."""
    with waiting() as service:
        set_(service, "graceful-timeout=5s", "stall-warn=1s")
        done = service.leeward("config", f"{WAITS}:make_app", "--origin", "--name", service.name)
        assert done.returncode == 0, done
        lines = {it.partition(" = ")[0]: it for it in done.stdout.splitlines()}
        assert lines["stall-warn"].startswith('stall-warn = "1s" ')
        assert lines["stall-warn"].endswith("# runtime (leeward set)")
        assert lines["drain-window"].startswith('drain-window = "5s"')
        assert lines["drain-window"].endswith("# runtime, follows another")
        assert "default" in lines["settle"]
        other = service.leeward("config", f"{WAITS}:make_app", "--origin", "--name", "another")
        assert "runtime" not in other.stdout


def test_stalls_are_told_from_now_on() -> None:
    """A worker that told nobody how its loop turns begins to."""
    with waiting("--stall-warn", "0s", "--stall-kill", "0s") as service, Gate() as gate:
        set_(service, "stall-warn=100ms")
        with Http(address_of(service)) as client:
            held = gate.hold(client, "blocked")
            service.wait_line(r"loop blocked for .* waits_in_many_ways\.py")
            held.release()
            client.answer()


def test_a_limit_that_is_passed_already_is_reached() -> None:
    """A worker that has answered more than it may now is replaced."""
    with waiting() as service:
        for _ in range(12):
            get(address_of(service), "/plain")
        pid = service.workers()[0]["pid"]
        set_(service, "max-requests=5", "max-requests-jitter=10%")
        assert set_(service) == 'max-requests = 5\nmax-requests-jitter = "10%"\n'
        service.wait_line(rf"pid={pid} asks to be replaced \(answered 5 requests, --max-requests\)")
        service.wait_line(rf"pid={pid} gone$")


def test_two_at_once_both_hold() -> None:
    with waiting(workers=2) as service:
        asking = [service.begin("set", it) for it in ("settle=10s", "max-lingering=3")]
        for it in asking:
            out, err = it.communicate(timeout=30)
            assert (it.returncode, err) == (0, "") and out == "set in 2 workers\n"
        assert set(set_(service).splitlines()) == {'settle = "10s"', "max-lingering = 3"}


def test_set_during_a_reload(tmp_path: Path) -> None:
    """The generation that is being loaded has it as well."""
    deploy(tmp_path, "one")
    with Gate() as gate, served(tmp_path, workers=1) as service:
        deploy(tmp_path, "two", at_import=wait_at(gate))
        reload = service.begin("reload")
        loading = gate.arrival()
        assert set_(service, "graceful-timeout=4s") == "set in 1 worker\n"
        loading.release()
        assert reload.wait(30) == 0
        reload.communicate()
        service.wait_line(r"gen=1 .* draining .* at most 4 s")
        assert drained_within(service) == "4"


def test_a_stopped_worker_is_named_and_obeys_later() -> None:
    with waiting("--log-level", "warning", workers=2) as service:
        worker = service.workers()[1]
        os.kill(worker["pid"], signal.SIGSTOP)
        service.wait_line(rf"pid={worker['pid']} stopped by SIGSTOP")
        done = service.leeward("set", "log-level=info")
        assert done.returncode == 1 and "set in 1 worker" in done.stderr
        assert f"worker 1 (pid {worker['pid']}) has not answered" in done.stderr
        os.kill(worker["pid"], signal.SIGCONT)
        service.wait_line(rf"pid={worker['pid']} continued")
        assert set_(service, "settle=9s") == "set in 2 workers\n"

        def says() -> bool:
            get(address_of(service), "/plain")
            return f"worker=1 gen=1 pid={worker['pid']} said: served" in service.log

        until(says, "the one that was stopped to say so")


def test_a_program_that_is_adopted_obeys_too(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import asyncio, tornado.web\n"
        "async def main():\n"
        "    tornado.web.Application([]).listen(0, '127.0.0.1')\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    with serve("program.py", "-w", "1", cwd=tmp_path, bind=None) as service:
        service.wait_ready(1)
        set_(service, "graceful-timeout=5s")
        # Less a fifth, for what the program has behind its loop.
        assert drained_within(service) == "4"
        assert drained_within(service) == "4"


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("log-lvel=debug",), 'did you mean "log-level"'),
    (("log-level=loud",), "log-level: expected debug, info"),
    (("log-level=debgu",), 'did you mean "debug"'),
    (("settle=soon",), "settle: expected a duration"),
    (("max-requests=-1",), "max-requests: expected a whole number"),
    (("bind=:1",), "bind cannot change while it runs: stop and serve again"),
    (("start=spawn",), "start cannot change while it runs: change it and leeward reload"),
    (("chat",), "the instance's name goes behind --name"),
    (("settle",), "expected KEY=VALUE"),
    (("settle=1s", "settle=2s"), "settle is given twice"),
    (("--unset", "nothing"), "no setting is called 'nothing'"),
    (("settle=1s", "bind=:1"), "these can be set: start-timeout, graceful-timeout"),
]


def test_what_cannot_be_set_is_refused_and_nothing_changes() -> None:
    with waiting() as service:
        for words, said in REFUSED:
            done = service.leeward("set", *words)
            assert (done.returncode, done.stdout) == (2, "") and said in done.stderr, done
        assert "nothing is set" in set_(service)
