"""The collector process: sleeps until a line comes, gathers for a moment, writes.

It holds nothing that it cannot lose: the supervisor has the rings, and the rings say what
was written.  (Of what workers print, the last 64 KiB of each may be lost with us.)  It ends when
it is told to, or when the supervisor is gone: then it writes what is there, for as long as
nobody minds.  That is the end of its channel, behind all that was said; a signal at its parent's
death came in front of rings that had not been read, and while we started it killed us.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import NoReturn

from leeward._collector import terminals
from leeward._collector.captures import Capture, Captures
from leeward._collector.datagrams import Printed, Socket
from leeward._collector.intake import Intake
from leeward._collector.tails import Tails
from leeward._core import collector_messages as c
from leeward._core import messages as m
from leeward._core import sinks
from leeward._core.captured import Exact, Logged, Tagged
from leeward._core.capturing import LOG, TERMINAL
from leeward._core.config import Config
from leeward._core.sinks import Spec
from leeward._sys import privileges
from leeward._sys.bell import Bell
from leeward._sys.channel import Channel, ChannelFull
from leeward._sys.lines import Look
from leeward._sys.posix import set_comm
from leeward.errors import ChannelClosed

#: Seconds between two looks at rings that are being filled: what comes meanwhile is written
#: in one go.
GATHER = 0.01
#: Seconds for what is left once the supervisor is dead: its port must be free in 0.1 s, and
#: no process of it be left.
LAST = 0.05

#: Seconds for the rings of a predecessor to come: the supervisor may be stopped, and lines of
#: those that are there wait meanwhile.
WHOLE = 5.0

#: What is printed counts as, by its stream, in the log file.
_PRINTED = {1: ("stdout", "info", 20), 2: ("stderr", "warning", 30)}

#: They come to whole control groups and terminals; the supervisor says when to end.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def run(fd: int) -> NoReturn:
    """Be the collector on the channel `fd`."""
    with contextlib.suppress(OSError):  # no /proc: only a name in `ps`
        set_comm("leeward logs")
    channel = Channel(fd)
    for signum in _SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    try:
        quick = terminals.opened()
        begin = channel.wait(None)
        if not isinstance(begin, c.Collect):
            raise m.BadMessage(f"{type(begin).__name__} instead of Collect")
        _become(begin)
        collector = Collector(channel, begin, quick)
        collector.take_over(begin.rings)
        collector.live()
    except ChannelClosed:
        os._exit(0)


def _become(begin: c.Collect) -> None:
    """The user that the workers run as, in whose directories the files are."""
    config = Config.from_json(begin.config)
    if (config.uid, config.gid) != (-1, -1):
        privileges.drop(config.uid, config.gid, config.groups)


class Collector:
    def __init__(self, channel: Channel, begin: c.Collect, quick: dict[int, int]) -> None:
        self._config = Config.from_json(begin.config)
        self._channel = channel
        self._bell = Bell(int(begin.bell))
        self._intake = Intake(self._complain, quick)
        self._deadline: float | None = None
        self._rings = 0  # that have come
        self._captures = Captures(self._complain, lambda *it: self._tails.printed(*it))
        self._begun = False
        #: Without the pipes: what workers print while we gather shall not wake us.
        self._gathering = select.poll()
        self._poll = select.poll()
        for fd in (channel.fileno(), self._bell.fd):
            self._gathering.register(fd, select.POLLIN)
            self._poll.register(fd, select.POLLIN)
        self._poll.register(self._captures.fileno(), select.POLLIN)
        self._tails = Tails(self._poll)
        self._intake.tap = self._tails.written

    def take_over(self, rings: int) -> None:
        """Wait for so many rings, all that the predecessor may have had.

        Nothing is written before: a batch that it left half written is found, and taken back,
        only where nobody has written behind it.
        """
        by = time.monotonic() + WHOLE
        while self._rings < rings and self._deadline is None:
            left = by - time.monotonic()
            if left <= 0.0:
                text = f"{rings - self._rings} of {rings} log rings did not come in {WHOLE:g} s"
                self._complain("warning", text)
                return
            self._pause(left, self._gathering)

    def live(self) -> NoReturn:
        while True:
            now = time.monotonic()
            self._intake.wake()
            moved = self._captures.turn(now, finishing=self._deadline is not None)
            moved = self._intake.turn(now) or moved
            for worker in self._intake.drained():
                self._say(c.RingDrained(worker))
            if self._captures.line_begun() != self._begun:
                self._begun = not self._begun
                self._say(c.LineBegun(self._begun))
            for worker, stream in self._captures.ended():
                self._say(c.OutputEnded(worker, stream))
            if self._deadline is not None:
                self._finish(now, moved)
                self._pause(0.0 if moved else GATHER)
            elif moved:
                much = self._captures.much or not self._intake.nap()
                self._pause(0.0 if much else GATHER, self._gathering)
            elif self._intake.sleep():
                times = (self._intake.next_try(), self._captures.next_try())
                due = min((it for it in times if it is not None), default=None)
                self._pause(None if due is None else max(0.0, due - now))

    def heard(self, message: m.Message) -> None:
        match message:
            case c.Ring(worker, slot, generation, ring, ended):
                self._rings += 1
                who = f"worker {slot} of generation {generation}" if worker else "the supervisor"
                self._intake.add(worker, slot if worker else -1, who, int(ring))
                if ended:
                    self._intake.end(worker)
            case c.RingEnds(worker):
                self._intake.end(worker)
            case c.GiveUp(worker):
                if not self._intake.give_up(worker):
                    self._rings += 1
            case c.Output():
                self._captures.add(self._capture(message))
            case c.LineEnded():
                self._captures.line_ended()
            case c.Tail():
                self._tails.add(message)
            case c.Reopen():
                self._intake.reopen()
            case c.Finish(timeout):
                self._end_within(timeout)

    def _capture(self, output: c.Output) -> Capture:
        config, slot = self._config, output.slot
        name, level, levelno = _PRINTED[output.stream]
        spec, number = Spec(name), 0
        mark = output.mark.encode()
        cutter = Tagged(slot, mark) if output.form == TERMINAL else Exact()
        if output.form == LOG:
            who = f"worker={slot} gen={output.generation}"
            spec = sinks.of_settings(config, slot, who) or spec
            number = levelno
            look = Look(config.log_format, -1)
            look.stamped = True
            identity = {"worker": slot, "gen": output.generation}
            cutter = Logged(
                lambda text: look.render(time.time(), level, identity, name, text), mark
            )
        stream = self._intake.stream(spec, output.worker)
        if isinstance(stream, Socket):
            stream = Printed(stream, spec, levelno)
        return Capture(
            output.worker,
            output.stream,
            f"worker {slot} of generation {output.generation}",
            slot,
            number,
            int(output.pipe),
            stream,
            cutter,
        )

    def _end_within(self, timeout: float) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + timeout

    def _finish(self, now: float, moved: bool) -> None:
        """Leave when all is written, or the time for it is over."""
        assert self._deadline is not None
        lines, octets = self._intake.waiting(), self._captures.left()
        left = lines or octets or self._intake.behind() or self._captures.behind()
        if (moved or left) and now < self._deadline:
            return
        if lines:
            self._complain("error", f"{lines} log lines could not be written")
        if octets:
            self._complain("error", f"{octets} octets of output could not be written")
        os._exit(0)

    # --- to and from the supervisor --------------------------------------------------------

    def _pause(self, seconds: float | None, poll: select.poll | None = None) -> None:
        timeout = None if seconds is None else int(seconds * 1000) + (seconds > 0.0)
        for fd, events in (poll or self._poll).poll(timeout):
            if fd == self._captures.fileno():
                continue  # its turn comes
            if fd == self._bell.fd:
                self._bell.silence()
            elif not self._tails.flush(fd):
                self._listen(events)

    def _listen(self, events: int) -> None:
        try:
            self._channel.flush()
            for message in self._channel.receive():
                self.heard(message)
        except m.BadMessage as error:
            self._complain("error", f"the collector was told something odd: {error}")
        except ChannelClosed:
            self._poll.unregister(self._channel.fileno())
            self._gathering.unregister(self._channel.fileno())
            self._end_within(LAST)

    def _complain(self, level: str, text: str) -> None:
        self._say(c.Complaint(level, text))

    def _say(self, message: m.Message) -> None:
        # Full: the supervisor is stopped.  A RingDrained that is lost costs a descriptor, until
        # the next collector says so; a complaint is one of many.
        with contextlib.suppress(ChannelClosed, ChannelFull):
            self._channel.send(message)
