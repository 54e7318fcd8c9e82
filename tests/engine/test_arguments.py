"""What a program gives to its HTTPServer is in force on the engine, as on Tornado itself.

Each claim is made three times: by Tornado's own server alone, by the engine, and by
Tornado's server in a worker.  What is to be refused is sent without its body: Tornado's
close would reset a client whose bytes it has not read, and its answer might be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, needs_openssl
from engine.port import PATIENCE, Port, run, serving
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application, RequestHandler, stream_request_body

from leeward._core.config import Config
from leeward._core.record import replace
from leeward.cli.settings import TABLE

by_all = pytest.mark.parametrize("by", ["itself", "leeward", "tornado"])


class Echo(RequestHandler):
    def get(self) -> None:
        request = self.request
        self.write(f"<{request.remote_ip} {request.protocol} {len(request.body)}>")

    post = get


@stream_request_body
class Pieces(RequestHandler):
    def prepare(self) -> None:
        self.sizes: list[int] = []

    def data_received(self, chunk: bytes) -> None:
        self.sizes.append(len(chunk))

    def post(self) -> None:
        self.write(f"<{max(self.sizes)} {sum(self.sizes)}>")


@stream_request_body
class Allows(RequestHandler):
    """A handler that takes more than the server, or gives it less time."""

    def prepare(self) -> None:
        connection: Any = self.request.connection
        connection.set_max_body_size(5000)

    def data_received(self, chunk: bytes) -> None:
        pass

    def post(self) -> None:
        self.write("<allowed>")


def app() -> Application:
    return Application([("/", Echo), ("/pieces", Pieces), ("/allows", Allows)])


@contextlib.asynccontextmanager
async def serves(
    by: str, config: Config | None = None, tls: Any = None, **arguments: Any
) -> AsyncIterator[Port]:
    http = HTTPServer(app(), **arguments)
    if by != "itself":
        async with serving(http, replace(config or Config(""), engine=by), tls) as port:
            yield port
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        http.add_sockets([listener])
        yield Port(listener)
        http.stop()
        await http.close_all_connections()


def get(**headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return f"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{''.join(lines)}\r\n".encode()


def post(size: int, path: str = "/", body: bytes | None = None, more: str = "") -> bytes:
    lines = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {size}\r\n"
    return (lines + more + "\r\n").encode() + (b"a" * size if body is None else body)


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1]) if answer else 0


def content(answer: bytes) -> str:
    assert status(answer) == 200, answer
    return answer.partition(b"<")[2].partition(b">")[0].decode()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server closes, in time."""
    async with asyncio.timeout(PATIENCE / 2):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


def check(by: str, claim: Callable[[Port], Any], **arguments: Any) -> None:
    async def main() -> None:
        async with serves(by, **arguments) as port:
            await claim(port)

    run(main())


@by_all
def test_xheaders(by: str) -> None:
    async def claim(port: Port) -> None:
        request = get(X_Forwarded_For="192.0.2.1", X_Scheme="https")
        assert content(await port.ask(request)) == "192.0.2.1 https 0"

    check(by, claim, xheaders=True)


@by_all
def test_no_xheaders(by: str) -> None:
    async def claim(port: Port) -> None:
        request = get(X_Forwarded_For="192.0.2.1", X_Scheme="https", Forwarded="for=192.0.2.2")
        assert content(await port.ask(request)) == "127.0.0.1 http 0"

    check(by, claim)


@by_all
def test_trusted_downstream(by: str) -> None:
    async def claim(port: Port) -> None:
        request = get(X_Forwarded_For="192.0.2.9, 192.0.2.1, 10.0.0.1")
        assert content(await port.ask(request)) == "192.0.2.1 http 0"

    check(by, claim, xheaders=True, trusted_downstream=["10.0.0.1"])


@by_all
def test_protocol(by: str) -> None:
    async def claim(port: Port) -> None:
        assert content(await port.ask(get())) == "127.0.0.1 https 0"

    check(by, claim, protocol="https")


@by_all
def test_max_body_size(by: str) -> None:
    async def claim(port: Port) -> None:
        assert content(await port.ask(post(1000))).endswith(" 1000")
        assert status(await port.ask(post(1001, body=b""))) == 400
        chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert status(await port.ask(chunked + b"3e9\r\n")) == 400
        assert "allowed" in content(await port.ask(post(5000, "/allows")))
        assert status(await port.ask(post(5001, "/allows", b""))) == 400

    check(by, claim, max_body_size=1000)


@by_all
def test_max_buffer_size(by: str) -> None:
    """What bounds a body where nothing else does."""

    async def claim(port: Port) -> None:
        assert content(await port.ask(post(100_000))).endswith(" 100000")
        assert status(await port.ask(post(100_001, body=b""))) == 400

    check(by, claim, max_buffer_size=100_000)


@by_all
def test_max_header_size(by: str) -> None:
    """Below it is served.  Above it Tornado closes without a word, and the engine says 431."""

    async def claim(port: Port) -> None:
        assert status(await port.ask(get(X="a" * 800))) == 200
        assert status(await port.ask(get(X="a" * 1000))) == (431 if by == "leeward" else 0)

    check(by, claim, max_header_size=1000)


