"""What the service manager is told, and only if it asks."""

import contextlib
import os
import resource
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


@pytest.fixture
def notifier():
    """Makes what is tested, for this pid 1; `notifier.said` is what it says of the manager."""
    made = []

    def make(environ):
        made.append(Notify(environ, 1, make.said.append))
        return made[-1]

    make.said = []
    yield make
    for each in made:
        each.close()


def heard(sock):
    return sock.recv(4096).decode().split("\n")


def test_each_state_is_said_as_sd_notify_has_it(manager, notifier):
    """READY, RELOADING with its stamp, STOPPING, STATUS only when it changes."""
    sock, environ = manager
    notify = notifier(environ)
    notify.ready("2 of 2 workers ready")
    assert heard(sock) == ["READY=1", "STATUS=2 of 2 workers ready"]
    notify.reloading(12.5)
    assert heard(sock) == ["RELOADING=1", "MONOTONIC_USEC=12500000"]
    notify.status("one")
    notify.status("one")
    notify.stopping()
    assert heard(sock) == ["STATUS=one"]
    assert heard(sock)[0] == "STOPPING=1"


def test_an_abstract_address_is_understood(notifier):
    """systemd may pass @name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0leeward-test-notify")
        sock.settimeout(5)
        notifier({"NOTIFY_SOCKET": "@leeward-test-notify"}).stopping()
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
def test_the_watchdog_ticks_at_half_its_time_if_it_is_ours(environ, interval, notifier):
    """sd_watchdog_enabled(3): the time and whom it is meant for."""
    assert notifier({"NOTIFY_SOCKET": "/nowhere", **environ}).interval == interval


def test_the_watchdog_ticks_when_it_is_due(manager, notifier):
    """Not more often, and not less."""
    sock, environ = manager
    notify = notifier({**environ, "WATCHDOG_USEC": "2000000"})
    for now in (0.0, 0.5, 0.9, 1.0, 1.5):
        notify.tick(now)
    notify.stopping()
    assert [heard(sock)[0] for _ in range(3)] == ["WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


def test_nobody_listening_is_no_error(tmp_path, notifier):
    """The manager may be restarting; without one nothing is sent at all."""
    for environ in ({"NOTIFY_SOCKET": str(tmp_path / "gone")}, {}):
        notify = notifier(environ)
        notify.stopping()
        notify.close()


@contextlib.contextmanager
def full(environ):
    """The manager's queue, until the end."""
    with contextlib.ExitStack() as stack:
        sent = 1
        while sent:  # each sender has a bound of its own
            sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            sock.setblocking(False)
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    sent += sock.sendto(b"X_OF_ANOTHER=1", environ["NOTIFY_SOCKET"])
        yield


def rest(sock):
    """All that the manager has heard of us, and hears now."""
    said = []
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            said.append(heard(sock)[0])
    return [line for line in said if line != "X_OF_ANOTHER=1"]


def test_what_the_manager_could_not_take_is_sent_again(manager, notifier):
    """In order, the last of each kind; after pauses that grow, and none when all is told."""
    sock, environ = manager
    notify = notifier(environ)
    with full(environ):
        notify.ready("1 of 2 workers ready")
        notify.reloading(3.0)
        notify.ready("2 of 2 workers ready")
        notify.status("2 of 2 workers ready, generation 2")
        now, pauses = 100.0, []
        for _ in range(50):
            notify.tick(now)
            pauses.append(notify.next_deadline() - now)
            now = notify.next_deadline()
    assert pauses[:3] == pytest.approx([0.1, 0.2, 0.4])
    assert pauses[10:] == pytest.approx([5.0] * 40)
    assert rest(sock) == []
    notify.tick(now - 0.1)
    assert rest(sock) == []
    notify.tick(now)
    assert rest(sock) == ["RELOADING=1", "READY=1", "STATUS=2 of 2 workers ready, generation 2"]
    assert notify.next_deadline() is None and notifier.said == []


def test_a_watchdog_that_could_not_be_fed_is_fed_soon(manager, notifier):
    """Two lost ticks are the end of the service."""
    sock, environ = manager
    notify = notifier({**environ, "WATCHDOG_USEC": "20000000"})
    with full(environ):
        notify.tick(100.0)
    assert rest(sock) == []
    assert notify.next_deadline() == pytest.approx(100.1)
    notify.tick(100.1)
    assert rest(sock) == ["WATCHDOG=1"]
    assert notify.next_deadline() == 110.0


def test_a_manager_that_is_not_there_is_given_up(manager, notifier, tmp_path):
    """Said once, and nobody wakes for it; if it is there again, it is told with what comes next."""
    sock, environ = manager
    os.rename(environ["NOTIFY_SOCKET"], tmp_path / "away")
    notify = notifier(environ)
    notify.ready("1 of 1 worker ready")
    now, begun, tries = 100.0, 100.0, 0
    while (due := notify.next_deadline()) is not None:
        now, tries = max(now, due), tries + 1
        notify.tick(now)
    assert tries == 10 and 10 < now - begun < 60
    [said] = notifier.said
    assert "READY" in said and "No such file" in said
    for number in range(3):
        notify.status(f"status {number}")
        notify.tick(now + number)
    assert notify.next_deadline() is None and len(notifier.said) == 1
    os.rename(tmp_path / "away", environ["NOTIFY_SOCKET"])
    notify.status("it is there")
    assert rest(sock) == ["READY=1", "STATUS=it is there"]


def test_no_descriptor_is_needed_when_there_is_something_to_say(manager, notifier):
    """A process that has used up its own must be able to say that it is ready."""
    sock, environ = manager
    notify = notifier(environ)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        notify.ready("1 of 1 worker ready")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert rest(sock) == ["READY=1"]


def test_a_status_is_no_longer_than_the_manager_takes(manager, notifier):
    """systemd drops a message of more than 4096 bytes, READY and all; and not all is text."""
    sock, environ = manager
    notifier(environ).ready("\udcff" * 5000)
    assert len(sock.recv(65536)) <= 4096


def test_the_last_words_go_before_the_end(manager, notifier):
    """There is no later."""
    sock, environ = manager
    notify = notifier(environ)
    with full(environ):
        notify.stopping()
    assert rest(sock) == []
    notify.close()
    assert rest(sock) == ["STOPPING=1"]


def test_children_do_not_see_what_speaks_to_us():
    """A worker that said READY or ended would confuse the service manager."""
    environ = {**dict.fromkeys(VARIABLES, "1"), "PATH": "/bin"}
    assert without(environ) == {"PATH": "/bin"}
