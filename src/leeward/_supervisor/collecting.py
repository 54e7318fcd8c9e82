"""The log rings, and the collector that empties them.

Each worker gets a ring, which costs a descriptor and, until something is written into it,
no memory.  The collector is started by the first line that goes into one: an application
that writes to stderr only never has one.  It is replaced when it dies; the rings are ours,
so nothing is lost with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from leeward._core import messages as m
from leeward._core import sinks
from leeward._core.collecting import Replacement
from leeward._core.config import Config
from leeward._supervisor.children import Children, Reaped
from leeward._supervisor.control import Client, Control
from leeward._supervisor.loop import Loop
from leeward._supervisor.say import Voice
from leeward._sys import rings
from leeward._sys.bell import Bell
from leeward._sys.channel import Channel, ChannelFull
from leeward._sys.posix import Posix
from leeward.errors import ChannelClosed

#: Seconds at the end for what is left in the rings.
_LAST = 5.0
#: Seconds until a collector that reads nothing is told again.
_AGAIN = 0.05
#: The number of our own ring; those of workers begin at 1.
_OURSELVES = 0
#: Rings that a collector gets at first; the others follow when it has read those.
_AT_ONCE = 32


@dataclass
class _Held:
    slot: int
    generation: int
    fd: int
    ended: bool = False
    #: The collector of now has it.
    handed: bool = False


class Collecting:
    """config:  the settings in force.  Raises OSError when there is no descriptor."""

    def __init__(
        self,
        children: Children,
        loop: Loop,
        posix: Posix,
        voice: Voice,
        config: Callable[[], Config],
    ) -> None:
        self._children = children
        self._loop = loop
        self._posix = posix
        self._voice = voice
        self._config = config
        self._bell = Bell()
        self._rings: dict[int, _Held] = {}
        self._channel: Channel | None = None
        self._pid = 0
        self._started = 0.0
        self._replacement = Replacement()
        #: When something is to be done by itself: a start, or a telling.
        self._due: float | None = None
        self._told_failure = ""
        #: Files that were emptied at their first opening.
        self._emptied: set[str] = set()
        self._await_first_line()

    def open_log(self) -> None:
        """What the supervisor says goes to the log file too, where there is one."""
        spec = sinks.of_settings(self._config(), None)
        if spec is None:
            return
        # Not before it is wanted: 0.4 MiB.
        from leeward._sys.ring import RingWriter

        fds = self.ring(_OURSELVES, 0, 0)
        if fds:
            writer = RingWriter(*fds)
            sink = writer.sink(spec.to_json())
            # Never waits: what is refused is counted, and was said on stderr.
            self._voice.also = lambda level, line: writer.write(sink, level, line)

    # --- rings -----------------------------------------------------------------------------

    def ring(self, worker: int, slot: int, generation: int) -> tuple[m.Descriptor, ...]:
        """A new one, and the bell; () where there is no descriptor: it logs to stderr then.

        worker:  as the decisions number it; 0: ourselves.
        """
        try:
            fd = rings.create()
        except OSError as error:
            self._voice.say(f"no log ring: {error.strerror}", "warning", worker=slot)
            return ()
        self._rings[worker] = _Held(slot, generation, fd)
        self._hand_over()
        return m.Descriptor(fd), m.Descriptor(self._bell.fd)

    def ended(self, worker: int) -> None:
        """Its process is dead: its ring is emptied, and then forgotten."""
        held = self._rings.get(worker)
        if held is None or held.ended:
            return
        held.ended = True
        if self._channel is None:
            if rings.is_empty(held.fd):
                self._forget(worker)
            elif self._due is None:
                self._begin()  # it died before it could ring
        elif held.handed:
            self._tell(m.RingEnds(worker))

    def _forget(self, worker: int) -> None:
        held = self._rings.pop(worker, None)
        if held is not None:
            os.close(held.fd)

    # --- the process -----------------------------------------------------------------------

    def _await_first_line(self) -> None:
        self._loop.watch(self._bell.fd, lambda events: self._begin())

    def _begin(self) -> None:
        """Start a collector, now."""
        self._loop.unwatch(self._bell.fd)
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
        for held in self._rings.values():
            held.handed = False
        first = min(len(self._rings), _AT_ONCE)
        bell = m.Descriptor(self._bell.fd)
        config = self._config().to_json()
        emptied = tuple(sorted(self._emptied))
        self._tell(m.Collect(config, self._posix.getpid(), bell, first, emptied))
        self._hand_over(first)

    def _hand_over(self, most: int = _AT_ONCE) -> None:
        """Give the collector the rings that it has not got."""
        for worker, held in self._rings.items():
            if self._channel is None or most <= 0:
                return
            if not held.handed:
                fd = m.Descriptor(held.fd)
                message = m.Ring(worker, held.slot, held.generation, fd, held.ended)
                held.handed = self._tell(message)
                most -= 1
        if any(not it.handed for it in self._rings.values()):
            self._due = self._posix.monotonic() + _AGAIN

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
        why = f"signal {signal.Signals(-how).name}" if how < 0 else f"exit code {how}"
        self._complain(f"the log collector died ({why}); the rings keep the lines")
        self._due = now + pause
        return True

    def _gone(self) -> None:
        if self._channel is not None:
            self._loop.unwatch(self._channel.fileno())
            self._channel.close()
        self._channel, self._pid = None, 0

    def tick(self, now: float) -> None:
        if self._due is None or now < self._due:
            return
        self._due = None
        if self._channel is None:
            self._begin()
        else:
            self._hand_over()

    def next_deadline(self) -> float | None:
        return self._due

    def reopen(self) -> bool:
        """Have the files opened anew.  False if there is no collector, and so no file."""
        return self._tell(m.Reopen())

    def tail(self, client: Client, request: m.LogsRequest, control: Control) -> None:
        """Hand the asker on to the collector."""
        asker = m.Descriptor(client.channel.fileno())
        message = m.Tail(request.lines, request.follow, request.slot, request.level, asker)
        if self._tell(message):
            control.answer(client, m.Answer(0, ""))
            return
        text = "nothing was written to a log file yet: its lines are on its stderr\n"
        control.answer(client, m.Answer(2, text + "serve --log-file PATH keeps them in a file"))

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
                case m.RingDrained(worker):
                    self._forget(worker)
                case m.Emptied(path):
                    self._emptied.add(path)
                case m.Complaint(level, text):
                    self._voice.say(text, level)
                    self._told_failure = ""

    def _complain(self, text: str) -> None:
        """Once for as long as it is the same."""
        if text != self._told_failure:
            self._told_failure = text
            self._voice.say(text, "warning")

    # --- the end ---------------------------------------------------------------------------

    def finish(self) -> None:
        """All workers are dead: have what is left written, and end the collector."""
        deadline = self._posix.monotonic() + _LAST
        while (left := deadline - self._posix.monotonic()) > 0.0:
            if self._channel is None:
                if all(rings.is_empty(it.fd) for it in self._rings.values()):
                    break
                self._begin()
                if self._channel is None:
                    break
            self._tell(m.Finish(left))
            if self._wait(left + 0.5):
                break
        if self._pid:
            self._children.signal(self._pid, signal.SIGKILL)
            self._posix.waitpid(self._pid, 0)
        self._gone()
        for worker in list(self._rings):
            self._forget(worker)
        with contextlib.suppress(KeyError):
            self._loop.unwatch(self._bell.fd)
        self._bell.close()

    def _wait(self, seconds: float) -> bool:
        """Let it end.  Did it, by itself?"""
        pidfd = self._posix.pidfd_open(self._pid)
        try:
            poll = self._posix.poll()
            poll.register(pidfd)
            if not poll.poll(seconds * 1000):
                return True  # it had its time
        finally:
            self._posix.close(pidfd)
        self._listen()  # its last words
        _, status = self._posix.waitpid(self._pid, 0)
        self._gone()
        return os.waitstatus_to_exitcode(status) == 0
