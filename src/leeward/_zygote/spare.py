"""A worker forked ahead of its order.

    fork ─ adopted ─ waits ─┬─ Wanted, Hello, Fork ─ is that worker
                            ├─ the zygote has ended, or needs it no more ─ leaves
                            └─ a hook of the application does not let it be: Failed ─ leaves

A worker that dies is missed until its slot has another.  For a zygote of 176 MiB (numpy, pandas,
60 MiB of data) that was 18.7 ms from the order to ready, 12 of them for two forks, the end of
the process between them and new seeds: all of which can have been done before.  With the order
in hand a spare is a worker like any other, forked a little earlier; without one, or if it does
not answer, the zygote forks as ever.

It costs 2-3 MiB (its page tables, and what it has written to so far), and one line in the
process list, `spare PID` with its zygote's.  What does not pay: having it answer a request to
itself, as the zygote does (`leeward._zygote.warm`): 2.5 ms less, for 4 MiB more.  The
supervisor has it for a child, by whose name it is known, and hears of it when it is a worker.

Where there is none: beside a second Python thread, which goes on changing what a spare would
have an old copy of; and where the application's own at-fork hooks open or start something, which
nobody would use until there is an order: a connection is dead by then.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from leeward._core import spares
from leeward._core.messages import BadMessage, Failed, Fork, Hello, Message, Wanted
from leeward._sys import procfs
from leeward._sys.channel import Channel, ChannelFull
from leeward._sys.posix import set_comm
from leeward._zygote.fork import fork_twice
from leeward.errors import ChannelClosed

#: Seconds for its word that it is there.  It takes 0.2 ms, and longer than one period of a
#: control group that has used up its share of the CPU (0.1 s); one that is stopped takes for ever.
PATIENCE = 0.25
#: Seconds for the fork (45 ms a GiB, twice): an order that comes meanwhile has the supervisor's
#: 5 s for this and for a fork of its own.
FORKING = 1.5
#: Seconds for its end, which takes 3 ms at 176 MiB.
LEAVING = 0.5


class Spare:
    """What a zygote knows of its spare.

    settle:  what a process does that was just forked, worker or spare.
    say:     told why there cannot be one.
    """

    def __init__(self, settle: Callable[[], None], say: Callable[[str], None]) -> None:
        self._settle = settle
        self._say = say
        self._pid = 0
        self._pidfd = -1
        self._channel: Channel | None = None
        self._possible = True

    def make(self, zygote: Channel) -> Fork | None:
        """Fork it, unless there is one: returns its order in the spare, None in the zygote.

        zygote:  the zygote's own channel, of which a spare keeps nothing.

        Where it cannot be forked there is none, which is not an error.
        """
        if self._channel is not None or not self._possible or len(sys._current_frames()) > 1:
            return None
        parent = os.getpid()
        try:
            return self._fork(zygote)
        except Exception as error:
            if os.getpid() != parent:
                _leave()
            if not isinstance(error, OSError):
                raise
            if isinstance(error, ChildProcessError):  # the next would take as long
                self._impossible(str(error))
            return None

    def _fork(self, zygote: Channel) -> Fork | None:
        parent = os.getpid()
        with contextlib.ExitStack() as opened:
            ours, theirs = Channel.pair()
            kept = opened.enter_context(contextlib.ExitStack())
            kept.callback(ours.close)
            opened.callback(theirs.close)
            # Its end says what that of the channel does, which a fork of the application may hold.
            life = os.pidfd_open(parent)
            opened.callback(os.close, life)
            before = _open()
            pid = fork_twice(FORKING)
            if pid == 0:
                with contextlib.suppress(OSError):  # only a name in `ps`
                    set_comm(spares.name(parent))
                why = _busy(before)
                # Whoever held the other end of its own channel would not see the end of it.
                ours.close()
                zygote.close()
                return _wait(theirs, life, self._settle, why)
            with contextlib.suppress(OSError):  # it has died already: `hand` finds no one
                self._pidfd = os.pidfd_open(pid)
            kept.pop_all()
            self._pid, self._channel = pid, ours
        return None

    def hand(self, order: Fork) -> int:
        """Its pid, when the order is its own; 0 where there is none that answers.

        The order's descriptors stay the caller's.
        """
        channel = self._take()
        if channel is None:
            return 0
        taken = False
        try:
            channel.send(Wanted())
            # Asked first: an order that was sent cannot be taken back, and a spare that was
            # stopped would find it when it goes on, beside the worker that was forked instead.
            answer = channel.wait(PATIENCE)
            self._heard(answer)
            if answer == Hello(self._pid):
                channel.send(order)
                taken = not channel.wants_write
        except (ChannelClosed, ChannelFull, BadMessage, OSError):
            pass  # there is none
        channel.close()
        self._forget(kill=not taken)
        return self._pid if taken else 0

    def end(self) -> None:
        """Have it leave, and wait until it has: none outlives its zygote."""
        channel = self._take()
        if channel is None:
            return
        channel.close()
        if not self._ends():
            self._kill()
            self._ends()
        self._forget(kill=False)

    def _take(self) -> Channel | None:
        """Its channel, which is the caller's; what it has said so far is read."""
        channel, self._channel = self._channel, None
        if channel is not None:
            with contextlib.suppress(ChannelClosed, BadMessage, OSError):
                for word in channel.receive():
                    self._heard(word)
        return channel

    def _heard(self, word: Message | None) -> None:
        if isinstance(word, Failed):
            self._impossible(word.text)

    def _impossible(self, why: str) -> None:
        self._possible = False
        self._say(f"no spare: {why}")

    def _ends(self) -> bool:
        """Has it, within `LEAVING`?"""
        poll = select.poll()
        if self._pidfd >= 0:
            poll.register(self._pidfd, select.POLLIN)
        return self._pidfd < 0 or bool(poll.poll(LEAVING * 1000))

    def _kill(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(OSError):  # it has gone
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _forget(self, kill: bool) -> None:
        if kill:
            self._kill()
        pidfd, self._pidfd = self._pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)


