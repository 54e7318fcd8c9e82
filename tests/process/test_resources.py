"""Resources of each worker: open before it is ready, closed in reverse when it leaves."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import time
from pathlib import Path

import pytest
from process.clients import Gate, Http, address_of, get
from process.support import APPS, until

from leeward.testing import Service, serve

OPENED = ["open file", "open db", "opening faulty", "open faulty", "open top"]
CLOSED = ["close top", "closing faulty", "close faulty", "close db", "close file"]

ENGINES = pytest.mark.parametrize(
    "flags",
    [
        ("--start", "zygote", "--loop", "asyncio"),
        ("--start", "spawn", "--loop", "uvloop"),
        ("--start", "zygote", "--loop", "asyncio", "--engine", "tornado"),
    ],
    ids=["zygote", "spawn on uvloop", "tornado"],
)


def lives(service: Service, pid: int, mark: int = 0) -> list[str]:
    """What the resources of one worker have said."""
    found = (re.fullmatch(rf"((?:open|clos)\w* \w+) {pid}", it) for it in service.lines[mark:])
    return [it[1] for it in found if it]


def needs_uvloop(flags: tuple[str, ...]) -> None:
    if "uvloop" in flags and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")


@ENGINES
def test_they_are_open_before_the_factory_and_closed_after_the_drain(
    flags: tuple[str, ...],
) -> None:
    """In each worker its own; a request in flight has them to its end; a reload, a scale too."""
    needs_uvloop(flags)
    with serve("opens_resources", "-w", "2", *flags, cwd=APPS) as service:
        address = address_of(service.wait_ready(2))
        old = {worker["pid"] for worker in service.workers()}
        for pid in old:
            assert lives(service, pid) == OPENED
            ready = service.lines.index(
                next(it for it in service.lines if f"pid={pid} ready" in it)
            )
            assert service.lines.index(f"factory has {pid} {pid}") < ready
        found = get(address).json
        assert set(found.values()) == {found["pid"]} and found["pid"] in old
        service.leeward("reload")
        new = {worker["pid"] for worker in service.workers()}
        assert not old & new
        service.leeward("scale", "1")
        [kept] = {worker["pid"] for worker in service.workers()}
        for pid in old | new - {kept}:
            service.wait_line(f"close file {pid}")
            assert lives(service, pid) == OPENED + CLOSED
        assert service.stop() == 0
        assert lives(service, kept) == OPENED + CLOSED
        assert "error" not in service.log


@pytest.mark.parametrize(
    ("how", "start"),
    [
        ("raise", "zygote"),
        ("exit", "zygote"),
        ("block", "zygote"),
        ("block on", "zygote"),
        ("hang", "zygote"),
        ("block", "spawn"),
    ],
)
def test_one_that_does_not_open_is_a_failed_start(how: str, start: str) -> None:
    """Exit code 3, its own file and line; what was open is closed, in order."""
    timeout = {"zygote": "2s", "spawn": "4s"}[start]  # a spawned one imports in it as well
    flags = ("-w", "1", "--start", start, "--start-timeout", timeout)
    with serve("opens_resources", *flags, cwd=APPS, env={"OPENING": how}) as service:
        assert service.wait() == 3
        said = service.log[service.log.index("leeward: ") :]
        assert len(said.splitlines()) <= 8
        assert re.search(r"faulty \(\S*opens_resources.py:\d+\)", said), said
        line = {
            "raise": "raise Conn",
            "exit": "sys.exit",
            "block": "time.sleep",
            "block on": "time.sleep(60)",
            "hang": "Event()",
        }[how]
        assert re.search(rf"opens_resources.py:\d+ in misbehave: .*{re.escape(line)}", said), said
        pid = service.wait_line(r"^opening faulty (\d+)$")[1]
        assert lives(service, int(pid)) == [*OPENED[:3], *CLOSED[3:]]


def test_killed_while_it_opens_another_one_serves(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    env = {"OPENING": "wait", "HOLD": str(hold)}
    with serve("opens_resources", cwd=APPS, env=env) as service:
        first = int(service.wait_line(r"opening faulty (\d+)")[1])
        mark = service.mark()
        os.kill(first, signal.SIGKILL)
        hold.unlink()
        address = address_of(service)
        second = int(service.wait_line(r"open top (\d+)", after=mark)[1])
        service.wait_ready(1)
        assert get(address).json["db"] == second != first


def test_code_whose_resources_do_not_open_replaces_nothing(tmp_path: Path) -> None:
    """`reload` says why, with 3; the old workers serve on."""
    app = tmp_path / "opens_resources.py"
    text = (APPS / "opens_resources.py").read_text()
    app.write_text(text)
    with serve("opens_resources", cwd=tmp_path) as service:
        address = address_of(service.wait_ready(1))
        before = get(address).json
        app.write_text(text.replace("os.environ.get(when)", '"raise"'))
        done = service.leeward("reload")
        assert done.returncode == 3
        assert "faulty (opens_resources.py:" in done.stdout + done.stderr
        assert get(address).json == before


@pytest.mark.parametrize(
    ("how", "flags"),
    [
        ("raise", ("--loop", "asyncio")),
        ("block", ("--loop", "asyncio", "--engine", "tornado")),
        ("block", ("--loop", "uvloop")),
        ("hang", ("--loop", "uvloop", "--start", "spawn")),
    ],
    ids=lambda it: it if isinstance(it, str) else " ".join(it[1::2]),
)
def test_one_that_does_not_close_stops_no_other(how: str, flags: tuple[str, ...]) -> None:
    """It is named in the log with its line; the others close as ever, in time."""
    needs_uvloop(flags)
    flags = (*flags, "--close-timeout", "1s")
    with serve("opens_resources", *flags, cwd=APPS, env={"CLOSING": how}) as service:
        [worker] = service.wait_ready(1).workers()
        begun = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - begun < 8
        assert lives(service, worker["pid"])[len(OPENED) :] == [
            it for it in CLOSED if it != "close faulty"
        ]
        [said] = [it for it in service.lines if " error " in it]
        assert re.search(r"faulty \(opens_resources.py:\d+\)", said), said
        assert re.search(r"opens_resources.py:\d+ in misbehave", said), said


def test_stopped_while_it_closes_it_is_killed_in_time(tmp_path: Path) -> None:
    """SIGSTOP in a closer: the drain's deadline ends it, and the instance."""
    hold = tmp_path / "hold"
    hold.touch()
    env = {"CLOSING": "wait", "HOLD": str(hold)}
    with serve("opens_resources", "--graceful-timeout", "2s", cwd=APPS, env=env) as service:
        [worker] = service.wait_ready(1).workers()
        service.signal(signal.SIGTERM)
        service.wait_line(f"closing faulty {worker['pid']}")
        os.kill(worker["pid"], signal.SIGSTOP)
        service.wait()
        service.wait_line(rf"pid={worker['pid']} .*(SIGKILL|killed)")


