"""What the service manager is told, and only if it asks."""

import socket

import pytest

from leeward._supervisor.notify import VARIABLES, Notify, without


@pytest.fixture
def manager(tmp_path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "notify"))
    sock.settimeout(5)
    yield sock, {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    sock.close()


def heard(sock):
    return sock.recv(4096).decode().split("\n")


def test_each_state_is_said_as_sd_notify_has_it(manager):
    """READY, RELOADING with its stamp, STOPPING, STATUS only when it changes."""
    sock, environ = manager
    notify = Notify(environ, 1)
    notify.ready("2 of 2 workers ready")
    assert heard(sock) == ["READY=1", "STATUS=2 of 2 workers ready"]
    notify.reloading(12.5)
    assert heard(sock) == ["RELOADING=1", "MONOTONIC_USEC=12500000"]
    notify.status("one")
    notify.status("one")
    notify.stopping()
    assert heard(sock) == ["STATUS=one"]
    assert heard(sock)[0] == "STOPPING=1"


def test_an_abstract_address_is_understood():
    """systemd may pass @name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0leeward-test-notify")
        sock.settimeout(5)
        Notify({"NOTIFY_SOCKET": "@leeward-test-notify"}, 1).stopping()
        assert heard(sock)[0] == "STOPPING=1"


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "2"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_the_watchdog_ticks_at_half_its_time_if_it_is_ours(environ, interval):
    """sd_watchdog_enabled(3): the time and whom it is meant for."""
    assert Notify({"NOTIFY_SOCKET": "/nowhere", **environ}, 1).interval == interval


def test_the_watchdog_ticks_when_it_is_due(manager):
    """Not more often, and not less."""
    sock, environ = manager
    notify = Notify({**environ, "WATCHDOG_USEC": "2000000"}, 1)
    for now in (0.0, 0.5, 0.9, 1.0, 1.5):
        notify.tick(now)
    notify.stopping()
    assert [heard(sock)[0] for _ in range(3)] == ["WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


def test_nobody_listening_is_no_error(tmp_path):
    """The manager may be restarting; without one nothing is sent at all."""
    Notify({"NOTIFY_SOCKET": str(tmp_path / "gone")}, 1).stopping()
    Notify({}, 1).stopping()


def test_children_do_not_see_what_speaks_to_us():
    """A worker that said READY or ended would confuse the service manager."""
    environ = {**dict.fromkeys(VARIABLES, "1"), "PATH": "/bin"}
    assert without(environ) == {"PATH": "/bin"}
