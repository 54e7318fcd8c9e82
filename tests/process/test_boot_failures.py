"""A start that cannot succeed ends soon, with one short error that says what to do."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from process.support import APPS, PATIENCE, in_some_try, unprivileged

from leeward.testing import Service, serve

MODES = ("zygote", "spawn")
LINES = 8
START_TIMEOUT = 2.5


def error_of(service: Service) -> list[str]:
    """The lines of the one error that it ended with."""
    starts = [i for i, line in enumerate(service.lines) if line.startswith("leeward: ")]
    assert len(starts) == 1, service.log
    return service.lines[starts[0] :]


@contextlib.contextmanager
def failing(target: str, code: int, *flags: str, **more: object) -> Iterator[list[str]]:
    """The error of a service that must end with `code` and leave nothing behind."""
    more.setdefault("cwd", APPS)
    with serve(target, *flags, **more) as service:  # type: ignore[arg-type]
        assert service.wait() == code, service.log
        error = error_of(service)
        assert len(error) <= LINES, service.log
        assert "Traceback" not in service.log
        ours = [line for line in error if re.search(r"leeward/(_|cli|adapters)|<frozen", line)]
        assert not ours, error
        assert not list(service.directory.glob("leeward/*.sock")), "the control socket is left"
        yield error


#: target: what the error says, line by line.
SAYS_WHY = {
    "syntax_error": [r"syntax_error.py:3 cannot be parsed: SyntaxError", r"def make_app\(:", r"\^"],
    "raises_at_import": [
        r"importing raises_at_import failed: KeyError: 'database'",
        r"^  raises_at_import.py:8 in <module>: DATABASE = settings\(\)$",
        r"^  raises_at_import.py:5 in settings: return",
    ],
    "raises_in_factory": [
        r"make_app\(\) in raises_in_factory failed: ConnectionError: the database is away",
        r"^  raises_in_factory.py:9 in make_app: connect\(\)$",
        r"^  raises_in_factory.py:5 in connect: raise ConnectionError",
    ],
    "no_application": [
        r"make_app\(\) in no_application gave an object of dict, expected a tornado",
        r"Return the application itself",
    ],
    "no_application:number": [r"no_application:number is of type int, expected a tornado"],
    "no_such_module": [r"there is no module 'no_such_module'", r"--chdir DIR"],
    "hello:nothing": [r"hello has no 'nothing'", r"It has app, make_app: write hello:app"],
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("target", SAYS_WHY)
def test_code_that_cannot_run_is_named_by_its_own_lines(target: str, mode: str) -> None:
    """Not importable, raising, no application: exit code 3, tried once, the line is named."""
    with failing(target, 3, "--start", mode, "-w", "2") as error:
        stage, *found, remedy = error
        for wanted, line in zip(SAYS_WHY[target], found, strict=True):
            assert re.search(wanted, line), error
        alone = f"Try it alone: leeward check {target}"
        if "factory" in stage:  # which it does not call
            alone = f"It can be loaded (leeward check {target}): its workers do not come up"
        assert remedy == alone


def test_a_file_that_is_not_there_has_a_neighbour() -> None:
    """A mistyped file is refused before anything is bound, with the likely name."""
    with failing("helo.py", 3) as error:
        assert re.search(r'helo.py: no such file in .*; did you mean "hello.py"\?', error[0])
        assert "--chdir DIR" in error[-1]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("target", "where"),
    [
        ("hangs_at_import", r"hangs_at_import.py:5 in <module>"),
        ("hangs_in_factory", r"hangs_in_factory.py:7 in make_app"),
    ],
)
def test_a_start_that_hangs_is_ended_and_its_line_named(target: str, where: str, mode: str) -> None:
    """The start time-out names the line that hung, in the import and in the factory."""
    with failing(target, 3, "--start", mode, "--start-timeout", f"{START_TIMEOUT}s") as error:
        assert re.search(rf"within {START_TIMEOUT} s \(--start-timeout\); it hung in", error[0])
        assert re.search(where, error[1]), error


@pytest.mark.parametrize(("loop", "mode"), [("asyncio", "spawn"), ("uvloop", "zygote")])
@pytest.mark.parametrize("factory", ["main", "runs"])
def test_a_main_that_is_named_as_a_factory(factory: str, loop: str, mode: str) -> None:
    """It runs a loop inside of ours: its line, and how to have the file run."""
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    target = f"runs_its_loop:{factory}"
    with failing(target, 3, "--start", mode, "--loop", loop) as error:
        assert re.search(rf"{factory}\(\) in runs_its_loop failed: RuntimeError: .*loop", error[1])
        assert any(re.search(rf"runs_its_loop.py:\d+ in {factory}: ", line) for line in error)
        assert "leeward serve runs_its_loop.py --kind script" in error[-2]


@pytest.mark.parametrize(("loop", "mode"), [("asyncio", "zygote"), ("uvloop", "spawn")])
def test_a_factory_that_awaits_for_ever(loop: str, mode: str) -> None:
    """The time-out names the application's own lines, which only its loop knows."""
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    flags = ("--start", mode, "--loop", loop, "--start-timeout", f"{START_TIMEOUT}s")

    def scene() -> str:
        with failing("runs_its_loop:waits", 3, *flags) as error:
            if "; it hung in" in error[0]:
                return f"the worker did not run in its last quarter of a second: {error}"
            said, outer, inner, *_ = error[1:]
            assert said.endswith(f"has not returned in time (--start-timeout {START_TIMEOUT}s)")
            assert re.search(r"^  runs_its_loop.py:20 in waits: await forever\(\)$", outer), error
            assert re.search(r"^  runs_its_loop.py:24 in forever: await asyncio", inner), error
            assert "--kind script" in error[-2]
            return ""

    in_some_try(scene)


