"""A reload gives every slot the new code and settings, and never has fewer that accept."""

from __future__ import annotations

import contextlib
import select
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from process.clients import Gate, Http, WebSocket, address_of, get, refused
from process.crowd import Crowd
from process.releases import check_capacity, deploy, releases_of, replace, served, wait_at
from process.support import APPS

from leeward.testing import Service, serve


def by_verb(service: Service, generation: int) -> None:
    done = service.leeward("reload")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.splitlines()[-1].startswith(f"generation {generation} serves"), done


def by_hup(service: Service, generation: int) -> None:
    service.signal(signal.SIGHUP)
    service.wait_line(rf"generation {generation} serves")


BOTH = pytest.mark.parametrize("reload", [by_verb, by_hup])
MODES = pytest.mark.parametrize("mode", ["zygote", "spawn"])


@MODES
@BOTH
def test_every_slot_gets_the_new_code(
    tmp_path: Path, mode: str, reload: Callable[[Service, int], None]
) -> None:
    """HUP and `leeward reload` alike: new processes, in the same slots, with the new release."""
    deploy(tmp_path, "one")
    with served(tmp_path, "--start", mode, workers=3) as service:
        old = {it["pid"] for it in service.workers()}
        with Crowd(address_of(service)) as crowd:
            deploy(tmp_path, "two")
            reload(service, 2)
            for slot in range(3):
                service.wait_line(rf"worker={slot} gen=1 pid=\d+ gone$")
            crowd.answered_anew()
            assert set(crowd.seen) == {"two"}
        shown = service.ps()
        assert (shown["generation"], shown["state"], shown["mode"]) == (2, "serving", mode)
        assert [(it["slot"], it["generation"]) for it in shown["workers"]] == [
            (slot, 2) for slot in range(3)
        ]
        assert not old & {it["pid"] for it in shown["workers"]}
        assert {it["generation"] for it in shown["zygotes"]} <= {1, 2}
        assert not shown["ends"], "a reload is nobody's death"


@BOTH
def test_settings_and_the_environment_file_are_read_again(
    tmp_path: Path, reload: Callable[[Service, int], None]
) -> None:
    """The number of workers, the log's level and the application's environment follow the files."""
    deploy(tmp_path, "one")
    (tmp_path / "leeward.toml").write_text('workers = 1\nenv-file = "shop.env"\n')
    (tmp_path / "shop.env").write_text("SEASON=spring\n")
    with served(tmp_path, workers=None) as service:
        assert get(address_of(service)).json["season"] == "spring"
        replace(tmp_path / "leeward.toml", 'workers = 3\nenv-file = "shop.env"\n')
        replace(tmp_path / "shop.env", "SEASON=summer\n")
        reload(service, 2)
        assert {get(address_of(service)).json["season"] for _ in range(6)} == {"summer"}
        for slot in range(3):
            service.wait_line(rf"worker={slot} gen=2 pid=\d+ ready")
        assert [(it["slot"], it["generation"]) for it in service.workers()] == [
            (0, 2),
            (1, 2),
            (2, 2),
        ]
        # What the file does not say any more, and what the flags do not say, is the default.
        replace(tmp_path / "leeward.toml", "")
        reload(service, 3)
        for slot in (1, 2):
            service.wait_line(rf"worker={slot} gen=2 pid=\d+ gone")
        assert get(address_of(service)).json["season"] == ""
        assert [(it["slot"], it["generation"]) for it in service.workers()] == [(0, 3)]


def test_flags_outlive_a_reload(tmp_path: Path) -> None:
    """What `serve` was told by flags still wins over the file, and so does a scale by hand."""
    deploy(tmp_path, "one")
    with served(tmp_path, workers=2) as service:
        replace(tmp_path / "leeward.toml", "workers = 4\n")
        by_verb(service, 2)
        service.wait_line(r"worker=1 gen=2 pid=\d+ ready")
        assert len(service.workers()) == 2
        assert service.leeward("scale", "3").returncode == 0
        service.wait_line(r"worker=2 gen=2 pid=\d+ ready")
        by_verb(service, 3)
        service.wait_line(r"worker=2 gen=2 pid=\d+ gone")
        assert [(it["slot"], it["generation"]) for it in service.workers()] == [
            (0, 3),
            (1, 3),
            (2, 3),
        ]


@MODES
def test_there_are_never_fewer_that_accept(tmp_path: Path, mode: str) -> None:
    """A worker is told to drain only after its slot's new one has said that it is ready."""
    deploy(tmp_path, "one")
    with served(tmp_path, "--start", mode, workers=3) as service:
        start = service.mark()
        for generation in (2, 3):
            by_verb(service, generation)
        for slot in range(3):
            service.wait_line(rf"worker={slot} gen=2 pid=\d+ gone")
        check_capacity(service, 3, start)


