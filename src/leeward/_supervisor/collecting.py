"""The log collector's life, from the supervisor's side: started by the first line, replaced
when it dies.  The rings are ours (`leeward._supervisor.rings`), so nothing is lost with it.

Imported when there is a first line: 0.25 MiB that a supervisor has not to spare otherwise.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from leeward._core import collector_messages as c
from leeward._core import messages as m
from leeward._core.collecting import Replacement
from leeward._supervisor.children import Children, Reaped
from leeward._supervisor.loop import Loop
from leeward._supervisor.rings import Held, Rings
from leeward._sys import rings
from leeward._sys.channel import Channel, ChannelFull
from leeward._sys.posix import Posix
from leeward._sys.signals import signal_name
from leeward.errors import ChannelClosed

if TYPE_CHECKING:
    from leeward._supervisor.capturing import Captured

#: Seconds at the end for what is left in the rings.
_LAST = 5.0
#: And for the collector to leave, which has spent those.
_GRACE = 0.5
#: Seconds until a collector that reads nothing is told again.
_AGAIN = 0.05
#: The number of our own ring; those of workers begin at 1.
_OURSELVES = 0
#: Rings that a collector gets in one turn of the loop.
_AT_ONCE = 32


class Collecting:
    """rings:  the held ones, and the bell; `leeward._supervisor.rings`."""

    def __init__(self, rings: Rings, children: Children, loop: Loop, posix: Posix) -> None:
        self._rings = rings
        self._children = children
        self._loop = loop
        self._posix = posix
        self._voice = rings.voice
        self._config = rings.config
        self._channel: Channel | None = None
        self._pid = 0
        self._started = 0.0
        self._replacement = Replacement()
        #: When something is to be done by itself: a start, or a telling.
        self._due: float | None = None
        self._told_failure = ""

    def open_log(self) -> None:
        """What the supervisor says goes to the log file too, if it has one."""
        # 0.1 MiB that one who has no log file, and reads what is printed, can do without.
        from leeward._core import sinks
        from leeward._sys.ring import BadRing, RingWriter

        spec = sinks.of_settings(self._config(), None, f"pid={self._posix.getpid()}")
        fds = self._rings.ring(_OURSELVES, 0, 0) if spec is not None else ()
        if spec is not None and fds:
            try:
                writer = RingWriter(*fds)
            except BadRing as error:  # no descriptor, or no memory, is left to map it
                self._complain(f"what the supervisor says goes to stderr alone: {error}")
                return
            sink = writer.sink(spec.to_json())
            # Never waits: what is refused is counted, and was said on stderr.
            self._voice.also = lambda level, line: writer.write(sink, level, line)

    def ended(self, worker: int, held: Held) -> None:
        """Its writer is dead."""
        if self._channel is None:
            if rings.is_empty(held.fd):
                self._rings.forget(worker)
            elif self._due is None:
                self.begin()  # it died before it could ring
        elif held.handed:
            self.hand_over()

    def give_up(self, worker: int, held: Held) -> bool:
        """Have no lines of it wait any more.  True: the collector tells of them."""
        return self._tell(c.GiveUp(worker)) and held.handed

    # --- the process -----------------------------------------------------------------------

    def begin(self) -> None:
        """Start a collector, now."""
        self._due = None
        now = self._posix.monotonic()
        try:
            self._pid, channel = self._children.start_collector(self._config())
        except OSError as error:
            self._complain(f"the log collector could not be started: {error.strerror}")
            self._due = now + max(_AGAIN, self._replacement.died(0.0))
            return
        self._started = now
        self._channel = channel
        self._loop.watch(channel.fileno(), lambda events: self._listen())
        for held in self._rings.held.values():
            held.handed = held.end_told = False
        for captured in self._captured():
            captured.handed = False
        bell = m.Descriptor(self._rings.bell.fd)
        config = self._config().to_json()
        many = len(self._rings.held)
        self._tell(c.Collect(config, bell, many))
        self.hand_over()

    def hand_over(self) -> None:
        """Give the collector rings and pipes that it has not got, the oldest first, and tell it
        whose writers are dead.

        What a collector that reads nothing (a dead disk, SIGSTOP) has no room for comes again.
        """
        if self._channel is None:
            return
        left, taken = _AT_ONCE, True
        for worker, held in self._rings.held.items():
            if not (left and taken):
                break
            if not held.handed:
                fd = m.Descriptor(held.fd)
                message = c.Ring(worker, held.slot, held.generation, fd, held.ended)
                taken = held.handed = self._tell(message)
                held.end_told = taken and held.ended
            elif held.ended and not held.end_told:
                taken = held.end_told = self._tell(c.RingEnds(worker))
            else:
                continue
            left -= 1
        for it in self._captured():
            if not it.handed and left and taken:
                stream, fd = it.way.streams[-1], m.Descriptor(it.fd)
                whose = it.worker, it.slot, it.generation
                taken = self._tell(c.Output(*whose, stream, it.way.form, it.mark, fd))
                it.handed = taken
                left -= 1
        if not self._all_told():
            # It writes nothing before it has all of them.
            self._due = self._posix.monotonic() + (0.0 if taken else _AGAIN)

    def _all_told(self) -> bool:
        mine = self._rings.held.values()
        told = all(it.handed and it.end_told >= it.ended for it in mine)
        return told and all(it.handed for it in self._captured())

    def _captured(self) -> list[Captured]:
        capturing = self._rings.capturing
        return [] if capturing is None else list(capturing.held.values())

    def reaped(self, reaped: Reaped) -> bool:
        """Was it the collector?  Then it is replaced."""
        if reaped.pid != self._pid or os.WIFSTOPPED(reaped.status):
            return reaped.pid == self._pid
        if os.WIFCONTINUED(reaped.status):
            return True
        now = self._posix.monotonic()
        self._listen()  # its last words
        self._gone()
        pause = self._replacement.died(now - self._started)
        how = os.waitstatus_to_exitcode(reaped.status)
        why = f"killed by {signal_name(-how)}" if how < 0 else f"exit code {how}"
        self._complain(f"the log collector died ({why}); the rings keep the lines")
        self._due = now + pause
        return True

    def _gone(self) -> None:
        if self._channel is not None:
            self._loop.unwatch(self._channel.fileno())
            self._channel.close()
        self._channel, self._pid = None, 0
        self._voice.interrupts = None

    def tick(self, now: float) -> None:
        if self._due is None or now < self._due:
            return
        self._due = None
        if self._channel is None:
            self.begin()
        else:
            self.hand_over()

    def next_deadline(self) -> float | None:
        return self._due

    def reopen(self) -> bool:
        """Have the files opened anew.  False if there is no collector, and so no file."""
        return self._tell(c.Reopen())

    def tail(self, request: m.LogsRequest, asker: m.Descriptor) -> bool:
        """Hand the asker on.  False if there is no collector now."""
        it = request
        return self._tell(c.Tail(it.lines, it.follow, it.slot, it.level, asker, it.after))

    @property
    def lives(self) -> bool:
        """Is there one, or will there be by itself?"""
        return self._channel is not None or self._due is not None

    # --- words -----------------------------------------------------------------------------

    def _tell(self, message: m.Message) -> bool:
        if self._channel is None:
            return False
        try:
            self._channel.send(message)
        except (ChannelClosed, ChannelFull):
            return False  # its death tells; what it misses its successor hears
        channel = self._channel
        self._loop.watch(channel.fileno(), lambda events: self._listen(), write=channel.wants_write)
        return True

    def _listen(self) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            channel.flush()
            messages = channel.receive()
        except ChannelClosed:
            self._loop.unwatch(channel.fileno())  # its death is what counts
            return
        except m.BadMessage as error:
            self._complain(f"the log collector said something odd: {error}")
            return
        self._loop.watch(channel.fileno(), lambda events: self._listen(), write=channel.wants_write)
        for message in messages:
            match message:
                case c.RingDrained(worker):
                    self._rings.forget(worker)
                case c.OutputEnded(worker, stream) if self._rings.capturing is not None:
                    self._rings.capturing.forget((worker, stream))
                case c.LineBegun(begun) if os.isatty(2):
                    self._voice.interrupts = self._end_line if begun else None
                case c.Complaint(level, text):
                    self._voice.say(text, level)
                    self._told_failure = ""

    def _end_line(self) -> None:
        self._tell(c.LineEnded())

    def _complain(self, text: str) -> None:
        """Once for as long as it is the same."""
        if text != self._told_failure:
            self._told_failure = text
            self._voice.say(text, "warning")

    # --- the end ---------------------------------------------------------------------------

    def finish(self) -> None:
        """All workers are dead: have what is left written, and end the collector."""
        deadline = self._posix.monotonic() + _LAST
        # What one tells at last goes into our own ring, for a second.  What that tells does not.
        left = 2
        while left and self._posix.monotonic() < deadline:
            if self._channel is None:
                if self._all_empty():
                    break
                self.begin()
                if self._channel is None:
                    break
            if self._wait(deadline):
                left -= 1
        if self._pid:
            self._children.signal(self._pid, signal.SIGKILL)
            self._wait_for_its_death()
        self._gone()

    def _wait_for_its_death(self) -> None:
        """Not for ever: the kernel may hold it in a write to a disk that answers no more."""
        pidfd = self._posix.pidfd_open(self._pid)
        try:
            poll = self._posix.poll()
            poll.register(pidfd)
            if poll.poll(_GRACE * 1000):
                self._posix.waitpid(self._pid, 0)
        finally:
            self._posix.close(pidfd)

    def _all_empty(self) -> bool:
        capturing = self._rings.capturing
        if capturing is not None and capturing.any_waiting():
            return False
        return all(rings.is_empty(it.fd) for it in self._rings.held.values())

    def _wait(self, deadline: float) -> bool:
        """Let it end.  Did it, by itself?"""
        pidfd = self._posix.pidfd_open(self._pid)
        try:
            if not self._has_ended(pidfd, deadline):
                return True  # it had its time
        finally:
            self._posix.close(pidfd)
        self._listen()  # its last words
        _, status = self._posix.waitpid(self._pid, 0)
        self._gone()
        return os.waitstatus_to_exitcode(status) == 0

    def _has_ended(self, pidfd: int, deadline: float) -> bool:
        """Tell it to end, once it has all that is held, and wait."""
        poll = self._posix.poll()
        poll.register(pidfd)
        told = False
        while (left := deadline - self._posix.monotonic()) > (-_GRACE if told else 0.0):
            pause = _AGAIN
            if not told:
                self._due = None
                self.hand_over()
                if self._due is None:
                    told = self._tell(c.Finish(left))
                else:
                    pause = max(0.0, self._due - self._posix.monotonic())
            if poll.poll(pause * 1000):
                return True
            self._listen()
        return False
