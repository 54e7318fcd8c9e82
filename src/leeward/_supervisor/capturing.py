"""What workers print, from the supervisor's side: a pipe, or two, for each worker.

We keep the reading end until the last process that could write into it has closed the other:
so nobody ever sees EPIPE, whatever dies, and what a worker has said is read after its death.
The writing end goes to the worker alone: kept here too, it would hide that end.

Not one pipe for each slot: two workers of a slot, at a reload, would tear each other's lines,
and a line in the log file could not say of which generation it is.

Imported when there is something to be captured.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from leeward._core import commands as c
from leeward._core import messages as m
from leeward._core.capturing import TERMINAL, Way, mark, ways
from leeward._core.config import Config
from leeward._core.record import replace
from leeward._supervisor.loop import Loop
from leeward._supervisor.say import Voice
from leeward._sys import pipes


class Captured:
    """One pipe of a worker.  handed:  the collector of now has it."""

    def __init__(self, command: c.StartWorker, way: Way, fd: int, mark: str) -> None:
        self.worker = command.process
        self.slot = command.slot
        self.generation = command.generation
        self.way = way
        self.fd = fd
        self.mark = mark
        self.handed = False


class Capturing:
    """first:  is called when there is something to be read, and no collector."""

    def __init__(self, config: Config, loop: Loop, voice: Voice, first: Callable[[], None]) -> None:
        one, other = os.fstat(1), os.fstat(2)
        self._ways = ways(
            config.capture_output,
            (os.isatty(1), os.isatty(2)),
            (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
            bool(config.log_file),
        )
        voice.shared = Way((2,), TERMINAL) in self._ways or Way((1, 2), TERMINAL) in self._ways
        self.held: dict[tuple[int, int], Captured] = {}
        self._loop = loop
        self._voice = voice
        self._first = first

    def equip(
        self, command: c.StartWorker, fork: m.Fork, watch: bool
    ) -> tuple[m.Fork, tuple[int, ...]]:
        """The order with the pipes for its output; and what is to be closed when it is sent.

        watch:  there is no collector that would.
        """
        ends: dict[int, tuple[m.Descriptor, ...]] = {1: (), 2: ()}
        ours, used = mark(os.urandom(8).hex()), ""
        opened = []
        for way in self._ways:
            try:
                reader, writer = pipes.create()
            except OSError as error:
                text = f"its output is not captured: {error.strerror}"
                self._voice.say(text, "warning", worker=command.slot, gen=command.generation)
                continue
            opened.append(writer)
            ends.update(dict.fromkeys(way.streams, (m.Descriptor(writer),)))
            captured = Captured(command, way, reader, ours if way.marked else "")
            used = used or captured.mark
            self.held[command.process, way.streams[-1]] = captured
            if watch:
                self._watch(captured)
        return replace(fork, stdout=ends[1], stderr=ends[2], mark=used), tuple(opened)

    def _watch(self, captured: Captured) -> None:
        """Until a collector has it: have one started by the first octet."""
        key = captured.worker, captured.way.streams[-1]

        def look(events: int) -> None:
            if events & select.EPOLLIN:
                self._first()
            else:
                self.forget(key)  # nobody is left who could write

        self._loop.watch(captured.fd, look)

    def unwatch(self) -> None:
        """There is a collector."""
        for captured in self.held.values():
            self._loop.unwatch(captured.fd)

    def forget(self, key: tuple[int, int]) -> None:
        """All was read, and nobody can write any more.  key:  worker and stream."""
        captured = self.held.pop(key, None)
        if captured is not None:
            self._loop.unwatch(captured.fd)
            os.close(captured.fd)

    def any_waiting(self) -> bool:
        """Is there anything in the pipes?"""
        return pipes.any_readable(it.fd for it in self.held.values())

    def close(self) -> None:
        for key in list(self.held):
            self.forget(key)