def test_a_request_in_flight_is_finished_by_the_old_worker() -> None:
    """It gets its answer, which says that the connection ends, and the reload has not waited."""
    with serve("held", "-w", "1", cwd=APPS) as service, Gate() as gate:
        address = address_of(service.wait_ready(1))
        with Http(address) as busy, Http(address) as idle:
            old = idle.get().json["pid"]
            held = gate.hold(busy)
            by_verb(service, 2)
            service.wait_line(rf"pid={old} draining")
            assert not select.select([busy.sock], [], [], 0)[0], "answered before its time"
            held.release()
            answer = busy.answer()
            assert (answer.status, held.pid) == (200, old)
            assert answer.announces_close and busy.at_end()
            # Who was idle hears of it with the next answer, from the same old worker.
            answer = idle.get()
            assert (answer.status, answer.json["pid"]) == (200, old)
            assert answer.announces_close and idle.at_end()
        service.wait_line(r"worker=0 gen=1 pid=\d+ gone$")
        assert get(address).json["pid"] != old


def test_what_does_not_finish_is_cut_at_the_deadline(tmp_path: Path) -> None:
    """--graceful-timeout bounds the drain; the log says what was cut."""
    deploy(tmp_path, "one")
    flags = ("--graceful-timeout", "300ms", "--drain-window", "100ms")
    with served(tmp_path, *flags, workers=1) as service, Http(address_of(service)) as idle:
        assert idle.get().status == 200
        by_verb(service, 2)
        service.wait_line(r"worker=0 gen=1 .*drain deadline reached, cutting connections: 1 idle")
        service.wait_line(r"worker=0 gen=1 pid=\d+ gone$")
        assert idle.at_end()


def test_the_drain_obeys_the_settings_that_its_generation_had(tmp_path: Path) -> None:
    """Old workers leave by the window that they were started with, new ones by the new one."""
    deploy(tmp_path, "one")
    settings = tmp_path / "leeward.toml"
    settings.write_text('drain-window = "0s"\n')
    with served(tmp_path, workers=1) as service:
        with WebSocket(address_of(service)) as first:
            replace(settings, 'drain-window = "20s"\n')
            by_verb(service, 2)
            first.sock.settimeout(5.0)
            assert first.close_code() == 1012
        with contextlib.ExitStack() as stack:
            address = address_of(service)
            later = [stack.enter_context(WebSocket(address)).sock for _ in range(6)]
            by_verb(service, 3)
            # Evenly spread over twenty seconds: half of them are closed in the second half.
            closed, _, _ = select.select(later, [], [], 0)
            assert len(closed) <= 3


# --- the verb -----------------------------------------------------------------------------


def test_no_wait_returns_before_the_outcome(tmp_path: Path) -> None:
    """`reload --no-wait` has asked for it when it returns: 0, even if the code will fail."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service, Gate() as gate:
        deploy(tmp_path, "two", at_import=f"{wait_at(gate)}\n1 / 0")
        done = service.leeward("reload", "--no-wait")
        assert (done.returncode, done.stdout, done.stderr) == (0, "reload asked for\n", "")
        service.wait_line("reload asked for by leeward reload")
        held = gate.arrival()
        assert "ZeroDivisionError" not in service.log
        held.release()
        service.wait_line("ZeroDivisionError: division by zero")
        service.wait_line("generation 1 serves on")


def test_who_gives_up_waiting_changes_nothing(tmp_path: Path) -> None:
    """--timeout ends the caller, with 1 and words; the reload goes on."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service:
        deploy(tmp_path, "two", at_import="import threading\nthreading.Event().wait(1)")
        done = service.leeward("reload", "--timeout", "400ms")
        assert done.returncode == 1 and "is not done after 0.4 s; it goes on" in done.stderr, done
        service.wait_line("generation 2 serves")
        assert releases_of(address_of(service)) == {"two"}


def test_a_caller_that_is_killed_changes_nothing(tmp_path: Path) -> None:
    """What was asked for is done, whoever still listens."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service:
        deploy(tmp_path, "two", at_import="import threading\nthreading.Event().wait(0.5)")
        caller = service.begin("reload")
        service.wait_line("reload asked for by leeward reload")
        caller.kill()
        caller.communicate()
        service.wait_line("generation 2 serves")
        assert service.leeward("reload").returncode == 0


def test_nobody_to_reload_is_said_by_exit_code_6(tmp_path: Path) -> None:
    """A wrong name: 6, and the names that there are."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service:
        done = service.leeward("reload", "--name", "nobody-is-called-so")
        assert done.returncode == 6, done
        assert "no instance is called 'nobody-is-called-so'" in done.stderr
        assert service.name in done.stderr


def test_nothing_listens_at_the_old_place_after_the_end(tmp_path: Path) -> None:
    """Reloads leave no copy of the listener behind: once stopped, the port is free."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service:
        address = address_of(service)
        by_verb(service, 2)
        by_hup(service, 3)
        service.stop()
        assert refused(address)
