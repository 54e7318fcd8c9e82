"""Reloads that come faster than they can be done are merged, and everybody is told the truth."""

from __future__ import annotations

import re
import signal
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from process.clients import Gate, Http, address_of
from process.crowd import Crowd
from process.releases import MODULE, NO_PYC, deploy, releases_of, served, wait_at
from process.support import APPS

from leeward.testing import Service, serve


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate() as gate:
        yield gate


def finish(caller: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code, and everything that was printed."""
    with caller:
        out, err = caller.communicate(timeout=20)
    return caller.returncode, out + err


def loads(service: Service) -> list[int]:
    """The generations that were loaded, in the order in which they were."""
    return [
        int(found[1])
        for line in service.lines
        if (found := re.search(r" gen=(\d+) pid=\d+ zygote loaded", line))
    ]


def test_a_storm_of_hups_is_merged_and_said_to_be(tmp_path: Path, gate: Gate) -> None:
    """Fifty HUPs while one reload loads become one more; nothing fails; each is in the log."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service, Crowd(address_of(service)) as crowd:
        deploy(tmp_path, "two", at_import=wait_at(gate))
        service.signal(signal.SIGHUP)
        service.wait_line(r"reload asked for by SIGHUP$")
        held = gate.arrival()
        for _ in range(50):
            before = service.mark()
            service.signal(signal.SIGHUP)
            # One at a time: the kernel itself merges signals that are not yet delivered.
            service.wait_line(
                r"reload asked for by SIGHUP; one is under way, one more follows for all who ask",
                before,
            )
        deploy(tmp_path, "three")
        held.release()
        service.wait_line("generation 2 serves with 2 workers")
        service.wait_line("generation 3 serves with 2 workers")
        crowd.answered_anew()
        assert service.ps()["generation"] == 3
    assert loads(service) == [1, 2, 3]


def test_hups_without_a_pause_leave_the_last_release(tmp_path: Path) -> None:
    """A storm as fast as a process can send it: the code of after the storm serves."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service, Crowd(address_of(service)) as crowd:
        for round in range(3):
            deploy(tmp_path, f"storm {round}")
            for _ in range(300):
                service.signal(signal.SIGHUP)
        deploy(tmp_path, "calm")
        done = service.leeward("reload")
        assert done.returncode == 0, done
        assert releases_of(address_of(service)) == {"calm"}
        crowd.all_answered()
        # 900 signals: the kernel merges some, we the rest.
        assert len(loads(service)) < 20


def test_who_asks_during_a_reload_gets_the_next_ones_result(tmp_path: Path, gate: Gate) -> None:
    """The first caller hears of the release that he deployed, the second and third of theirs."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service, Crowd(address_of(service)) as crowd:
        deploy(tmp_path, "two", at_import=wait_at(gate))
        first = service.begin("reload")
        held = gate.arrival()
        deploy(tmp_path, "three", at_end="raise ValueError('third')")
        mark = service.mark()
        late = [service.begin("reload")]
        service.wait_line("one more follows", mark)
        mark = service.mark()
        late.append(service.begin("reload"))
        service.wait_line("one more follows", mark)
        held.release()
        code, said = finish(first)
        assert (code, "generation 2 serves" in said) == (0, True), said
        for caller in late:
            code, said = finish(caller)
            assert (code, "ValueError: third" in said) == (3, True), said
            assert "generation 2 serves on" in said
        crowd.answered_anew()
        assert set(crowd.seen) == {"two"}
    assert loads(service) == [1, 2]


def test_a_good_release_is_taken_behind_a_broken_one(tmp_path: Path, gate: Gate) -> None:
    """The first caller gets the traceback, the second 0: each what he has deployed."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service:
        deploy(tmp_path, "two", at_import=wait_at(gate), at_end="raise ValueError('second')")
        first = service.begin("reload")
        held = gate.arrival()
        deploy(tmp_path, "three")
        mark = service.mark()
        second = service.begin("reload")
        service.wait_line("one more follows", mark)
        held.release()
        code, said = finish(first)
        assert (code, "ValueError: second" in said) == (3, True), said
        code, said = finish(second)
        assert (code, "generation 3 serves" in said) == (0, True), said
        assert releases_of(address_of(service)) == {"three"}


def test_a_reload_while_booting_follows_the_boot(tmp_path: Path, gate: Gate) -> None:
    """Asked for before the first worker is ready: the caller is answered after the second load."""
    deploy(tmp_path, "one", at_import=wait_at(gate))
    with serve(MODULE, "-w", "2", cwd=tmp_path, env=NO_PYC) as service:
        held = gate.arrival()
        deploy(tmp_path, "two")
        caller = service.begin("reload")
        service.wait_line("reload asked for by leeward reload")
        service.signal(signal.SIGHUP)
        service.wait_line("reload asked for by SIGHUP")
        held.release()
        code, said = finish(caller)
        assert (code, "generation 2 serves" in said) == (0, True), said
        assert releases_of(address_of(service)) == {"two"}
        assert service.leeward("reload").returncode == 0
    assert loads(service) == [1, 2, 3]


def test_a_reload_of_a_boot_that_fails_is_answered(tmp_path: Path, gate: Gate) -> None:
    """There is nothing to reload: the caller hears that it has stopped, and is not left waiting."""
    deploy(tmp_path, "one", at_import=wait_at(gate), at_end="1 / 0")
    with serve(MODULE, cwd=tmp_path, env=NO_PYC) as service:
        held = gate.arrival()
        caller = service.begin("reload")
        service.wait_line("reload asked for by leeward reload")
        held.release()
        code, said = finish(caller)
        assert (code, "it has stopped" in said) == (1, True), said
        assert service.wait() == 3


@pytest.mark.parametrize("when", ["while resolving", "while importing", "while rolling"])
@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_a_stop_ends_a_reload_under_way(tmp_path: Path, gate: Gate, when: str, mode: str) -> None:
    """Whoever waits for the reload is told so, with 1; nothing is left of the new generation."""
    held = "pass" if when == "while resolving" else wait_at(gate)
    deploy(tmp_path, "one")
    with served(tmp_path, "--start", mode) as service:
        if when == "while rolling":
            held = textwrap.indent(held, "    ")
            deploy(tmp_path, "two", in_factory=f"if os.environ['LEEWARD_SLOT'] == '1':\n{held}")
        else:
            deploy(tmp_path, "two", at_import=held)
        caller = service.begin("reload")
        service.wait_line("reload asked for by leeward reload")
        arrived = None if when == "while resolving" else gate.arrival()
        service.signal(signal.SIGTERM)
        assert service.wait(10) == 0, "code that still imports is not waited for"
        code, said = finish(caller)
        assert (code, "it is stopping; nothing was reloaded" in said) == (1, True), said
        assert service.family() == []
        if arrived is not None:
            arrived.release()


def test_a_reload_during_a_stop_is_refused(tmp_path: Path, gate: Gate) -> None:
    """The way to the end is not left: 1, and the reason."""
    with serve("held", "-w", "1", cwd=APPS) as service, Gate() as gate:
        address = address_of(service.wait_ready(1))
        with Http(address) as client:
            held = gate.hold(client)
            service.signal(signal.SIGTERM)
            service.wait_line("draining")
            done = service.leeward("reload")
            assert (done.returncode, "it is stopping" in done.stderr) == (1, True), done
            service.signal(signal.SIGHUP)
            held.release()
            assert client.answer().status == 200
        assert service.wait() == 0
    assert "gen=2" not in service.log
