"""New code that does not start never displaces code that serves: no request fails meanwhile."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import tornado
from process.clients import Gate, address_of, get
from process.crowd import CALM, Crowd
from process.releases import (
    MODULE,
    check_capacity,
    deploy,
    releases_of,
    replace,
    served,
    wait_at,
)
from process.support import APPS, until

import leeward
from leeward._core.conns import Query
from leeward._core.messages import ConnsRequest
from leeward.cli.client import Client
from leeward.cli.instances import Instance
from leeward.testing import Service, serve

#: Seconds until code that hangs is given up; the stack is taken half a second before.
LIMIT = "3s"

FAULTS = {
    # name: (what is wrong with the new release, lines that the caller reads)
    "raises": (
        {"at_end": "def connect():\n    {}['database']\n\nconnect()"},
        [
            r"generation \d+ could not be imported",
            "importing shop failed: KeyError: 'database'",
            r"  shop\.py:\d+ in <module>: connect\(\)",
            r"  shop\.py:\d+ in connect: {}\['database'\]",
        ],
    ),
    "imports what is not there": (
        {"at_import": "import nowhere_to_be_found"},
        ["ModuleNotFoundError: No module named 'nowhere_to_be_found'", r"shop\.py:10 in <module>"],
    ),
    "is no Python": (
        {"at_import": "def broken(:"},
        [r"shop\.py:10 cannot be parsed: SyntaxError", r"def broken\(:"],
    ),
    "hangs at import": (
        {"at_import": "import threading\nthreading.Event().wait()"},
        [r"was not (imported|ready) within 3 s \(--start-timeout\)", r"shop\.py:11 in <module>"],
    ),
    "hangs in its factory": (
        {
            # The time-out is for both: a spawned worker has spent some of it on its import.
            "at_import": "import threading\nthreading.Event().wait(0.3)",
            "in_factory": "threading.Event().wait()",
        },
        [r"was not ready within 3 s \(--start-timeout\)", r"shop\.py:\d+ in make_app"],
    ),
    "hangs in C": (
        # Holds the interpreter lock all the while: no signal handler would run.
        {"at_import": "import re\nre.match('(a+)+$', 'a' * 64 + 'b')"},
        [r"was not (imported|ready) within 3 s \(--start-timeout\)", r"shop\.py:11 in <module>"],
    ),
    "raises in its factory": (
        {"in_factory": "raise ConnectionError('the database is away')"},
        ["failed in its factory", "ConnectionError: the database is away", r"shop\.py:\d+ in make"],
    ),
    "exits": ({"at_import": "os._exit(7)"}, [r"generation \d+ exited with code 7"]),
    "exits in its factory": ({"in_factory": "os._exit(9)"}, [r"generation \d+ exited with code 9"]),
    "calls sys.exit": (
        {"at_import": "sys.exit('not today')"},
        [r"shop called sys\.exit\('not today'\) while it was imported", r"shop\.py:10"],
    ),
    "segfaults": (
        {"at_import": "import ctypes\nctypes.string_at(0)"},
        [r"generation \d+ killed by SIGSEGV"],
    ),
    "segfaults in its factory": (
        {"in_factory": "import ctypes\nctypes.string_at(0)"},
        [r"generation \d+ killed by SIGSEGV"],
    ),
    "is no application": (
        {"in_factory": "return {'port': 8000}"},
        ["failed in its factory", r"make_app\(\) in shop gave an object of dict,"],
    ),
}
SPAWNED = ["raises", "hangs at import", "hangs in its factory", "exits", "segfaults"]


def check_refused(
    service: Service, done: subprocess.CompletedProcess[str], code: int, *lines: str
) -> None:
    """The caller was told why, briefly, and nothing has changed."""
    assert done.returncode == code, done
    assert len(done.stderr.splitlines()) <= 9, done.stderr
    for line in lines:
        assert re.search(line, done.stderr), f"no {line!r} in\n{done.stderr}"
    shown = service.ps()
    assert (shown["generation"], shown["state"]) == (1, "serving"), shown
    old = [(0, 1), (1, 1)]
    assert [(it["slot"], it["generation"]) for it in service.workers()] == old
    # The new ones are told to go when the caller is told.
    until(lambda: len(service.ps()["workers"]) == 2, "the new ones to be gone")


@pytest.fixture(scope="module")
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, Path, set[int]]]:
    """Release one, by these flags; where it is deployed, and its workers' pids.

    One for all faults: each of them changes nothing.
    """
    directory = tmp_path_factory.mktemp("shop")
    deploy(directory, "one")
    with served(directory, *request.param.split()) as service:
        yield service, directory, {it["pid"] for it in service.workers()}


def faults(mode: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """(flags, fault) of each, those that share a service side by side."""
    # Only what hangs is given up: the others have all the time that a busy machine takes.
    short = {it: it.startswith("hangs") for it in names}
    flags = (f"--start {mode}", f"--start {mode} --start-timeout {LIMIT}")
    return [(flags[short[it]], it) for it in sorted(short, key=lambda it: short[it])]


@pytest.mark.parametrize(
    ("shop", "fault"), faults("zygote", FAULTS) + faults("spawn", SPAWNED), indirect=["shop"]
)
def test_a_release_with_a_fault_is_told_of_and_changes_nothing(
    shop: tuple[Service, Path, set[int]], fault: str
) -> None:
    """Old workers answer everything, the same processes as before; the caller gets 3 and why."""
    service, directory, before = shop
    changes, lines = FAULTS[fault]
    mark = service.mark()
    with Crowd(address_of(service), pace=CALM) as crowd:
        deploy(directory, "two", **changes)
        done = service.leeward("reload")
        crowd.all_answered()
    assert set(crowd.seen) == {"one"}
    lines = [*lines, "Nothing has changed: generation 1 serves on"]
    check_refused(service, done, 3, *lines)
    assert {it["pid"] for it in service.workers()} == before
    # The log says as much as the caller was told.
    for line in lines[:-1]:
        service.wait_line(line.lstrip(" "), after=mark)
    service.wait_line("generation 1 serves on", after=mark)


def test_hup_to_broken_code_is_refused_in_the_log(tmp_path: Path) -> None:
    """Who sends a signal reads the traceback in the log; the next good release is taken."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service, Crowd(address_of(service)) as crowd:
        deploy(tmp_path, "two", at_import="{}['database']")
        service.signal(signal.SIGHUP)
        service.wait_line(r"importing shop failed: KeyError: 'database'")
        service.wait_line(r"generation 1 serves on")
        crowd.all_answered()
        assert set(crowd.seen) == {"one"}
        deploy(tmp_path, "three")
        service.signal(signal.SIGHUP)
        service.wait_line(r"generation 3 serves with 2 workers")
        crowd.all_answered()
        assert set(crowd.seen) == {"one", "three"}


