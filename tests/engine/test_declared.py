"""`leeward.deadlines` holds whatever router leads to the handler, and with Tornado's server too."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from typing import Any

import pytest
from engine.hall import serving
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.routing import HostMatches, PathMatches, Router, Rule, RuleRouter
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

import leeward

PATIENCE = 20.0


@leeward.deadlines(handler=0.2, body=0.2, idle=0.2)
class Hasty(RequestHandler):
    async def get(self) -> None:
        if self.get_argument("wait", ""):
            await asyncio.Event().wait()
        self.write("here")

    async def post(self) -> None:
        self.write(f"{len(self.request.body)}")


@leeward.deadlines(poll=0.2)
class Polled(RequestHandler):
    async def get(self) -> None:
        await asyncio.Event().wait()


@leeward.deadlines(ping=0.2, write=500)
class Talks(WebSocketHandler):
    def on_message(self, message: str | bytes) -> None: ...


class Patient(RequestHandler):
    def get(self) -> None:
        self.write("here")


class Late(HTTPMessageDelegate):
    """Makes its handler when the request is complete, and tells nobody of which class."""

    def __init__(self, application: Application, conn: HTTPConnection) -> None:
        self._application, self._conn = application, conn

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self._request = HTTPServerRequest(
            connection=self._conn,
            start_line=start_line,  # type: ignore[arg-type]
            headers=headers,
        )
        return None

    def data_received(self, chunk: bytes) -> None: ...

    def finish(self) -> None:
        self._application.find_handler(self._request).finish()

    def on_connection_close(self) -> None: ...


class Own(Router):
    def __init__(self, application: Application) -> None:
        self._application = application

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate:
        return Late(self._application, request.connection)


def plain() -> Application:
    rules: list[Any] = [("/hasty", Hasty), ("/patient", Patient), ("/polled", Polled)]
    rules.append(("/talks", Talks))
    return Application(rules, log_function=lambda handler: None)


def routers() -> dict[str, Any]:
    return {
        "an application": plain(),
        "rules": RuleRouter([Rule(PathMatches("/.*"), plain())]),
        "hosts": RuleRouter(
            [Rule(HostMatches("a"), RuleRouter([Rule(PathMatches("/.*"), plain())]))]
        ),
        "nested": Application([(PathMatches("/.*"), plain())], log_function=lambda handler: None),
        "its own": Own(plain()),
    }


async def ask(port: int, *parts: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
    return reader, writer


async def ended(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return await reader.read()


@pytest.mark.parametrize("by", ["engine", "engine plain", "adapter"])
@pytest.mark.parametrize("name", sorted(routers()))
def test_whatever_leads_to_it(name: str, by: str) -> None:
    """The answer's, the body's, and the wait for the next request; of this handler only."""

    async def main() -> None:
        async with serving(routers()[name], by) as (port, _):
            get = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
            patient, one = await ask(port, get % b"patient")
            assert await asyncio.wait_for(patient.readuntil(b"here"), PATIENCE)
            slow, two = await ask(port, get % b"hasty?wait=1")
            assert (await ended(slow)).startswith(b"HTTP/1.1 503")
            idle, three = await ask(port, get % b"hasty")
            assert (await ended(idle)).endswith(b"here")
            writers = [one, two, three]
            if by != "adapter" and name != "its own":
                post = b"POST /hasty HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"
                half, four = await ask(port, post)
                assert (await ended(half)).startswith(b"HTTP/1.1 408")
                writers.append(four)
            # One that says nothing has the instance's, after another that says something, too.
            one.write(get % b"patient")
            assert await asyncio.wait_for(patient.readuntil(b"here"), PATIENCE)
            for it in writers:
                it.close()

    asyncio.run(main())


UPGRADE = (
    b"GET /talks HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize("by", ["engine", "engine plain", "adapter"])
@pytest.mark.parametrize("name", sorted(routers()))
def test_a_websocket_has_its_own_whatever_leads_to_it(name: str, by: str) -> None:
    """Pings on either server; how long it may take nothing on ours, and the kernel bears it too."""

    async def main() -> None:
        async with serving(routers()[name], by) as (port, server):
            talks, writer = await ask(port, UPGRADE)
            await asyncio.wait_for(talks.readuntil(b"\r\n\r\n"), PATIENCE)
            assert (await asyncio.wait_for(talks.readexactly(10), PATIENCE))[0] == 0x89
            if by != "adapter":
                (member,) = server.live
                sock: Any = member.transport.get_extra_info("socket")
                silent = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                assert (member.own.write, silent) == (500.0, 500_000)
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize("by", ["engine", "engine plain"])
@pytest.mark.parametrize("name", sorted(routers()))
def test_a_poll_has_its_own_whatever_leads_to_it(name: str, by: str) -> None:
    async def main() -> None:
        async with serving(routers()[name], by) as (port, server):
            polled, writer = await ask(port, b"GET /polled HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"Retry-After: 1" in await ended(polled)
            assert server.ends.counts == {"poll": 1}  # type: ignore[union-attr]
            writer.close()

    asyncio.run(main())
