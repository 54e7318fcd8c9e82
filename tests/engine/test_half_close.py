"""A client that has said all it will say (FIN) still gets its answer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from engine.port import run, serving
from tornado.web import Application, RequestHandler

from leeward._core.config import Config
from leeward.engine.rules import LEGAL

REQUESTS = {
    "get": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "post": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "chunked": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n0\r\n\r\n",
    "1.0": b"GET / HTTP/1.0\r\n\r\n",
}


class Slow(RequestHandler):
    """Answers when it has heard that its client has gone."""

    left: asyncio.Event

    async def get(self) -> None:
        await Slow.left.wait()
        with contextlib.suppress(Exception):  # Tornado: the stream is closed
            await self.finish("late")

    post = get

    def on_connection_close(self) -> None:
        Slow.left.set()


async def ask(engine: str, request: bytes) -> bytes:
    Slow.left = asyncio.Event()
    app = Application([("/", Slow)], log_function=lambda _: None)
    async with serving(app, Config("", engine=engine)) as port:
        reader, writer = await port.connect()
        writer.write(request)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("name", REQUESTS)
def test_the_answer_is_sent_and_the_connection_closed(name: str, loop: str) -> None:
    answer: Any = run(ask("leeward", REQUESTS[name]), loop)
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"late")


def test_tornado_loses_it() -> None:
    """Which is why it stands in the list."""
    assert run(ask("tornado", REQUESTS["get"])) == b""
    assert "half-close" in {rule.name for rule in LEGAL}


def test_half_a_request_gets_none() -> None:
    """What is not complete will never be."""

    async def main() -> bytes:
        async with serving(Application([("/", Slow)]), Config("")) as port:
            reader, writer = await port.connect()
            writer.write(REQUESTS["post"][:-1])
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return answer

    assert run(main()) == b""
