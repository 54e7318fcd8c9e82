"""`--hazards` says what becomes of what a fork would break; `check` shows it in full."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from process.clients import address_of
from process.releases import deploy, releases_of, served
from process.support import APPS

from leeward.testing import serve

THREAD = (
    "import threading\n"
    "threading.Thread(target=threading.Event().wait, name='metrics', daemon=True).start()"
)
LEEWARD = (sys.executable, "-m", "leeward")
REFUSE = ("--bind", "127.0.0.1:0", "--hazards", "refuse")
DICE = "import random\nDICE = random.Random()"
LOGS = """
import logging.handlers
own = logging.handlers.RotatingFileHandler("own.log", maxBytes=1000, backupCount=2)
own.namer = str
for handler in (
    own,
    logging.FileHandler("appends.log"),
    logging.FileHandler("empties.log", "w"),
    logging.FileHandler("/dev/null", "w"),
    logging.handlers.RotatingFileHandler("rotates.log", maxBytes=1000, backupCount=2),
):
    logging.getLogger("shop").addHandler(handler)
"""


def check(directory: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [*LEEWARD, "check", "shop:make_app", "--bind", "127.0.0.1:0"]
    return subprocess.run(
        [*command, *flags],
        cwd=directory,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_check_shows_each_in_full(tmp_path: Path) -> None:
    """Code, place, fault, verdict, remedy and page; those that are repaired as well."""
    path = deploy(tmp_path, "one", at_import=f"{THREAD}\n{DICE}")
    lines = path.read_text().splitlines()
    words = ("Thread(", "Random(")
    where = {word: n for n, line in enumerate(lines, 1) for word in words if word in line}
    done = check(tmp_path)
    assert done.returncode == 0, done.stderr
    said = re.sub(r" +", " ", done.stdout)
    assert "mode spawn (a fork would break)" in said
    assert "hazard LW101 thread: a thread 'metrics' runs since the import" in said
    assert f" at shop.py:{where['Thread(']}" in said
    assert " verdict isolated" in said and "@leeward.per_worker" in said
    assert "hazard LW170 random generator" in said
    assert f" at shop.py:{where['Random(']}; random.py:" in said
    assert " held by shop.DICE, a random.Random" in said and " verdict repaired" in said


@pytest.mark.parametrize("flags", [(), ("--log-files", "per-worker")], ids=["shared", "own"])
def test_check_tells_of_log_files_what_serve_tells(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Which way the lines of each handler go; and no file is made by the look at it."""
    deploy(tmp_path, "one", at_import=LOGS)
    done = check(tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    said = sorted(re.findall(r"^log file   (.*)$", done.stdout, re.M))
    assert not list(tmp_path.glob("*.w0.log"))
    with serve("shop:make_app", *flags, cwd=tmp_path) as service:
        service.wait_ready()
        told = sorted(re.findall(r" log file (.*)$", service.log, re.M))
    assert said == told
    assert len(said) == (4 if flags else 3)
    assert any("empties" in it for it in said) and not any("/dev/null" in it for it in said)


@pytest.mark.parametrize("start", ["auto", "spawn"])
def test_files_that_are_left_to_several_workers(tmp_path: Path, start: str) -> None:
    """--log-files as-is: what rotates and what is emptied; spawned workers do it as well."""
    deploy(tmp_path, "one", at_import=LOGS)
    done = check(tmp_path, "--log-files", "as-is", "--start", start)
    assert done.returncode == 0, done.stderr
    assert "log file " not in done.stdout
    found = re.findall(r"^hazard +(.*)$", done.stdout, re.M)
    assert sorted(found) == [
        "LW150 rotating log file: own.log is rotated by a RotatingFileHandler",
        "LW150 rotating log file: rotates.log is rotated by a RotatingFileHandler",
        "LW152 emptied log file: empties.log is emptied by a FileHandler",
    ]


def test_check_refuses_what_serve_would_refuse(tmp_path: Path) -> None:
    """--hazards refuse: 3, by both, with the line and without a traceback."""
    deploy(tmp_path, "one", at_import=THREAD)
    for done in (
        check(tmp_path, "--hazards", "refuse"),
        subprocess.run(
            [*LEEWARD, "serve", "shop:make_app", *REFUSE, "--name", f"refuses-{os.getpid()}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        ),
    ):
        assert done.returncode == 3, done
        assert "a hazard of a fork, which --hazards refuse does not allow" in done.stderr
        assert re.search(r"LW101 a thread 'metrics'.*\(shop\.py:\d+", done.stderr)
        assert "Traceback" not in done.stderr


def test_warn_forks_all_the_same_and_says_so() -> None:
    """Zygote mode, two lines for the hazard, and why in `ps`."""
    with serve("has_a_thread", "--hazards", "warn", cwd=APPS) as service:
        service.wait_ready(1)
        shown = service.ps()
        assert (shown["mode"], shown["mode_why"]) == ("zygote", "in spite of a hazard")
        service.wait_line(r"warning .*zygote LW101 a thread 'metrics'.*\(has_a_thread\.py:8")
        service.wait_line("forked all the same, though it does not run in any worker; .*LW101.md")
        (hazard,) = shown["hazards"]
        assert (hazard["code"], hazard["where"]) == ("LW101", "has_a_thread.py:8")


def test_what_is_ignored_is_nothing() -> None:
    """Zygote mode, safe to fork, and not a word above debug."""
    with serve("has_a_thread", "--hazards", "refuse,ignore:LW101", cwd=APPS) as service:
        service.wait_ready(1)
        assert service.ps()["mode_why"] == "safe to fork"
        assert "LW101" not in service.log


def test_a_reload_into_a_hazard_is_refused_where_that_is_said(tmp_path: Path) -> None:
    """The old code serves on; without the hazard the next reload is taken."""
    deploy(tmp_path, "one")
    with served(tmp_path, "--hazards", "refuse") as service:
        deploy(tmp_path, "two", at_import=THREAD)
        done = service.leeward("reload")
        assert done.returncode == 3, done
        assert "may not be forked" in done.stderr and "LW101 a thread 'metrics'" in done.stderr
        assert releases_of(address_of(service)) == {"one"}
        deploy(tmp_path, "three", at_import=DICE)
        assert service.leeward("reload").returncode == 0
        assert releases_of(address_of(service)) == {"three"}
        service.wait_line("zygote LW170 a Random is seeded before the fork")


def test_a_program_has_its_hazards_told(tmp_path: Path) -> None:
    """One that is adopted, and makes a thread before it listens."""
    (tmp_path / "shop.py").write_text(
        "import threading, time\n"
        "from tornado import ioloop, web\n"
        "threading.Thread(target=time.sleep, args=(60,), name='metrics', daemon=True).start()\n"
        "web.Application([]).listen(0)\n"
        "ioloop.IOLoop.current().start()\n"
    )
    with serve("shop.py", cwd=tmp_path) as service:
        service.wait_ready(1)
        shown = service.ps()
        assert shown["mode"] == "spawn"
        assert [(it["code"], it["where"]) for it in shown["hazards"]] == [("LW101", "shop.py:3")]


def test_a_word_that_is_no_policy_is_a_usage_error(tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    for words in ("warn,refuse", "ignore:LW999", "fork"):
        done = check(tmp_path, "--hazards", words)
        assert done.returncode == 2 and "--hazards" in done.stderr, done