def test_slow_code_is_waited_for(tmp_path: Path) -> None:
    """A release that takes long to load takes over then; nobody waits for it meanwhile."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service, Crowd(address_of(service)) as crowd, Gate() as gate:
        began = time.monotonic()
        deploy(tmp_path, "two", at_import=wait_at(gate))
        service.signal(signal.SIGHUP)
        held = gate.arrival()
        arrived = time.monotonic()
        crowd.all_answered()
        assert set(crowd.seen) == {"one"}
        until(lambda: time.monotonic() > arrived + 0.5, "half a second")
        crowd.all_answered()
        held.release()
        loaded = int(service.wait_line(r"gen=2 .*zygote loaded .* in (\d+) ms")[1])
        assert 500 <= loaded <= 1000 * (time.monotonic() - began)
        service.wait_line(r"generation 2 serves")
        crowd.all_answered()
        assert crowd.seen["two"] > 0


@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_a_release_that_dies_in_its_second_worker_is_rolled_back(tmp_path: Path, mode: str) -> None:
    """The canary is ready, the next workers die: after some tries each slot has the old again."""
    deploy(tmp_path, "one")
    with served(tmp_path, "--start", mode) as service:
        start = service.mark()
        with Crowd(address_of(service)) as crowd:
            second = "if os.environ['LEEWARD_SLOT'] == '1':\n    raise ValueError('only one')"
            deploy(tmp_path, "two", in_factory=second)
            done = service.leeward("reload")
            assert done.returncode == 3, done
            assert "ValueError: only one" in done.stderr
            service.wait_line(r"generation 1 serves on")
            service.wait_line(r"worker=0 gen=1 pid=\d+ ready", start)
            service.wait_line(r"worker=0 gen=2 pid=\d+ gone")
            crowd.all_answered()
            check_capacity(service, 2, start)
        assert {(it["slot"], it["generation"]) for it in service.workers()} == {(0, 1), (1, 1)}
        if mode == "zygote":
            assert releases_of(address_of(service)) == {"one"}
        else:
            # Only the old process had the old code; its replacement reads the disk, and says so.
            service.wait_line(r"worker=0 gen=1 .*generation 1 is mixed: \S*shop\.py changed")


# --- the surroundings are broken -----------------------------------------------------------


def test_a_file_that_vanished_is_no_new_release(tmp_path: Path) -> None:
    """Where the module was is said, and that it is not there any more."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service, Crowd(address_of(service), pace=CALM) as crowd:
        (tmp_path / f"{MODULE}.py").unlink()
        done = service.leeward("reload")
        crowd.all_answered()
        check_refused(
            service, done, 3, f"there is no module '{MODULE}' in {tmp_path}", "--chdir DIR"
        )


