"""Who dies is replaced by a worker that was forked before: nobody sees it but by the time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from process.clients import address_of, get
from process.registry import waiting
from process.releases import deploy, releases_of, served
from process.support import APPS, end_spares, gone, spares_of, until
from process.test_adopt import adopt
from process.test_orphans import at_once, bind, kill
from process.test_set import drained_within, set_

from leeward._core import spares
from leeward._sys import procfs
from leeward.testing import Service, serve


def replaced(service: Service, slot: int = 0) -> int:
    """SIGKILLs the worker of this slot; its successor's pid."""
    (victim,) = (it["pid"] for it in service.workers() if it["slot"] == slot)
    mark = service.mark()
    os.kill(victim, signal.SIGKILL)
    return int(service.wait_line(rf"worker={slot} gen=\d+ pid=(\d+) ready", mark)[1])


def zygotes_of_spares(service: Service) -> list[int] | None:
    """Whose they are, once there is no more than one."""
    names = map(procfs.comm, procfs.children_of(service.pid))
    found = [it for it in map(spares.zygote_of, names) if it is not None]
    return found if len(found) == 1 else None


@pytest.mark.parametrize("kind", ["application", "program"])
def test_whoever_dies_is_replaced_by_it(kind: str) -> None:
    """Again and again, with a pause between; it serves as any worker does, and nothing is said."""
    flags = ("-w", "1", "--start", "zygote")
    started = serve("slow", *flags, cwd=APPS) if kind == "application" else adopt("listen", *flags)
    with started as service:
        service.wait_ready(1)
        for _ in range(3):
            (spare,) = spares_of(service)
            assert replaced(service) == spare
            assert get(address_of(service)).status == 200
            assert procfs.comm(spare) == "leeward w0 g1"
        assert "spare" not in service.log and "outlived" not in service.log


def test_it_may_die_unseen() -> None:
    """The zygote forks; nothing is left of it, and nothing said."""
    with serve("slow", "-w", "1", "--start", "zygote", cwd=APPS) as service:
        service.wait_ready(1)
        (spare,) = spares_of(service)
        end_spares(service)
        assert replaced(service) != spare
        (another,) = spares_of(service)
        assert another != spare
        states = [procfs.state_of(it) for it in procfs.children_of(service.pid)]
        assert "Z" not in states
        assert "spare" not in service.log and "outlived" not in service.log


def test_one_that_is_stopped_delays_nobody_long() -> None:
    """A quarter of a second; and it is not left behind."""
    with serve("slow", "-w", "1", "--start", "zygote", cwd=APPS) as service:
        service.wait_ready(1)
        (spare,) = spares_of(service)
        os.kill(spare, signal.SIGSTOP)
        assert replaced(service) != spare
        assert gone(spare)


@pytest.mark.parametrize("stopped", [False, True], ids=["", "stopped"])
def test_it_ends_with_its_zygote(stopped: bool) -> None:
    """SIGKILL: it is no stray that anybody is told of, stopped or not."""
    with serve("slow", "-w", "2", "--start", "zygote", cwd=APPS) as service:
        service.wait_ready(2)
        (spare,) = spares_of(service)
        if stopped:
            os.kill(spare, signal.SIGSTOP)
        (zygote,) = service.ps()["zygotes"]
        mark = service.mark()
        os.kill(zygote["pid"], signal.SIGKILL)
        service.wait_line(r"zygote loaded", mark)
        assert gone(spare)
        assert "outlived" not in service.log and f"pid={spare} " not in service.log
        (another,) = spares_of(service)
        assert replaced(service, 1) == another


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGQUIT])
@pytest.mark.parametrize("state", ["", "stopped", "without a zygote"])
def test_a_stop_leaves_none(how: signal.Signals, state: str) -> None:
    """It has gone when the supervisor has, and the port can be bound at once."""
    with serve("slow", "-w", "2", "--start", "zygote", cwd=APPS) as service:
        service.wait_ready(2)
        address = address_of(service)
        (spare,) = spares_of(service)
        if state == "stopped":
            os.kill(spare, signal.SIGSTOP)
        elif state:
            os.kill(service.ps()["zygotes"][0]["pid"], signal.SIGKILL)
        service.signal(how)
        assert service.wait() == 0 or how == signal.SIGQUIT
        assert gone(spare, 0)
        assert service.family() == []
        bind(address)


@at_once
def test_a_killed_supervisor_leaves_none() -> float:
    """Within 100 ms, as everything else of it."""
    with serve("slow", "-w", "2", "--start", "zygote", cwd=APPS) as service:
        service.wait_ready(2)
        (spare,) = spares_of(service)
        took = kill(service)
        assert gone(spare, 0)
    return took


def test_a_reload_gives_no_old_code(tmp_path: Path) -> None:
    """Each generation has its own; that of the old one is for who goes back to it."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service:
        (old,) = spares_of(service)
        deploy(tmp_path, "two")
        assert service.leeward("reload").returncode == 0
        both = spares_of(service)
        assert old in both and len(both) == 2
        assert replaced(service) in both
        assert releases_of(address_of(service)) == {"two"}
        assert service.leeward("rollback").returncode == 0
        assert releases_of(address_of(service)) == {"one"}
        assert old in [it["pid"] for it in service.workers()]
        zygotes = until(lambda: zygotes_of_spares(service), "the other generation's to go")
        assert zygotes == [it["pid"] for it in service.ps()["zygotes"]]


def test_it_knows_what_was_set_since() -> None:
    """`leeward set` reaches who is born later, and so it is born later."""
    with waiting("--settle", "0s", workers=1, graceful="25s") as service:
        (before,) = spares_of(service)
        assert set_(service, "graceful-timeout=7s") == "set in 1 worker\n"
        assert gone(before)
        (after,) = spares_of(service)
        assert replaced(service) == after
        assert drained_within(service) == "7"


def test_ps_counts_its_memory() -> None:
    """With its zygote's, with which it shares it."""
    with serve("slow", "-w", "1", "--start", "zygote", cwd=APPS) as service:
        service.wait_ready(1)
        spares_of(service)
        (zygote,) = service.ps()["zygotes"]
        assert zygote["pss_bytes"] > (procfs.pss_bytes(zygote["pid"]) or 0) * 1.5
        end_spares(service)
        (zygote,) = service.ps()["zygotes"]
        assert zygote["pss_bytes"] < (procfs.pss_bytes(zygote["pid"]) or 0) * 1.5
