"""A worker's own lines on their way into its log ring (`leeward._sys.ring`)."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from leeward._core import logrings, sinks
from leeward._sys.ring import BadRing, RingWriter, TableFull

if TYPE_CHECKING:
    from leeward._core.config import Config
    from leeward._worker.birth import Birth

#: Of lines that tell of requests, whatever came of them.
_INFO = 20


class Ring:
    """The one writer of this process, for all who have lines for files.

    birth.ring:  descriptors of the ring and its bell; they are ours.
    """

    def __init__(self, birth: Birth) -> None:
        self._fds = birth.ring
        self._writer: RingWriter | None = None

    def writer(self) -> RingWriter | None:
        """None where the supervisor had none to give, or in a process that was forked."""
        if self._writer is None and self._fds:
            ring, bell = self._fds
            self._fds = ()
            with contextlib.suppress(BadRing):
                self._writer = RingWriter(ring, bell)
            os.close(ring)
        return self._writer

    def abandon(self) -> None:
        """In a process that the application forked: the ring is the worker's."""
        if self._writer is not None:
            self._writer.abandon()
        for fd in self._fds:
            os.close(fd)
        self._fds, self._writer = (), None


class Outlet:
    """Takes finished lines for the log file.  A request's never waits (`logrings.patience`)."""

    def __init__(self, writer: RingWriter, spec: bytes) -> None:
        self._writer = writer
        self._sink = writer.sink(spec)
        self._requests = writer.sink(spec, access=True)

    def write(self, level: int, data: bytes) -> None:
        """Lines of one record.  What the ring refuses it counts."""
        self._writer.write(self._sink, level, data, logrings.patience(level))

    def put(self, line: str) -> None:
        """As a `leeward._worker.batch.Sink`."""
        data = line.encode("utf-8", "backslashreplace")
        self._writer.write(self._requests, _INFO, data)


def spec(config: Config, slot: int, generation: int) -> sinks.Spec | None:
    """Where the settings want this process's lines to go; None for stderr."""
    return sinks.of_settings(config, slot, f"worker={slot} gen={generation} pid={os.getpid()}")


def outlet(ring: Ring, spec: sinks.Spec | None) -> Outlet | None:
    """The way there; None for stderr."""
    writer = ring.writer() if spec is not None else None
    if spec is None or writer is None:
        return None
    with contextlib.suppress(TableFull):
        return Outlet(writer, spec.to_json())
    return None
