"""An idle supervisor is asleep, small, and made of the standard library's light half."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
import tornado
from process.clients import Http, address_of, get
from process.support import APPS, PATIENCE, asleep, until

import leeward
from leeward._core.messages import ModulesRequest
from leeward._sys import procfs
from leeward.cli.client import Client
from leeward.cli.instances import Instance
from leeward.testing import Service, serve

#: What must never be in a supervisor: each is a megabyte, a thread, a loop, or the application's.
FORBIDDEN = {
    *("asyncio", "logging", "argparse", "tomllib", "ssl", "multiprocessing", "subprocess"),
    *("tornado", "click", "ctypes", "site", "inspect", "concurrent", "threading"),
    "dataclasses",
    "hello",
}
SOURCE = Path(leeward.__path__[0])
VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"
#: Where the packages that leeward needs are installed.
NEEDED = Path(tornado.__path__[0]).parent


def modules_of(service: Service) -> set[str]:
    with Client(Instance(service.name, service.ps()["control"])) as client:
        return set(json.loads(client.ask(ModulesRequest()).data))


# --- asleep --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_it_makes_no_system_call_while_nothing_happens(mode: str) -> None:
    """Two seconds under strace, with connections open: it sleeps in one epoll_wait."""
    if shutil.which("strace") is None or shutil.which("timeout") is None:
        pytest.skip("no strace here: apt-get install strace")
    with serve("hello", "-w", "2", "--start", mode, cwd=APPS) as service:
        service.wait_ready(2)
        with Http(address_of(service)) as client:
            client.get()
            service.ps()
            # It looked after the worker that woke for us, and goes to sleep behind it.
            until(lambda: asleep(service.pid), "the supervisor to sleep")
            watch = ["timeout", "-s", "INT", "2", "strace", "-f", "-q", "-p", str(service.pid)]
            for _ in range(3):
                found = subprocess.run(
                    watch, capture_output=True, text=True, timeout=PATIENCE, check=False
                ).stderr
                if "ptrace" in found and "not permitted" in found:
                    pytest.skip(f"cannot trace here: {found.strip()}")
                calls = [line for line in found.splitlines() if "(" in line]
                if calls:  # else it was ended before it had begun to look
                    break
        assert len(calls) == 1, found
        assert re.match(r"(\[pid +\d+\] )?epoll_p?wait\(.*(detached|unfinished)", calls[0]), found
        assert procfs.threads_of(service.pid) == [service.pid]


def test_it_is_small() -> None:
    """Below 24 MiB with everything that it shares; bench/memory.py has the exact figures."""
    with serve("hello", "-w", "4", cwd=APPS) as service:
        service.wait_ready(4)
        service.ps()
        assert (procfs.rss(service.pid) or 0) < 24 * 2**20


# --- made of -------------------------------------------------------------------------------


def link_needed(directory: Path, *more: Path) -> None:
    """A .pth as pip's editable installs write it; of NEEDED's own .pth none is run."""
    (directory / "needed.pth").write_text("".join(f"{path}\n" for path in (*more, NEEDED)))


def environment(directory: Path) -> tuple[Path, Path]:
    """A fresh virtual environment: its interpreter and its site-packages."""
    venv.create(directory / "venv", symlinks=True)
    paths = sysconfig.get_paths("venv", {"base": str(directory / "venv")})
    return directory / "venv/bin/python", Path(paths["purelib"])


def copied(site: Path) -> None:
    site.mkdir(parents=True, exist_ok=True)
    shutil.copytree(SOURCE, site / "leeward", ignore=shutil.ignore_patterns("__pycache__"))


Made = tuple[str, dict[str, str]]


def in_venv(directory: Path) -> Made:
    python, site = environment(directory)
    copied(site)
    link_needed(site)
    return str(python), {}


def editable(directory: Path) -> Made:
    python, site = environment(directory)
    link_needed(site, SOURCE.parent)
    return str(python), {}


def for_the_user(directory: Path) -> Made:
    """As `pip install --user` leaves it."""
    site = directory / "base/lib" / VERSION / "site-packages"
    copied(site)
    link_needed(site)
    return sys._base_executable, {"PYTHONUSERBASE": str(directory / "base")}


def by_pythonpath(directory: Path) -> Made:
    copied(directory / "lib")
    return sys._base_executable, {"PYTHONPATH": f"{directory / 'lib'}:{NEEDED}"}


@pytest.mark.parametrize("install", [in_venv, editable, for_the_user, by_pythonpath])
def test_it_imports_little_however_it_is_installed(
    install: Callable[[Path], Made], tmp_path: Path
) -> None:
    """Virtual environment, editable, --user, PYTHONPATH: it serves, and nothing heavy is in it."""
    python, env = install(tmp_path)
    clean = {"PYTHONPATH": "", "PYTHONNOUSERSITE": "", **env}
    with serve("hello", "-w", "2", cwd=APPS, env=clean, python=python) as service:
        service.wait_ready(2)
        assert get(address_of(service)).status == 200
        found = modules_of(service)
        assert {name.partition(".")[0] for name in found} & FORBIDDEN == set()
        assert "leeward._supervisor.instance" in found
        assert not {it for it in found if it.startswith(("leeward._worker", "leeward.cli"))}
        words = procfs.cmdline(service.pid) or []
        assert words[1:3] == ["-I", "-S"]
        root = words[words.index("supervisor") - 1]
        where = SOURCE.parent if install is editable else tmp_path
        assert Path(root).is_relative_to(where)
