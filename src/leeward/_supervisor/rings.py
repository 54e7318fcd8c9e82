"""The log rings of all workers, and whoever empties them.

Each worker gets a ring, which costs a descriptor and, until something is written into it,
no memory.  The collector is started by the first line that goes into one: an application
that writes to stderr only never has one, nor is `leeward._supervisor.collecting` loaded.

What workers print comes the same way where it is captured, through pipes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from leeward._core import commands as c
from leeward._core import messages as m
from leeward._core.config import Config
from leeward._supervisor.children import Children, Reaped
from leeward._supervisor.guard import told
from leeward._supervisor.loop import Loop
from leeward._supervisor.say import Voice
from leeward._sys import procfs, rings
from leeward._sys.bell import Bell
from leeward._sys.posix import Posix

if TYPE_CHECKING:
    from leeward._supervisor.capturing import Capturing
    from leeward._supervisor.collecting import Collecting
    from leeward._supervisor.control import Client, Control


#: A worker that may have fewer descriptors spends none on a ring for lines that may never
#: come: with 64 the two that it takes are as many connections.
ENOUGH = 128
#: Seconds until a room that could not be loaded is tried again: a deploy may be under way, in
#: whose middle our own files are missing.
_LOAD_AGAIN = 10.0
#: What waits in rings of dead workers, at most, while nobody takes it: a disk may be full for
#: hours, and workers come and go.  Rings (a descriptor each), and octets.
_KEPT, _KEPT_OCTETS = 256, 1 << 27
#: Seconds of a turn while we wait for what workers have printed last.
_TURN = 0.05


class Held:
    """A ring.  ended:  its writer is dead.

    handed, end_told:  the collector of now has it, and knows that its writer is.
    """

    def __init__(self, slot: int, generation: int, fd: int) -> None:
        self.slot = slot
        self.generation = generation
        self.fd = fd
        self.ended = False
        self.handed = False
        self.end_told = False


class Rings:
    """config:  the settings in force.  Raises OSError when there is no descriptor."""

    def __init__(
        self,
        children: Children,
        loop: Loop,
        posix: Posix,
        voice: Voice,
        config: Callable[[], Config],
    ) -> None:
        self.held: dict[int, Held] = {}
        self.bell = Bell()
        self._scarce = (procfs.fd_limit(os.getpid()) or ENOUGH) < ENOUGH
        self.voice = voice
        self.config = config
        self._children = children
        self._loop = loop
        self._posix = posix
        self._collecting: Collecting | None = None
        #: What workers print, where it is captured.
        self.capturing: Capturing | None = None
        #: When the collector's room, which could not be loaded, is tried again.
        self._load_at: float | None = None
        self._told_failure = ""
        loop.watch(self.bell.fd, lambda events: self._first_line())

    def open_log(self) -> None:
        """What the supervisor says goes to the log file too, where there is one."""
        if self.config().log_file and (collecting := self._collector()) is not None:
            collecting.open_log()

    def ring(self, worker: int, slot: int, generation: int) -> tuple[m.Descriptor, ...]:
        """A new one, and the bell; () where descriptors are scarce: it logs to stderr then.

        worker:  as the decisions number it.
        """
        if self._scarce and not self.config().log_file:
            return ()
        try:
            fd = rings.create()
        except OSError as error:
            self.voice.say(f"no log ring: {error.strerror}", "warning", worker=slot)
            return ()
        self.held[worker] = Held(slot, generation, fd)
        if self._collecting is not None:
            self._collecting.hand_over()
        return m.Descriptor(fd), m.Descriptor(self.bell.fd)

    def order(self, command: c.StartWorker) -> tuple[m.Fork, tuple[int, ...]]:
        """For a worker to be born, with all that is collected from it; and what of it is to be
        closed when that is sent."""
        ring = self.ring(command.process, command.slot, command.generation)
        fork = m.Fork(
            command.process,
            command.slot,
            command.ordinal,
            command.row,
            canary=command.canary,
            ring=ring,
        )
        config = self.config()
        if self.capturing is None and not self._scarce and _wanted(config.capture_output):
            self._load_capturing(config)
        if self.capturing is None:
            return fork, ()
        lives = self._collecting is not None and self._collecting.lives
        equipped = self.capturing.equip(command, fork, watch=not lives)
        if self._collecting is not None:
            self._collecting.hand_over()
        return equipped

    def _load_capturing(self, config: Config) -> None:
        try:
            from leeward._supervisor.capturing import Capturing

            self.capturing = Capturing(config, self._loop, self.voice, self._first_line)
        except Exception as error:
            self._complain(f"what workers print is not captured: {told(error)}")

    def _complain(self, text: str) -> None:
        """Once for as long as it is the same."""
        if text != self._told_failure:
            self._told_failure = text
            self.voice.say(text, "warning")

    def last_words(self, deadline: float) -> None:
        """Have what the workers have printed come before what we say next."""
        capturing = self.capturing
        if capturing is None:
            return
        if capturing.any_waiting():
            self._first_line()
        while capturing.held and self._collecting is not None and self._collecting.lives:
            now = self._posix.monotonic()
            if now >= deadline:
                break
            self._collecting.tick(now)
            self._loop.turn(min(deadline - now, _TURN))

    def ended(self, worker: int) -> None:
        """Its process is dead: its ring is emptied, and then forgotten."""
        held = self.held.get(worker)
        if held is None or held.ended:
            return
        held.ended = True
        if self._collecting is None and rings.is_empty(held.fd):
            self.forget(worker)
        elif (collecting := self._collector()) is not None:
            collecting.ended(worker, held)
        else:
            self._load_at = self._load_at or self._posix.monotonic() + _LOAD_AGAIN
        self._keep_affordable()

    def _keep_affordable(self) -> None:
        """Of rings that nobody empties the oldest go."""
        ended = ((worker, held) for worker, held in self.held.items() if held.ended)
        waiting = [(worker, held, rings.waiting(held.fd)) for worker, held in ended]
        waiting = [it for it in waiting if it[2]]
        many, octets = len(waiting), sum(it[2] for it in waiting)
        for worker, held, mine in waiting:
            if many <= _KEPT and octets <= _KEPT_OCTETS:
                return
            many, octets = many - 1, octets - mine
            if self._collecting is None or not self._collecting.give_up(worker, held):
                self._tell_lost([held])
            self.forget(worker)

    def _tell_lost(self, held: Iterable[Held]) -> None:
        if octets := sum(rings.waiting(it.fd) for it in held):
            text = f"{octets} octets of log lines are lost: no log collector takes them"
            self.voice.say(text, "error")

    def forget(self, worker: int) -> None:
        held = self.held.pop(worker, None)
        if held is not None:
            os.close(held.fd)

    # --- the collector ---------------------------------------------------------------------

    def _collector(self) -> Collecting | None:
        """None where its room cannot be loaded: what goes into rings is not written until then."""
        if self._collecting is None:
            try:
                from leeward._supervisor.collecting import Collecting

                self._collecting = Collecting(self, self._children, self._loop, self._posix)
            except Exception as error:
                self._complain(f"the log collector cannot be started: {told(error)}")
        return self._collecting

    def _first_line(self) -> None:
        self._loop.unwatch(self.bell.fd)  # it is the collector's from now on
        if self.capturing is not None:
            self.capturing.unwatch()
        collecting = self._collector()
        if collecting is None:
            self._load_at = self._posix.monotonic() + _LOAD_AGAIN
        elif not collecting.lives:
            collecting.begin()

    def reaped(self, reaped: Reaped) -> bool:
        """Was it the collector?"""
        return self._collecting is not None and self._collecting.reaped(reaped)

    def tick(self, now: float) -> None:
        if self._load_at is not None and now >= self._load_at:
            self._load_at = None
            self._first_line()
        if self._collecting is not None:
            self._collecting.tick(now)

    def next_deadline(self) -> float | None:
        return self._load_at if self._collecting is None else self._collecting.next_deadline()

    def reopen(self) -> bool:
        """Have the files opened anew.  False if there is no collector, and so no file."""
        return self._collecting is not None and self._collecting.reopen()

    def tail(self, client: Client, request: m.LogsRequest, control: Control) -> None:
        """Hand the asker on to the collector."""
        asker = m.Descriptor(client.channel.fileno())
        collecting = self._collecting
        if collecting is not None and collecting.tail(request, asker):
            control.hand_on(client, m.Answer(0, ""))
            return
        if collecting is not None and collecting.lives:
            text = "the log collector does not listen: it is being replaced, or stopped (SIGSTOP)"
            control.answer(client, m.Answer(1, text, m.AGAIN))
            return
        text = "nothing was written to a log file yet: its lines are on its stderr\n"
        control.answer(client, m.Answer(2, text + "serve --log-file PATH keeps them in a file"))

    def finish(self) -> None:
        """All workers are dead: have what is left written, and end the collector."""
        self._loop.unwatch(self.bell.fd)
        printed = self.capturing is not None and self.capturing.any_waiting()
        if printed or not all(rings.is_empty(it.fd) for it in self.held.values()):
            self._collector()
        if self._collecting is not None:
            self._collecting.finish()
        else:
            self._tell_lost(self.held.values())
        for worker in list(self.held):
            self.forget(worker)
        if self.capturing is not None:
            self.capturing.close()
        self.bell.close()


def _wanted(capture_output: str) -> bool:
    return capture_output == "on" or (capture_output == "auto" and (os.isatty(1) or os.isatty(2)))
