"""`leeward.connections()`: an application looks at its own worker's connections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from leeward._core.conns import Conn, Identity, Query


class _Server(Protocol):
    """What is needed of `leeward.engine.server.Server`, which the façade must not load."""

    def told(self, mine: Identity, query: Query) -> Iterable[tuple[Any, Conn]]: ...


_serves: tuple[_Server, Identity] | None = None


def serve(server: _Server | None, mine: Identity | None = None) -> None:
    """This process is the worker of `server`, or is none any more."""
    global _serves
    _serves = None if server is None or mine is None else (server, mine)


def connections() -> list[Conn]:
    """The live connections of this worker, oldest first; to be called on its loop's thread.

    Each tells who is there (`peer`), since when (`age`), in which `state`, what it asked for
    (`method`, `url`), its `handler`, where that waits (`waits_at`), and bytes both ways.
    In a process that is no worker, a test or `python app.py`, there are none: [].
    """
    if _serves is None:
        return []
    server, mine = _serves
    return [conn for _, conn in server.told(mine, Query())]