@pytest.mark.parametrize(
    ("target", "env", "why", "mode"),
    [
        (
            "exits_at_import",
            {},
            "exited with code 7 before the application was loaded",
            "zygote",
        ),
        ("segfaults_at_import", {}, r"killed by SIGSEGV(, core dumped)?", "spawn"),
        ("dies_at_birth", {"DIES": "exit"}, "exited with code 1", "spawn"),
        ("dies_at_birth", {"DIES": "kill"}, "killed by SIGKILL", "zygote"),
    ],
)
def test_a_first_start_that_dies_without_a_word_is_tried_five_times(
    target: str, env: dict[str, str], why: str, mode: str
) -> None:
    """Five deaths before any worker was ready, with growing pauses: exit code 5."""
    with serve(target, "--start", mode, "-w", "2", cwd=APPS, env=env) as service:
        assert service.wait() == 5
        error = error_of(service)
        assert re.fullmatch(rf"leeward: {target} {why}, 5 times before it was ever ready", error[0])
        alone = f"Try it alone: leeward check {target}"
        if target == "dies_at_birth" and mode == "zygote":
            alone = f"It can be loaded (leeward check {target}): its workers do not come up"
        assert error[1:] == [alone]
        died = [line for line in service.lines if re.search(rf"died: {why}$", line)]
        assert len(died) == 5, service.log
        pauses = re.findall(r"pausing ([\d.]+) s \((\d) in a row\)", service.log)
        assert pauses == [("0.1", "1"), ("0.2", "2"), ("0.4", "3"), ("0.8", "4")]


@pytest.mark.parametrize("mode", MODES)
def test_a_factory_that_leaves_is_no_crash(mode: str) -> None:
    """`sys.exit` in a factory is a decision of the application: exit code 3 and its line."""
    with failing("dies_at_birth", 3, "--start", mode, env={"DIES": "sys.exit"}) as error:
        assert "called sys.exit(0)" in error[1]
        assert "dies_at_birth.py:14 in make_app" in error[2]


def test_a_port_in_use_names_who_holds_it() -> None:
    """Exit code 4, with pid and program of the holder and a port to take instead."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with failing("hello", 4, bind=address) as error:
            holder = rf"in use by pid {os.getpid()} \(.+\)"
            assert re.search(rf"cannot bind {address}: the port is {holder}", error[0])
            assert re.search(r"--bind 127.0.0.1:\d+$", error[-1])


def test_a_port_that_is_not_ours_to_bind(tmp_path: Path) -> None:
    """A user without rights and port 80: exit code 4, and the two ways out."""
    first_free = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first_free <= 80:
        pytest.skip(f"anybody may bind from port {first_free} on here")
    python = unprivileged(tmp_path)
    with failing("hello", 4, bind="127.0.0.1:80", python=python) as error:
        assert f"may not bind ports below {first_free}" in error[0]
        assert "--bind :8000" in error[1]
        assert "CAP_NET_BIND_SERVICE" in error[1]


def test_an_object_is_answered_with_the_string_to_write() -> None:
    """`leeward.run(app)` serves nothing and shows the command that does."""
    done = subprocess.run(
        [sys.executable, "runs_an_object.py"],
        cwd=APPS,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.endswith("\nwrite: leeward serve runs_an_object.py:make_app\n")


@pytest.mark.parametrize(
    ("flags", "env", "toml", "guilty", "expected"),
    [
        (["--wrokers", "2"], {}, "", "--wrokers", 'did you mean "--workers"'),
        (["--workers", "many"], {}, "", "--workers: ", "expected 1 to .* found 'many'"),
        ([], {"LEEWARD_WORKERS": "many"}, "", "LEEWARD_WORKERS: ", "expected 1 to .* 'many'"),
        ([], {}, "wrokers = 3", "leeward.toml:1: .*'wrokers'", 'did you mean "workers"'),
        ([], {}, "\nworkers = 'x'", "leeward.toml:2: workers", "expected 1 to .* 'x'"),
        ([], {}, "workers = [", "leeward.toml:1: not TOML", "not TOML"),
        (["--graceful-timeout", "5y"], {}, "", "--graceful-timeout: ", "a duration such as 30s"),
        (["--bind", "127.0.0.1:99999"], {}, "", "--bind: ", "a port from 0 to 65535"),
    ],
)
def test_a_wrong_setting_is_named_with_its_origin(
    flags: list[str], env: dict[str, str], toml: str, guilty: str, expected: str, tmp_path: Path
) -> None:
    """Exit code 2: the flag, variable or file:line, and what was expected or meant."""
    (tmp_path / "hello.py").write_bytes((APPS / "hello.py").read_bytes())
    (tmp_path / "leeward.toml").write_text(toml)
    with failing("hello", 2, *flags, env=env, cwd=tmp_path) as error:
        assert re.search(guilty, error[0]), error
        assert re.search(expected, "\n".join(error)), error