def test_a_request_in_flight_has_them_to_its_end() -> None:
    """The drain comes first: nothing is closed under a handler."""
    with serve("opens_resources", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with Gate() as gate, Http(address) as client:
            held = gate.hold(client)
            service.signal(signal.SIGTERM)
            service.wait_line(rf"pid={held.pid} draining")
            held.release()
            answer = client.answer()
            assert (answer.status, answer.json) == (200, {"db": held.pid})
            assert service.wait() == 0
        assert lives(service, held.pid) == OPENED + CLOSED
        said = service.lines
        assert said.index(f"answers {held.pid}") < said.index(f"{CLOSED[0]} {held.pid}")


@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_asked_for_at_import_it_is_not_open(start: str) -> None:
    """In the zygote all workers would share it: exit code 3, and where to ask instead."""
    with serve("opens_resources", "--start", start, cwd=APPS, env={"EARLY": "1"}) as service:
        assert service.wait() == 3
        assert re.search(r"NotOpen: db \(opens_resources.py:\d+\) is not open yet", service.log)
        assert "each worker opens it after the fork" in service.log
        assert "open db" not in service.log


def test_a_fork_of_the_application_has_none_of_them() -> None:
    """NotOpen, by both pids; and the worker's stay open."""
    with serve("opens_resources", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        [worker] = service.workers()
        found = get(address, "/fork").json
        assert f"opened by process {worker['pid']}" in found["found"]
        assert f"this is process {found['pid']}" in found["found"]
        assert lives(service, worker["pid"]) == OPENED
        assert get(address).json["db"] == worker["pid"]


@pytest.mark.parametrize("args", [(), ("run",)], ids=["IOLoop.start", "asyncio.run"])
def test_an_adopted_program_has_them_when_it_serves(args: tuple[str, ...]) -> None:
    """Opened on its own loop before it is ready, closed at its end, whichever way that comes."""
    with serve("opens_resources.py", "--kind", "script", "-w", "2", cwd=APPS, args=args) as service:
        address = address_of(service.wait_ready(2))
        pids = {worker["pid"] for worker in service.workers()}
        assert get(address).json["db"] in pids
        if args:
            service.wait_line(r"main has (\d+) \1$")
        assert service.stop() == 0
        for pid in pids:
            assert sorted(lives(service, pid)[: len(OPENED)]) == sorted(OPENED)
            assert lives(service, pid)[len(OPENED) :] == CLOSED


@pytest.mark.parametrize(
    ("how", "error"), [("", "AssertionError"), ("cancelled", "asyncio.exceptions.CancelledError")]
)
def test_a_failing_check_is_told_once_and_shown_by_ps(how: str, error: str, tmp_path: Path) -> None:
    """It may fail by the cancellation of what it waits for: the next look comes."""
    ails = tmp_path / "ails"
    with serve("opens_resources", cwd=APPS, env={"AILS": str(ails)}) as service:
        service.wait_ready(1)
        assert service.workers()[0]["ailing"] == {}
        (tmp_path / "how").write_text(how)
        (tmp_path / "how").rename(ails)
        service.wait_line(r"warning .* db \(opens_resources.py:\d+\) fails its check: .*it ails")
        [(name, why)] = until(lambda: service.workers()[0]["ailing"], "ps to tell").items()
        assert name.startswith("db (") and why == f"{error}: it ails"
        assert "fail their checks" in service.leeward("ps").stdout
        ails.unlink()
        service.wait_line(r"db \(.*\) passes its check again, after")
        until(lambda: not service.workers()[0]["ailing"], "ps to tell that it passes")
        assert sum("fails its check" in line for line in service.lines) == 1
