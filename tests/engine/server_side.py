"""The whole engine as a side of a comparison: a server, its connections, an application.

Connections are given octets by a transport that is only simulated, so that 100,000
inputs take minutes.  What `Ours` cannot see is looked at here: that answers come in
order, each whole, the last with `Connection: close` if nothing follows; that nothing is
left when the client has gone.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Sequence
from typing import Any

from engine.hall import Counters, Transport
from engine.sides import MAX_BODY, Recorder, Request, Verdict
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, ResponseStartLine
from tornado.web import Application, RequestHandler

from leeward._core.config import Config
from leeward.engine.connection import Connection
from leeward.engine.engine import Engine

#: A whole answer, and what may stand at the end of them all.
_ANSWER = re.compile(
    rb"((?:HTTP/1\.1 100 Continue\r\n\r\n)*)"
    rb"HTTP/1\.1 200 OK\r\nX-Number: ([0-9]+)\r\nContent-Length: ([0-9]+)\r\n"
    rb"(Connection: (?:close|Keep-Alive)\r\n)?\r\n"
)
_REFUSAL = re.compile(rb"(?:HTTP/1\.1 100 Continue\r\n\r\n)*HTTP/1\.1 4[0-9][0-9] [^\r\n]*\r\n\r\n")
#: Turns of the loop until all must have been said.
_TURNS = 200


class Wrong(AssertionError):
    """What no server may do, whatever Tornado does."""


class Numbered(Recorder):
    """Its answers say which they are, and how long the request's body was."""

    def finish(self) -> None:
        fields = tuple(self._headers.get_all())
        self.requests.append(Request(*self._start_line, fields, b"".join(self._chunks), False))
        answer(self._connection, self.requests)


def answer(connection: Any, requests: list[Request]) -> None:
    body = b"%d" % len(requests[-1].body)
    length = "0" if requests[-1].method == "HEAD" else str(len(body))
    headers = HTTPHeaders({"X-Number": str(len(requests)), "Content-Length": length})
    connection.write_headers(ResponseStartLine("", 200, "OK"), headers)
    if length != "0":
        connection.write(body)
    connection.finish()


class Catching(RequestHandler):
    """Any method, any target: written down and answered."""

    def initialize(self, requests: list[Request]) -> None:
        self.requests = requests

    async def _execute(self, transforms: Any, *args: Any, **kwargs: Any) -> None:
        it = self.request
        fields = tuple(it.headers.get_all())
        line = (it.method or "", it.uri or "", it.version)
        self.requests.append(Request(*line, fields, it.body, False))
        if len(self.requests) % 3 == 1:
            await asyncio.sleep(0)  # the answer comes in a later turn, behind more pieces
        answer(it.connection, self.requests)


class Served:
    """A side.  `kind` of connection, with another in its place when it is given.

    application:  behind Tornado's `Application`; otherwise behind a delegate.
    piece:        octets that the application is given at once, at most.
    """

    def __init__(
        self,
        kind: type[Any] = Connection,
        *,
        application: bool = False,
        piece: int = 65536,
        seed: int = 1,
    ) -> None:
        self._kind = kind
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self.requests: list[Request] = []
        self._recorder = Numbered()
        self._recorder.requests = self.requests
        app: Any = self._recorder
        if application:
            app = Application([(".*", Catching, {"requests": self.requests})])  # type: ignore[list-item]
        self._counters = Counters()

        async def make() -> Engine:
            http = HTTPServer(app, max_body_size=MAX_BODY, chunk_size=piece)
            config = Config("", accelerate=application)
            return Engine(http, config, self._counters, lambda: None)

        self._engine = self._loop.run_until_complete(make())

    def close(self) -> None:
        self._engine.close_rest()
        self._loop.close()

    def __call__(self, pieces: Sequence[bytes]) -> Verdict:
        return self._loop.run_until_complete(self._converse(pieces))

    async def _converse(self, pieces: Sequence[bytes]) -> Verdict:
        self.requests.clear()
        engine = self._engine
        engine.refusals.clear()
        member, transport = self._kind(engine, ("127.0.0.1", 1)), Transport()
        engine.add(member)
        member.connection_made(transport)
        at_once = self._random.random() < 0.5  # or one by one, with turns of the loop between
        for piece in pieces:
            if piece:
                transport.receives(piece, member)  # even when it is closed: they are on their way
            if not at_once:
                await self._settle()
        await self._settle()
        if (transport.closed or transport.ended) and member._buffer:
            raise Wrong("keeps what nobody will read")
        end = self._end(member, transport)
        verdict = self._verdict(b"".join(transport.written), end)
        await self._leave(member, transport, len(verdict.requests))
        return verdict

    async def _settle(self) -> None:
        """Until nothing is due."""
        for _ in range(_TURNS):
            if not self._loop._ready:  # type: ignore[attr-defined]
                return
            await asyncio.sleep(0)
        raise Wrong("it turns and turns")

    def _end(self, member: Any, transport: Transport) -> str:
        if self._engine.refusals:
            if not (transport.closed or transport.ended):
                raise Wrong("refused, and still open")
            return "refused"
        if transport.closed or transport.ended:
            return "closed"
        return "idle" if member.exchange is None and not member._buffer else "incomplete"

    def _verdict(self, answers: bytes, end: str) -> Verdict:
        found: list[Request] = []
        at, last = 0, b""
        while match := _ANSWER.match(answers, at):
            if last == b"Connection: close\r\n":
                raise Wrong("an answer behind the last")
            number, last = len(found), match[4] or b""
            if int(match[2]) != number + 1 or number >= len(self.requests):
                raise Wrong("answers out of order")
            request = self.requests[number]
            size = b"" if request.method == "HEAD" else b"%d" % len(request.body)
            at = match.end() + int(match[3])
            if answers[match.end() : at] != size:
                raise Wrong("the answer's body is another")
            found.append(request._replace(expected=bool(match[1])))
        rest = answers[at:].replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        if end == "refused":
            if not _REFUSAL.fullmatch(rest):
                raise Wrong(f"refused by {rest!r}")
        elif rest:
            raise Wrong(f"behind the answers: {rest!r}")
        if len(found) != len(self.requests):
            raise Wrong("a request without an answer")
        said = last == b"Connection: close\r\n"
        modern = bool(found) and found[-1].version == "HTTP/1.1"  # else it need not be said
        if found and said is not (end == "closed") and (last or end != "closed" or modern):
            raise Wrong(f"{end} after {last!r}")
        return Verdict(tuple(found), end, next(iter(self._engine.refusals), ""))

    async def _leave(self, member: Any, transport: Transport, answered: int) -> None:
        """The client goes: nothing of it stays."""
        protocol = transport.protocol or member
        if not transport.closed and not protocol.eof_received():
            transport.close()
        await self._settle()
        if not transport.closed:
            raise Wrong("open when the client has gone")
        (transport.protocol or member).connection_lost(None)
        await self._settle()
        if len(self.requests) != answered:
            raise Wrong("a request after its client has gone")
        if self._engine.live or self._counters.in_flight or self._counters.open:
            raise Wrong("something stays")