def _open() -> dict[int, tuple[int, int]]:
    """What each descriptor leads to: its device and inode, which no renaming changes."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that has listed them
            status = os.fstat(int(name))
            found[int(name)] = (status.st_dev, status.st_ino)
    return found


def _busy(before: dict[int, tuple[int, int]]) -> str:
    """What at-fork hooks have done in this child that is not to lie idle; "" for nothing.

    A descriptor that they have closed, as they should, is none.
    """
    new = [fd for fd, it in _open().items() if before.get(fd) != it]
    if new:
        link = os.readlink(f"/proc/self/fd/{new[0]}")
        return f"an at-fork hook of the application has opened {link}"
    if len(os.listdir("/proc/self/task")) > 1:
        return "an at-fork hook of the application has started a thread"
    if procfs.children_of(os.getpid()):
        return "an at-fork hook of the application has started a process"
    return ""


def _wait(channel: Channel, life: int, settle: Callable[[], None], why: str) -> Fork:
    """In the spare: until it has its order.  `channel` and `life` stay the caller's.

    why:  it must not be one; "" if it may.
    """
    try:
        if not why:
            why = _settled(settle)
        if why:
            channel.send(Failed("spare", why))
            _leave()
        poll = select.poll()
        for fd in (channel.fileno(), life):
            poll.register(fd, select.POLLIN)
        # Without a bound: it lives as long as its zygote, whose end is one of the two events,
        # and its supervisor, whose end kills it.
        while not any(fd == life for fd, _ in poll.poll()):
            word = channel.wait(0)
            if isinstance(word, Fork) and len(word.channel) == 1:
                return word
            if isinstance(word, Wanted):
                channel.send(Hello(os.getpid()))
    except (ChannelClosed, ChannelFull, BadMessage, OSError):
        pass  # nobody wants it, or it cannot be told: its zygote forks another
    _leave()


def _settled(settle: Callable[[], None]) -> str:
    """Why it could not, which a worker that is forked on its order tells in full."""
    try:
        settle()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _leave() -> NoReturn:
    # Never through the interpreter's exit: `atexit` belongs to the workers.
    os._exit(0)
