"""Signals as numbers on a descriptor."""

from __future__ import annotations

import select
import signal
import threading
from collections.abc import Iterator

import pytest

from leeward._sys.signals import Signals

NUMBERS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


@pytest.fixture
def signals() -> Iterator[Signals]:
    caught = Signals(NUMBERS)
    yield caught
    caught.close()


def test_signals_are_read_in_order_and_as_often_as_they_came(signals):
    """Nothing is merged, nothing blocks, nothing else happens."""
    assert signals.read() == []
    sent = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR2]
    for number in sent:
        signal.raise_signal(number)
    assert signals.read() == sent
    assert signals.read() == []


def test_a_signal_wakes_a_poll(signals):
    """The descriptor becomes readable, and stops being so once it was read."""
    poll = select.poll()
    poll.register(signals, select.POLLIN)
    assert poll.poll(0) == []
    signal.raise_signal(signal.SIGHUP)
    assert poll.poll(1000)
    signals.read()
    assert poll.poll(0) == []


def test_a_storm_loses_nothing(signals):
    """60 000 signals that nobody has read yet are all there, in portions."""
    for _ in range(60_000):
        signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGHUP)
    got: list[int] = []
    while found := signals.read():
        assert len(found) <= 4096
        got.extend(found)
    assert len(got) == 60_001
    assert got[-1] == signal.SIGHUP


def test_more_than_the_pipe_holds_is_dropped_and_not_waited_for(signals):
    """Nobody reads for 70 000 signals: the process goes on."""
    for _ in range(70_000):
        signal.raise_signal(signal.SIGUSR1)
    assert signals.read()
    while signals.read():
        pass


def test_everything_is_as_before_once_closed():
    """Handlers, mask and wakeup descriptor are put back; closing twice is fine."""
    heard: list[int] = []
    before = {
        signal.SIGUSR1: signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number)),
        signal.SIGUSR2: signal.signal(signal.SIGUSR2, signal.SIG_IGN),
    }
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    outer = Signals([signal.SIGTERM])
    try:
        inner = Signals([signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP])
        assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        signal.raise_signal(signal.SIGUSR1)
        assert inner.read() == [signal.SIGUSR1]
        inner.close()
        inner.close()
        assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN
        assert signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        signal.raise_signal(signal.SIGUSR1)
        assert heard == [signal.SIGUSR1]
        signal.raise_signal(signal.SIGTERM)
        assert outer.read() == [signal.SIGUSR1, signal.SIGTERM]
    finally:
        outer.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_half_way_failure_leaves_nothing_behind():
    """A signal that cannot be caught raises, and the others are as before."""
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(OSError):
        Signals([signal.SIGUSR1, signal.SIGKILL])
    assert signal.getsignal(signal.SIGUSR1) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_only_the_main_thread_catches_signals():
    """Another thread is refused, and no descriptor stays behind."""
    refused: list[str] = []

    def attempt() -> None:
        try:
            Signals([signal.SIGUSR1])
        except ValueError as error:
            refused.append(str(error))

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join(10)
    assert len(refused) == 1


def test_an_exec_ed_child_does_not_inherit_deafness(python):
    """Our handlers become the default action in a new program; ignored ones would stay ignored."""
    out = python(
        "import os, signal, subprocess\n"
        "from leeward._sys.signals import Signals\n"
        "Signals([signal.SIGTERM, signal.SIGHUP])\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "child.terminate()\n"
        "print(child.wait(), len(os.listdir('/proc/self/fd')))"
    )
    assert out.split()[0] == str(-signal.SIGTERM)
