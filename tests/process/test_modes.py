"""How workers come to be: chosen once, shown with its reason, never changed unasked."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from process.clients import Gate, address_of, get
from process.crowd import Crowd
from process.releases import deploy, releases_of, replace, served, wait_releases
from process.support import APPS, until

from leeward.testing import Service, serve

#: A thread that is there since the import, and what it is known by.
THREAD = (
    "import threading\n"
    "threading.Thread(target=threading.Event().wait, name='metrics', daemon=True).start()"
)
NAMES_IT = r"LW101 a thread 'metrics' runs since the import"


def mode_of(service: Service) -> tuple[str, str]:
    shown = service.ps()
    return shown["mode"], shown["mode_why"]


def replace_worker(service: Service, slot: int, generation: int) -> int:
    """Kills the worker of `slot`; the pid of the one that came in its place."""
    (pid,) = (it["pid"] for it in service.workers() if it["slot"] == slot)
    mark = service.mark()
    os.kill(pid, signal.SIGKILL)
    found = service.wait_line(rf"worker={slot} gen={generation} pid=(\d+) ready", mark)
    return int(found[1])


# --- the choice -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "mode", "why"),
    [
        ((), "zygote", "safe to fork"),
        (("--start", "auto"), "zygote", "safe to fork"),
        (("--start", "zygote"), "zygote", "--start asks for it"),
        (("--start", "spawn"), "spawn", "--start asks for it"),
    ],
)
def test_ps_says_the_mode_and_why(
    tmp_path: Path, flags: tuple[str, ...], mode: str, why: str
) -> None:
    """In JSON, for people and in the banner; a zygote exists only where it is used."""
    deploy(tmp_path, "one")
    with served(tmp_path, *flags) as service:
        assert mode_of(service) == (mode, why)
        assert f"mode       {mode} ({why})" in service.leeward("ps").stdout
        service.wait_line(rf"2 workers, ready after \d+ ms, {mode} mode")
        assert len(service.ps()["zygotes"]) == (1 if mode == "zygote" else 0)
        names = {Path(f"/proc/{it['pid']}/comm").read_text() for it in service.workers()}
        assert names == {"leeward w0 g1\n", "leeward w1 g1\n"}


def test_auto_spawns_for_an_application_with_a_thread() -> None:
    """One line says so and names the thread and where it was started."""
    with serve("has_a_thread", "-w", "2", cwd=APPS) as service:
        service.wait_ready(2)
        mode, why = mode_of(service)
        assert (mode, bool(re.match(NAMES_IT, why))) == ("spawn", True), why
        assert "\n" not in why
        said = [line for line in service.lines if "spawn mode: LW101 a thread 'metrics'" in line]
        assert len(said) == 1, service.log
        slots: set[str] = set()
        until(lambda: slots.add(get(address_of(service)).json["slot"]) or len(slots) == 2, "both")
        assert slots == {"0", "1"}
        service.wait_line("zygote gone$")
        assert service.ps()["zygotes"] == []


@pytest.mark.parametrize(
    ("target", "flags", "mode", "hooks"),
    [
        ("counts_audit_hooks:make_app", (), "zygote", 1),
        ("counts_audit_hooks:make_app", ("--start", "spawn"), "spawn", 0),
        ("counts_and_has_a_thread:make_app", (), "spawn", 0),
    ],
)
def test_a_spawned_worker_carries_no_audit_hook(
    tmp_path: Path, target: str, flags: tuple[str, ...], mode: str, hooks: int
) -> None:
    """They cannot be taken off, so only a zygote has one, and with it what it forks."""
    (tmp_path / "counts_and_has_a_thread.py").write_text(
        f"{THREAD}\nfrom counts_audit_hooks import make_app\n__all__ = ['make_app']\n"
    )
    environ = {"PYTHONPATH": str(APPS)}
    with serve(target, "-w", "1", *flags, cwd=tmp_path, env=environ) as service:
        service.wait_ready(1)
        assert mode_of(service)[0] == mode
        assert get(address_of(service)).json == {"hooks": hooks}


def test_zygote_by_force_says_what_it_forks_in_spite_of() -> None:
    """--start zygote is obeyed; the hazard is a warning."""
    with serve("has_a_thread", "--start", "zygote", cwd=APPS) as service:
        service.wait_ready(1)
        service.wait_line(f"warning .*zygote {NAMES_IT}")
        service.wait_line("forked all the same, though it does not run in any worker")
        assert mode_of(service)[0] == "zygote"


@pytest.mark.parametrize("flags", [(), ("--loop", "uvloop")], ids=["auto", "uvloop"])
def test_a_loop_that_the_import_left_is_run(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """What was given to it at import goes on, whatever --loop says; that is told."""
    (tmp_path / "ticks.py").write_text(
        "from tornado.ioloop import IOLoop, PeriodicCallback\n"
        "from tornado.web import Application, RequestHandler\n"
        "LOOP, ticks = IOLoop.current(), []\n"
        "PeriodicCallback(lambda: ticks.append(1), 5).start()\n"
        "class Ticks(RequestHandler):\n"
        "    def get(self): self.write({'ticks': len(ticks), 'same': LOOP is IOLoop.current()})\n"
        "app = Application([('/', Ticks)])\n"
    )
    with serve("ticks.py", *flags, cwd=tmp_path) as service:
        service.wait_ready(1)
        assert mode_of(service)[0] == "spawn"
        assert get(address_of(service)).json["same"]
        until(lambda: get(address_of(service)).json["ticks"], "a callback of the import")
        told = "--loop uvloop: the import made a loop of asyncio the current one, which runs"
        assert (told in service.log) == bool(flags)
        assert service.stop() == 0


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("import asyncio\nLOOP = asyncio.new_event_loop()", "an event loop is open already"),
        (
            "import socket\nCLIENT = socket.create_connection(('127.0.0.1', {port}))",
            r"a socket is connected to 127\.0\.0\.1:{port}",
        ),
        (
            "import _thread, time\n_thread.start_new_thread(lambda: time.sleep(3600), ())",
            "a thread without a name runs",
        ),
    ],
    ids=["event loop", "connection", "thread without a name"],
)
def test_what_a_fork_would_spoil_is_spawned(tmp_path: Path, fault: str, named: str) -> None:
    """An open loop, a connection, a bare thread: each by its own reason, and each serves."""
    with Gate() as gate:
        deploy(tmp_path, "one", at_import=fault.format(port=gate.port))
        with served(tmp_path) as service:
            mode, why = mode_of(service)
            assert mode == "spawn" and re.search(named.format(port=gate.port), why), why
            assert releases_of(address_of(service)) == {"one"}


# --- the choice stays --------------------------------------------------------------------------


def test_a_reload_that_would_change_the_mode_is_refused(tmp_path: Path) -> None:
    """New code has a thread: 3, the reason and the ways out; without the thread it is taken."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service, Crowd(address_of(service)) as crowd:
        deploy(tmp_path, "two", at_import=THREAD)
        done = service.leeward("reload")
        assert done.returncode == 3, done
        assert "needs spawn mode, and this instance runs in zygote mode" in done.stderr
        assert re.search(NAMES_IT, done.stderr)
        assert "--start-fallback allow" in done.stderr
        service.wait_line("generation 1 serves on")
        crowd.all_answered()
        assert set(crowd.seen) == {"one"}
        assert mode_of(service) == ("zygote", "safe to fork")
        deploy(tmp_path, "three")
        assert service.leeward("reload").returncode == 0
        assert mode_of(service) == ("zygote", "safe to fork")


