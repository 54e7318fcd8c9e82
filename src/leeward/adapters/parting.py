"""How a connection of Tornado's own server is left in the middle of a request."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from leeward._core.farewell import Farewell, farewell, is_endless
from leeward.engine.parting import LAST_CHUNK, UNAVAILABLE
from leeward.engine.unanswered import told_503

if TYPE_CHECKING:
    from tornado.http1connection import HTTP1Connection
    from tornado.iostream import IOStream

    from leeward.engine.leaving import Working

_LAST = {Farewell.UNAVAILABLE: UNAVAILABLE, Farewell.LAST_CHUNK: LAST_CHUNK}


def handler_of(conn: HTTP1Connection | None) -> RequestHandler | None:
    """The handler that owes an answer on `conn`.

    Each gives the connection its `on_connection_close`, and takes it back with its answer.
    """
    owner = getattr(getattr(conn, "_close_callback", None), "__self__", None)
    return owner if isinstance(owner, RequestHandler) else None


def endless(conn: HTTP1Connection | None) -> bool:
    """Does its handler send events?"""
    handler = handler_of(conn)
    return (
        handler is not None
        and handler._headers_written
        and is_endless(handler._headers.get("Content-Type", ""))
    )


def part(conn: HTTP1Connection, stream: IOStream, quiet: bool) -> Working | None:
    """Say what there is to say; the stream is closed by the caller."""
    if conn._write_finished or stream.closed():
        return None
    handler = handler_of(conn)
    sized = conn._expected_content_remaining is not None
    how = farewell(
        read=conn._read_finished,
        begun=conn._response_start_line is not None,
        framing="chunks" if conn._chunking_output else "length" if sized else "close",
        endless=endless(conn),
        quiet=quiet and not stream.writing(),
    )
    if how in _LAST:
        # What the kernel does not take at once is lost, with a client that does not read.
        with contextlib.suppress(StreamClosedError):
            stream.write(_LAST[how])
    if how is Farewell.UNAVAILABLE and handler is not None:
        told_503(handler)
    return None if handler is None else (handler, None)
