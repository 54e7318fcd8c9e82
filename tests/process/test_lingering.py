"""Old generations that still have something to finish are few."""

from __future__ import annotations

from process.clients import Gate, Held, Http, address_of
from process.support import APPS

from leeward.testing import Service, serve


def hold_and_reload(service: Service, gate: Gate, client: Http) -> Held:
    """A slow request to the worker that serves, and a reload beside it."""
    held = gate.hold(client)
    done = service.leeward("reload")
    assert done.returncode == 0, done
    return held


def test_the_oldest_has_no_more_time_when_there_are_too_many() -> None:
    """One line; its slow request is cut after five seconds, those of the others are answered."""
    with serve("held", "-w", "1", "--max-lingering", "1", cwd=APPS) as service, Gate() as gate:
        address = address_of(service.wait_ready(1))
        with Http(address) as first:
            hold_and_reload(service, gate, first)
            assert "lingers" not in service.log
            second = Http(address)
            held = hold_and_reload(service, gate, second)
            line = service.wait_line(r"generation 1 lingers, and newer ones too .*: 1 worker")
            assert "must finish within 5 s" in line.string
            service.wait_line(r"gen=1 pid=\d+ draining \(stop\)")
            service.wait_line(r"gen=1 pid=\d+ drain deadline reached, cutting")
            assert first.cut()
            held.release()
            with second:
                answer = second.answer()
            assert answer.status == 200 and answer.json["generation"] == "2"
        assert service.log.count("lingers") == 1


def test_whoever_finishes_in_time_is_not_hurried() -> None:
    """Reload after reload: no generation is left to count."""
    with serve("held", "-w", "2", "--max-lingering", "1", cwd=APPS) as service:
        service.wait_ready(2)
        for _ in range(3):
            assert service.leeward("reload").returncode == 0
        for number in range(1, 4):
            for slot in range(2):
                service.wait_line(rf"worker={slot} gen={number} pid=\d+ gone$")
        assert "draining (stop)" not in service.log