@by_all
def test_decompress_request(by: str) -> None:
    packed = gzip.compress(b"a" * 20_000)
    request = post(len(packed), body=packed, more="Content-Encoding: gzip\r\n")

    async def claim(port: Port) -> None:
        assert content(await port.ask(request)).endswith(" 20000")

    async def plain(port: Port) -> None:
        assert content(await port.ask(request)).endswith(f" {len(packed)}")

    check(by, claim, decompress_request=True)
    check(by, plain)


@by_all
def test_chunk_size(by: str) -> None:
    """The most of a body that a handler gets at once."""

    async def claim(port: Port) -> None:
        assert content(await port.ask(post(100_000, "/pieces"))) == "1000 100000"

    check(by, claim, chunk_size=1000)


@by_all
def test_no_keep_alive(by: str) -> None:
    async def claim(port: Port) -> None:
        answer = await port.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert content(answer) and b"Connection: close" in answer

    check(by, claim, no_keep_alive=True)


@by_all
def test_idle_connection_timeout(by: str) -> None:
    """After an answer, and before a first byte."""

    async def claim(port: Port) -> None:
        reader, writer = await port.connect()
        assert await ended(reader) == b""
        writer.close()
        reader, writer = await port.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert content(await ended(reader))
        writer.close()

    check(by, claim, idle_connection_timeout=0.3)


@by_all
def test_body_timeout(by: str) -> None:
    async def claim(port: Port) -> None:
        reader, writer = await port.connect()
        writer.write(post(1000, body=b"a"))
        assert await ended(reader) == b""
        writer.close()
        assert content(await port.ask(post(1000)))

    check(by, claim, body_timeout=0.3)


@needs_openssl
@by_all
@pytest.mark.parametrize("given", ["dict", "context"])
def test_ssl_options(by: str, given: str, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority = Authority(tmp_path / "ca")
    authority.make(certificate, key)
    options: Any = {"certfile": str(certificate), "keyfile": str(key)}
    if given == "context":
        options = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        options.load_cert_chain(certificate, key)

    async def claim(port: Port) -> None:
        how = {"ssl": authority.client(), "server_hostname": "localhost"}
        assert content(await port.ask(get(), **how)) == "127.0.0.1 https 0"

    check(by, claim, ssl_options=options)


# --- settings -----------------------------------------------------------------------------------

SETTINGS = {"max_body": 2000, "max_header": 2000, "decompress": True}


def test_the_defaults_are_tornados() -> None:
    """Whoever gives none of them sees no difference."""
    params = HTTPServer(app()).conn_params

    async def max_buffer_size() -> int | None:
        ours, theirs = socket.socketpair()
        with contextlib.closing(IOStream(ours)) as stream, theirs:
            return stream.max_buffer_size

    defaults = {it.key: it.default for it in TABLE if it.key in SETTINGS}
    assert defaults == {
        "max_body": run(max_buffer_size()),
        "max_header": params.max_header_size,
        "decompress": params.decompress,
    }


@pytest.mark.parametrize("by", ["leeward", "tornado"])
@pytest.mark.parametrize("arguments", [{}, {"max_body_size": 10, "max_header_size": 300}])
def test_a_setting_wins_over_the_program(by: str, arguments: dict[str, Any]) -> None:
    """As --bind wins over its address: who starts it knows best."""
    packed = gzip.compress(b"a" * 1500)

    async def claim(port: Port) -> None:
        assert content(await port.ask(post(2000))).endswith(" 2000")
        assert status(await port.ask(post(2001, body=b""))) == 400
        assert status(await port.ask(get(X="a" * 1500))) == 200
        assert status(await port.ask(get(X="a" * 2000))) == (431 if by == "leeward" else 0)
        request = post(len(packed), body=packed, more="Content-Encoding: gzip\r\n")
        assert content(await port.ask(request)).endswith(" 1500")
        assert "allowed" in content(await port.ask(post(5000, "/allows")))

    check(by, claim, config=Config("", **SETTINGS), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("by", ["leeward", "tornado"])
def test_what_nobody_sets_is_the_programs(by: str) -> None:
    async def claim(port: Port) -> None:
        assert status(await port.ask(post(11, body=b""))) == 400
        assert content(await port.ask(post(10))).endswith(" 10")

    check(by, claim, max_body_size=10)


@pytest.mark.parametrize("by", ["leeward", "tornado"])
def test_a_bomb_is_refused_when_unpacked(by: str) -> None:
    """--max-body bounds what a body becomes, where Tornado (6.5 and later) knows how."""
    packed = gzip.compress(b"a" * 100_000)
    request = post(len(packed), body=packed, more="Content-Encoding: gzip\r\n")

    async def claim(port: Port) -> None:
        assert status(await port.ask(request)) == 400

    from leeward.engine.engine import _GZIP_LIMITS

    if _GZIP_LIMITS < 2:
        pytest.skip("this Tornado has no limit for what is unpacked")
    check(by, claim, config=Config("", **SETTINGS))  # type: ignore[arg-type]