def test_a_reload_may_change_the_mode_where_that_is_allowed(tmp_path: Path) -> None:
    """--start-fallback allow: the same code is taken, spawned; from then on the instance spawns."""
    deploy(tmp_path, "one")
    with served(tmp_path, "--start-fallback", "allow") as service:
        with Crowd(address_of(service)):
            deploy(tmp_path, "two", at_import=THREAD)
            assert service.leeward("reload").returncode == 0
            service.wait_line(rf"generation 2 runs in spawn mode: {NAMES_IT}")
            assert releases_of(address_of(service)) == {"two"}
            mode, why = mode_of(service)
            assert mode == "spawn" and re.match(NAMES_IT, why)
            deploy(tmp_path, "three")
            assert service.leeward("reload").returncode == 0
        assert mode_of(service) == ("spawn", "as at the first start")
        assert releases_of(address_of(service)) == {"three"}


def test_settings_that_would_change_the_mode_are_refused(tmp_path: Path) -> None:
    """`start` in leeward.toml is no different from a thread in the code."""
    deploy(tmp_path, "one")
    settings = tmp_path / "leeward.toml"
    for before, after in (("zygote", "spawn"), ("spawn", "zygote")):
        settings.write_text(f'start = "{before}"\n')
        with served(tmp_path) as service:
            replace(settings, f'start = "{after}"\n')
            done = service.leeward("reload")
            assert done.returncode == 3, done
            assert f"needs {after} mode, and this instance runs in {before} mode" in done.stderr
            assert mode_of(service)[0] == before
            assert {it["generation"] for it in service.workers()} == {1}


