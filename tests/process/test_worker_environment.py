"""What an application finds around itself in a worker: what it would find alone, and its slot."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from process.clients import Gate, Http, address_of, get, reload
from process.support import APPS

from leeward.testing import Service, serve

MODES = pytest.mark.parametrize("start", ["zygote", "spawn"])


@MODES
def test_each_worker_knows_its_slot_and_generation(start: str) -> None:
    """LEEWARD_SLOT, LEEWARD_GENERATION and tornado.process.task_id(), after a reload too."""
    with serve("hello", "-w", "3", "--start", start, cwd=APPS) as service:
        address = address_of(service.wait_ready(3))
        reload(service, 3)
        slots = {worker["pid"]: worker["slot"] for worker in service.workers()}
        assert sorted(slots.values()) == [0, 1, 2]
        for _ in range(12):
            found = get(address).json
            slot = slots[found["pid"]]
            assert (found["slot"], found["task_id"]) == (str(slot), slot)
            assert found["generation"] == "2"


@MODES
def test_a_worker_finds_what_a_program_finds(start: str, tmp_path: Path) -> None:
    """sys.argv with what follows --, the directory first on sys.path, the environment."""
    directory = tmp_path / "with space"
    directory.mkdir()
    (directory / "tells_its_environment.py").write_text(
        (APPS / "tells_its_environment.py").read_text()
    )
    args = ("--room", "lobby", "-x", "")
    env = {"OF_THE_APPLICATION": "a=b c"}
    with serve(
        "tells_its_environment", "--start", start, cwd=directory, args=args, env=env
    ) as service:
        found = get(address_of(service.wait_ready())).json
        for moment in ("import", "factory", "now"):
            around = found[moment]
            assert around["argv"] == ["tells_its_environment", *args]
            assert around["path"][0] == str(directory)
            assert around["cwd"] == str(directory)
            assert around["environ"]["OF_THE_APPLICATION"] == "a=b c"
            assert around["executable"] == sys.executable
            assert around["stdin"] == "/dev/null"
            assert around["ignored"] == ["SIGPIPE", "SIGXFSZ"]  # as in every Python program
            assert around["threads"] == ["MainThread"]
        for moment in ("factory", "now"):
            around = found[moment]
            assert around["pid"] == service.workers()[0]["pid"]
            assert around["environ"]["LEEWARD_SLOT"] == "0"
            assert around["task_id"] == 0
            assert around["loop"], "the factory runs on the loop"
        root = str(Path(sys.modules["leeward"].__file__ or "").parents[1])
        added = [path for path in found["now"]["path"] if path not in (*sys.path, str(directory))]
        assert added == [], "nothing of ours on the application's sys.path"
        assert found["now"]["path"].count(root) <= 1


def test_chdir_is_where_the_application_lives(tmp_path: Path) -> None:
    """--chdir: the working directory and the first entry of sys.path."""
    with serve("tells_its_environment", "--chdir", str(APPS), cwd=tmp_path) as service:
        found = get(address_of(service.wait_ready())).json["import"]
        assert (found["cwd"], found["path"][0]) == (str(APPS), str(APPS))


@MODES
@pytest.mark.parametrize(
    "flags", [("-X", "dev"), ("-O",), ("-W", "error::ImportWarning"), ("-OO", "-X", "utf8=1")]
)
def test_interpreter_flags_reach_the_workers(
    start: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    """`python -X dev -m leeward serve`: workers run with the same, in both modes."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" {" ".join(flags)} "$@"\n')
    python.chmod(0o755)
    with serve("tells_its_environment", "--start", start, cwd=APPS, python=str(python)) as service:
        found = get(address_of(service.wait_ready())).json["now"]
        assert found["dev_mode"] is ("dev" in flags)
        assert found["optimize"] == {"-O": 1, "-OO": 2}.get(flags[0], 0)
        assert found["asserts"] is (found["optimize"] == 0)
        assert ("error::ImportWarning" in found["warnoptions"]) is ("-W" in flags)
        assert found["executable"] == sys.executable


@MODES
@pytest.mark.parametrize("policy", ["asyncio", "uvloop"])
def test_a_coroutine_makes_the_application_on_its_own_loop(start: str, policy: str) -> None:
    """`async def make_app()`: awaited in each worker, on the loop that serves, by any policy."""
    if policy == "uvloop" and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    env = {"POLICY": policy}
    args = ("-w", "2", "--start", start, "--loop", "asyncio" if policy == "asyncio" else "auto")
    with serve("made_by_a_coroutine", *args, cwd=APPS, env=env) as service:
        address = address_of(service.wait_ready(2))
        pids = {worker["pid"] for worker in service.workers()}
        for _ in range(4):
            found = get(address).json
            assert found["same"] and found["tornado"]
            assert found["made_in"] == found["pid"]
            assert found["pid"] in pids
            assert found["kind"].split(".")[0] == policy
            assert found["beats"] > 0, "what the factory started goes on"
        assert service.stop() == 0


def test_no_event_loop_is_shared() -> None:
    """Each worker has an epoll set of its own: one that is blocked disturbs no sibling."""
    with serve("held", "-w", "2", cwd=APPS) as service:
        address = address_of(service.wait_ready(2))
        sets = []
        for worker in service.workers():
            fds = Path(f"/proc/{worker['pid']}/fd")
            links = [link for link in fds.iterdir() if "eventpoll" in os.readlink(link)]
            assert len(links) == 1
            info = Path(f"/proc/{worker['pid']}/fdinfo/{links[0].name}").read_text()
            sets.append(set(re.findall(r"ino:(\w+)", info)))
            assert sets[-1]
        assert sets[0] - sets[1] and sets[1] - sets[0]  # each has its own channel and waker
        with Gate() as gate, Http(address) as client:
            gate.hold(client, "blocked")
            assert get(address).status == 200