def test_a_directory_that_vanished_is_no_new_release(tmp_path: Path) -> None:
    """The directory of --chdir is gone: refused by its name."""
    home = tmp_path / "home"
    deploy(home, "one")
    with (
        served(tmp_path, "--chdir", "home") as service,
        Crowd(address_of(service), pace=CALM) as crowd,
    ):
        home.rename(tmp_path / "elsewhere")
        done = service.leeward("reload")
        crowd.all_answered()
        check_refused(service, done, 2, rf"--chdir: chdir {re.escape(str(home))} is not a dir")


def test_an_interpreter_that_vanished_is_no_new_release(tmp_path: Path) -> None:
    """The virtual environment is being rebuilt: refused, and named."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    for name in ("pyvenv.cfg", "lib"):
        (tmp_path / "venv" / name).symlink_to(Path(sys.prefix) / name)
    python.symlink_to(os.path.realpath(sys.executable))
    deploy(tmp_path, "one")
    with (
        served(tmp_path, python=str(python)) as service,
        Crowd(address_of(service)) as crowd,
    ):
        (tmp_path / "venv").rename(tmp_path / "old-venv")
        service.signal(signal.SIGHUP)
        service.wait_line(r"reload refused: the settings' resolver could not be started: .*No such")
        crowd.all_answered()
        (tmp_path / "old-venv").rename(tmp_path / "venv")
        assert service.leeward("reload").returncode == 0


# --- another leeward, or none, where it was started from -----------------------------------


def test_another_leeward_is_no_new_release(tmp_path: Path) -> None:
    """An upgrade and a reload: refused in words.  Without its files: what needs them is, too."""
    package = tmp_path / "lib" / "leeward"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(leeward.__path__[0], package, ignore=ignored)
    needed = os.pathsep.join((str(tmp_path / "lib"), str(Path(tornado.__path__[0]).parent)))
    with serve("hello", cwd=APPS, env={"PYTHONPATH": needed}) as service:
        address = address_of(service.wait_ready(1))
        settings = package / "_core" / "config.py"
        text = settings.read_text()
        settings.write_text(text.replace("    cwd: str", "    of_tomorrow: int = 0\n    cwd: str"))
        done = service.leeward("reload")
        assert done.returncode == 2
        words = f"another version of leeward is installed in {tmp_path / 'lib'} .*of_tomorrow"
        assert re.search(words, done.stderr), done.stderr
        assert "leeward stop, then leeward serve" in done.stderr
        where = Instance(service.name, service.ps()["control"])
        package.rename(tmp_path / "gone")
        with Client(where) as client:
            answer = client.ask(ConnsRequest(Query().to_json()))
        assert answer.code == 1 and "files were replaced" in answer.text
        service.wait_line("something failed inside leeward: ModuleNotFoundError: .*conns")
        assert get(address).status == 200
        assert service.stop() == 0


# --- settings that cannot be taken ---------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("workers = 2\nworkers = ", [r"leeward\.toml:2: not TOML"]),
        ("workers = 2\n\nworkerz = 3\n", [r"leeward\.toml:3: .*'workerz'", "workers"]),
        ('start-timeout = "soon"\n', [r"leeward\.toml:1: start-timeout"]),
    ],
)
def test_a_broken_settings_file_is_refused_by_its_line(
    tmp_path: Path, text: str, lines: list[str]
) -> None:
    """Exit code 2 with file:line; the code that is there too is not even looked at."""
    deploy(tmp_path, "one")
    (tmp_path / "leeward.toml").write_text("workers = 2\n")
    with served(tmp_path) as service, Crowd(address_of(service), pace=CALM) as crowd:
        deploy(tmp_path, "two")
        replace(tmp_path / "leeward.toml", text)
        done = service.leeward("reload")
        crowd.all_answered()
        assert set(crowd.seen) == {"one"}
        check_refused(service, done, 2, *lines)
        service.wait_line(f"reload refused: .*{lines[0]}")


def test_a_broken_env_file_is_refused_by_its_line(tmp_path: Path) -> None:
    """--env-file is read again as well; what cannot be read is named by file:line."""
    deploy(tmp_path, "one")
    (tmp_path / "shop.env").write_text("SEASON=spring\n")
    with served(tmp_path, "--env-file", "shop.env") as service:
        replace(tmp_path / "shop.env", "SEASON=spring\nsummer\n")
        done = service.leeward("reload")
        check_refused(service, done, 2, r"shop\.env:2: expected KEY=VALUE")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('bind = ["127.0.0.1:0"]', 'bind = ["127.0.0.1:9"]', "bind: 127.0.0.1:0 -> 127.0.0.1:9"),
        ("backlog = 100", "backlog = 200", "backlog: 100 -> 200"),
        ('uds-mode = "600"', 'uds-mode = "660"', "uds_mode"),
        ('name = "{name}"', 'name = "{name}-two"', "name: {name} -> {name}-two"),
    ],
)
def test_a_setting_that_needs_a_restart_is_refused_whole(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    """A changed bind or name is named with both values; nothing else of it is applied."""
    name = f"shop-{os.getpid()}-{tmp_path.name[-20:]}"
    deploy(tmp_path, "one")
    settings = tmp_path / "leeward.toml"
    settings.write_text(f"workers = 2\n{old.format(name=name)}\n")
    more = {"bind": None} if "bind" in old else {}
    with (
        served(tmp_path, name=name, name_in_settings="name" in old, **more) as service,
        Crowd(address_of(service)) as crowd,
    ):
        deploy(tmp_path, "two")
        replace(settings, f"workers = 3\n{new.format(name=name)}\n")
        done = service.leeward("reload")
        crowd.all_answered()
        assert set(crowd.seen) == {"one"}
        check_refused(
            service, done, 2, re.escape(told.format(name=name)), "nothing was applied", "restart"
        )
        assert service.ps()["workers_wanted"] == 2
        replace(settings, f"workers = 2\n{old.format(name=name)}\n")
        assert service.leeward("reload").returncode == 0
        assert releases_of(address_of(service)) == {"two"}