def test_an_instance_that_spawns_is_never_refused(tmp_path: Path) -> None:
    """Auto fell back at the start: with the thread or without it, every reload is taken."""
    deploy(tmp_path, "one", at_import=THREAD)
    with served(tmp_path) as service:
        assert mode_of(service)[0] == "spawn"
        for generation, code in ((2, THREAD), (3, "pass"), (4, THREAD)):
            deploy(tmp_path, str(generation), at_import=code)
            done = service.leeward("reload")
            assert done.returncode == 0, done
            assert mode_of(service) == ("spawn", "as at the first start")
            assert releases_of(address_of(service)) == {str(generation)}


# --- one generation, two codes -----------------------------------------------------------------


def test_spawned_replacements_with_other_code_are_reported(tmp_path: Path) -> None:
    """The file changed, a worker died: log and ps say `mixed` and the file; a reload ends it."""
    replace(tmp_path / "prices.py", "OF = 1\n")
    deploy(tmp_path, "one", at_import="import prices")
    with served(tmp_path, "--start", "spawn") as service:
        replace_worker(service, 0, 1)
        assert service.ps()["mixed"] == [], "nothing has changed"
        replace(tmp_path / "prices.py", "OF = 2\n")
        replace_worker(service, 1, 1)
        prices = str(tmp_path / "prices.py")
        service.wait_line(
            rf"warning +worker=1 gen=1 pid=\d+ generation 1 is mixed: {re.escape(prices)} changed"
        )
        assert service.ps()["mixed"] == [prices]
        shown = service.leeward("ps").stdout
        assert "mixed" in shown and "prices.py" in shown and "leeward reload" in shown
        deploy(tmp_path, "two", at_import="import prices")
        replace_worker(service, 0, 1)
        service.wait_line(rf"generation 1 is mixed: {re.escape(str(tmp_path / 'shop.py'))} changed")
        assert service.ps()["mixed"] == [prices, str(tmp_path / "shop.py")]
        wait_releases(address_of(service), {"one", "two"})
        assert service.leeward("reload").returncode == 0
        assert service.ps()["mixed"] == []
        assert releases_of(address_of(service)) == {"two"}


def test_a_swapped_link_is_reported_as_mixed(tmp_path: Path) -> None:
    """`current` was swapped and not reloaded: a spawned replacement runs the other release."""
    current = tmp_path / "current"
    for name in ("two", "one"):
        home = deploy(tmp_path / name, name).parent
        (tmp_path / "new").symlink_to(home)
        os.replace(tmp_path / "new", current)
    with served(tmp_path, "--start", "spawn", "--chdir", str(current)) as service:
        (tmp_path / "new").symlink_to(tmp_path / "two")
        os.replace(tmp_path / "new", current)
        replace_worker(service, 0, 1)
        service.wait_line(r"worker=0 gen=1 .* generation 1 is mixed: \S*two/shop\.py changed")


def test_forked_replacements_have_the_code_of_their_generation(tmp_path: Path) -> None:
    """In zygote mode an edit changes nothing until a reload; only a rebuilt zygote reads it."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service:
        deploy(tmp_path, "two")
        replace_worker(service, 0, 1)
        assert releases_of(address_of(service)) == {"one"}
        assert service.ps()["mixed"] == []
        (zygote,) = service.ps()["zygotes"]
        mark = service.mark()
        os.kill(zygote["pid"], signal.SIGKILL)
        service.wait_line(r"zygote loaded", mark)
        service.wait_line(r"gen=1 pid=\d+ zygote generation 1 is mixed: \S*shop\.py changed", mark)
        assert service.ps()["mixed"] == [str(tmp_path / "shop.py")]
        assert releases_of(address_of(service)) == {"one"}, "workers were not touched"
        replace_worker(service, 1, 1)
        wait_releases(address_of(service), {"one", "two"})
