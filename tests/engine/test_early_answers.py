"""An answer that begins, or ends, before all of its request has come."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from typing import Any

import pytest
from certificates import Contexts, contexts, needs_openssl
from engine.port import PATIENCE, Port, run, serving
from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
)
from tornado.web import Application, RequestHandler, stream_request_body

from leeward._core.config import Config

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
ENCRYPTED = pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
HOST = b"Host: localhost\r\n"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    return contexts(tmp_path_factory.mktemp("ca"))


@stream_request_body
class Begins(RequestHandler):
    """Sends a part of its answer before it has seen any of the body."""

    heard: list[str]

    async def prepare(self) -> None:
        self.write("begun ")
        await self.flush()

    def data_received(self, chunk: bytes) -> None:
        if chunk == b"bad":
            raise HTTPInputError("no")

    def post(self) -> None:
        Begins.heard.append("post")
        self.finish("ended")

    def on_connection_close(self) -> None:
        super().on_connection_close()
        Begins.heard.append("left")


async def connect(port: Port, encrypted: bool, ours: Any) -> Any:
    how = {"ssl": ours, "server_hostname": "localhost"} if encrypted else {}
    return await port.connect(**how)


BAD = {
    "chunk": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n", b"x\r\n"),
    "piece": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\n", b"bad"),
    "1.0": (b"POST / HTTP/1.0\r\nContent-Length: 9\r\n\r\n", b"bad"),
}


@needs_openssl
@LOOPS
@ENCRYPTED
@pytest.mark.parametrize("name", BAD)
def test_a_refusal_is_not_sent_into_an_answer(
    name: str, encrypted: bool, loop: str, tls: Contexts
) -> None:
    """As Tornado sends it: to an HTTP/1.0 client it was the end of a whole answer."""
    head, body = BAD[name]

    async def main() -> bytes:
        Begins.heard = []
        app = Application([("/", Begins)], log_function=lambda _: None)
        async with serving(app, Config(""), tls[0] if encrypted else None) as port:
            reader, writer = await connect(port, encrypted, tls[1])
            writer.write(head)
            answer: bytes = await reader.readuntil(b"begun ")
            writer.write(body)
            try:
                while piece := await reader.read(65536):
                    answer += piece
            except ConnectionResetError:
                pass
            await port.gone()
            writer.close()
            return answer

    answer = run(main(), loop)
    assert answer.count(b"HTTP/1.") == 1 and b"400" not in answer
    assert not answer.endswith(b"0\r\n\r\n")
    assert Begins.heard == ["left"]


@LOOPS
def test_100_is_not_sent_into_an_answer(loop: str) -> None:
    """Its client sees by the answer that it may go on."""

    async def main() -> bytes:
        Begins.heard = []
        app = Application([("/", Begins)], log_function=lambda _: None)
        async with serving(app, Config("")) as port:
            reader, writer = await port.connect()
            head = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n"
            writer.write(head + b"Connection: close\r\nExpect: 100-continue\r\n\r\n")
            answer = await reader.readuntil(b"begun ")
            writer.write(b"good")
            answer += await reader.read()
            writer.close()
            return answer

    answer = run(main(), loop)
    assert b"100" not in answer and answer.endswith(b"\r\nended\r\n0\r\n\r\n")
    assert Begins.heard == ["post"]


@stream_request_body
class Ends(RequestHandler):
    """Answers at the first piece of the body, with more than the kernel takes."""

    size: int
    heard: list[str]
    told: asyncio.Event

    def data_received(self, chunk: bytes) -> None:
        Ends.heard.append("piece")
        self.finish(b"x" * Ends.size)

    def post(self) -> None:
        Ends.heard.append("post")

    def on_connection_close(self) -> None:
        super().on_connection_close()
        Ends.heard.append("left")
        Ends.told.set()


def upload(port: Port, tls: ssl.SSLContext | None) -> bytes:
    """Go on as the answer begins, and read it to its end."""
    client = socket.create_connection(port.address, PATIENCE)
    if tls is not None:
        client = tls.wrap_socket(client, server_hostname="localhost")
    with client:
        client.sendall(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nearly")
        answer = [client.recv(100)]
        client.sendall(b"late")
        while piece := client.recv(65536):
            answer.append(piece)
    return b"".join(answer)


@needs_openssl
@LOOPS
@ENCRYPTED
@pytest.mark.parametrize("size", [10, 30_000_000])
@pytest.mark.parametrize("by", ["tornado", "leeward", "leeward plain"])
def test_a_handler_that_has_answered_early_hears_that_its_body_is_not_read(
    by: str, size: int, encrypted: bool, loop: str, tls: Contexts
) -> None:
    """Whether its client is slow to take the answer or not: its task waited for ever."""
    if by == "tornado" and (loop == "uvloop" or size == 10):
        pytest.skip("resets who sends on behind a small answer")

    async def main() -> bytes:
        Ends.size, Ends.heard, Ends.told = size, [], asyncio.Event()
        app = Application([("/", Ends)], log_function=lambda _: None)
        config = Config("", engine=by.split()[0], accelerate=by == "leeward")
        async with serving(app, config, tls[0] if encrypted else None) as port:
            answer = await asyncio.to_thread(upload, port, tls[1] if encrypted else None)
            await Ends.told.wait()
            await port.gone()
            return answer

    answer = run(main(), loop)
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\n" + size * b"x")
    assert Ends.heard == ["piece", "left"]


@stream_request_body
class Closes(RequestHandler):
    """Hangs up at the first piece of the body."""

    heard: list[str]

    def data_received(self, chunk: bytes) -> Any:
        connection: Any = self.request.connection
        connection.stream.close()
        return asyncio.sleep(0)

    def post(self) -> None:
        Closes.heard.append("post")


class Delegate(HTTPMessageDelegate):
    """Hangs up as it sees the headers."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def headers_received(self, *args: Any) -> None:
        self._connection.stream.close()

    def data_received(self, chunk: bytes) -> None:
        Closes.heard.append("piece")

    def finish(self) -> None:
        Closes.heard.append("finish")

    def on_connection_close(self) -> None:
        pass


class Delegates(HTTPServerConnectionDelegate):
    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> Delegate:
        return Delegate(request_conn)


@needs_openssl
@LOOPS
@pytest.mark.parametrize("how", ["body", "headers", "headers of a GET"])
def test_a_client_that_is_hung_up_on_does_not_stay(how: str, loop: str, tls: Contexts) -> None:
    """Over TLS its farewell was waited for without an end, and a request told that was over."""

    async def main() -> None:
        Closes.heard = []
        app: Any = Application([("/", Closes)], log_function=lambda _: None)
        if how.startswith("headers"):
            app = HTTPServer(Delegates())
        async with serving(app, Config(""), tls[0]) as port:
            done = threading.Event()
            client = asyncio.ensure_future(asyncio.to_thread(hang, port, tls[1], how, done))
            try:
                while not port.server.live:
                    await asyncio.sleep(0.001)
                async with asyncio.timeout(10):
                    await port.gone()
            finally:
                done.set()
                await client

    run(main(), loop)
    assert Closes.heard == []


def hang(port: Port, tls: ssl.SSLContext, how: str, done: threading.Event) -> None:
    """Send a request and read nothing."""
    with tls.wrap_socket(
        socket.create_connection(port.address, PATIENCE), server_hostname="localhost"
    ) as client:
        if how.endswith("GET"):
            client.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        else:
            client.sendall(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nearly")
        done.wait(PATIENCE)