# --- logs -------------------------------------------------------------------------------


def say(service: Service) -> list[str]:
    """What the application's one request prints, and its worker's pid at the end of the answer."""
    address = address_of(service.wait_ready())
    mark = service.mark()
    answer = get(address)
    assert answer.status == 200
    service.wait_line("red", after=mark)
    get(address, "/missing")
    service.wait_line("404 GET /missing", after=mark)
    assert service.stop() == 0  # nothing of it comes later
    lines = service.lines[mark:]
    end = next(n for n, line in enumerate(lines) if "stopping within" in line)
    return lines[:end]


def count(lines: list[str], words: str) -> int:
    return sum(words in line for line in lines)


@MODES
def test_records_are_printed_once_with_the_workers_identity(start: str) -> None:
    """An application that configures nothing: one line per record, from --log-level on."""
    with serve("logs_its_own_way", "--start", start, cwd=APPS) as service:
        pid = service.wait_ready().workers()[0]["pid"]
        lines = say(service)
    who = f"worker=0 gen=1 pid={pid}"
    for level in ("info", "warning", "error"):
        [line] = [line for line in lines if f"said at {level}" in line]
        assert re.fullmatch(
            rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}} {level} +{who} shop: said at {level}", line
        )
    assert count(lines, "said at debug") == 0
    assert count(lines, "printed") == 1
    trace = [line for line in lines if line.startswith(f"{who} | ")]
    assert trace[-1].endswith("KeyError: 'nothing'")
    [line] = [line for line in lines if "two" in line]
    assert line.endswith(r"two\nlines \e[31mred"), "no record can forge a line or steer a terminal"
    assert count(lines, "404 GET /missing") == 1


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_log_level_is_the_lowest_that_is_printed(level: str, said: list[str]) -> None:
    """--log-level counts for the application's records and for ours."""
    with serve("logs_its_own_way", "--log-level", level, cwd=APPS) as service:
        address = address_of(service)
        get(address)
        service.wait_line("it raised")
        service.wait_line("KeyError")
        assert service.stop() == 0
        lines = service.lines
    assert [
        it for it in ("debug", "info", "warning", "error") if count(lines, f"said at {it}")
    ] == said
    ours = [line for line in lines if re.search(r"worker=0 gen=1 pid=\d+ ready$", line)]
    assert len(ours) == (1 if level == "debug" else 0)


def test_json_lines_are_json_every_one() -> None:
    """--log-format json: ours and the application's, each a record with its identity."""
    with serve("logs_its_own_way", "--log-format", "json", cwd=APPS) as service:
        service.wait_line(r'"ready"')
        found = service.wait_line(r"http://([\d.]+):(\d+)")
        get((found[1], int(found[2])))
        service.wait_line("red")
        assert service.stop() == 0
        lines = [line for line in service.lines if line != "printed"]
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    for record in records:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["time"])
        assert {"level", "logger", "message"} <= record.keys()
    [said] = [record for record in records if record["message"] == "said at warning"]
    assert (said["level"], said["logger"]) == ("warning", "shop")
    assert (said["worker"], said["gen"]) == (0, 1)
    [raised] = [record for record in records if record["message"] == "it raised"]
    assert raised["detail"].endswith("KeyError: 'nothing'")
    assert [record["message"] for record in records if "two" in record["message"]] == [
        "two\nlines \x1b[31mred"
    ]
    ready = [record for record in records if record["message"] == "ready"]
    assert [(record["worker"], record["logger"]) for record in ready] == [(0, "leeward")]


@MODES
@pytest.mark.parametrize(
    "how",
    [
        "basicConfig in the import",
        "basicConfig in the factory",
        "dictConfig in the import",
        "dictConfig in the factory",
        "one-logger in the import",
        "one-logger in the factory",
    ],
)
def test_an_application_that_configures_logging_wins(how: str, start: str) -> None:
    """Its format, its level, and each record once: ours does not print beside it."""
    env = {"HOW": how}
    with serve("logs_its_own_way", "--start", start, cwd=APPS, env=env) as service:
        lines = say(service)
    for level in ("info", "warning", "error"):
        assert count(lines, f"said at {level}") == 1
        assert f"OWN {level.upper()} said at {level}" in lines
    assert count(lines, "said at debug") == 0
    assert count(lines, "KeyError") == 1
    assert count(lines, "404 GET /missing") == 1
    if how.startswith("one-logger"):  # what it has left to others is ours to print
        assert any("worker=0" in line and "404 GET /missing" in line for line in lines)


@pytest.mark.parametrize(
    "how", ["tornado in the import", "tornado in the factory", "options in the factory"]
)
def test_tornados_own_pretty_logging_wins(how: str) -> None:
    """enable_pretty_logging() and parse_command_line(): Tornado's look, each record once."""
    with serve("logs_its_own_way", cwd=APPS, env={"HOW": how}) as service:
        lines = say(service)
    [line] = [line for line in lines if "said at warning" in line]
    assert re.search(r"\[W \d{6} \d\d:\d\d:\d\d \w+:\d+\] said at warning", line)
    assert count(lines, "said at info") == 1
    assert count(lines, "404 GET /missing") == 1
