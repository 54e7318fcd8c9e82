"""Over TLS too nothing counts as silence that may be the beginning of a reply."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path

import certificates
import pytest
from lines.server import END, LOOPS, client_of, run

from leeward.lineclient import BadReply, LineDown, LineError, LineLost

pytestmark = [pytest.mark.parametrize("loop", LOOPS), certificates.needs_openssl]
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


class Peer:
    """One connection, whose records the test cuts as it likes."""

    def __init__(
        self, tls: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._in, self._out, server_side=True)
        self._reader, self.writer = reader, writer

    async def _more(self) -> None:
        self.writer.write(self._out.read())
        data = await self._reader.read(65536)
        if not data:
            raise EOFError
        self._in.write(data)

    async def start(self, greeting: bytes) -> None:
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._more()
        if greeting:
            self._tls.write(greeting)
        self.put(self._out.read())

    async def request(self) -> bytes:
        got = b""
        while not got.endswith(b"\r\n"):
            try:
                got += self._tls.read()
            except ssl.SSLWantReadError:
                await self._more()
        return got[:-2]

    def record(self, text: bytes) -> bytes:
        assert self._tls.write(text) == len(text)
        return self._out.read()

    def goodbye(self) -> bytes:
        """That nothing follows; the connection stays open."""
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._out.read()

    def put(self, data: bytes) -> None:
        """Into the client's kernel, at once."""
        assert os.write(self.writer.get_extra_info("socket").fileno(), data) == len(data)


class Peers:
    """Answers by `answer`, which is given each request; an echo without it."""

    def __init__(self, tmp_path: Path, version: ssl.TLSVersion) -> None:
        authority = certificates.Authority(tmp_path)
        authority.make(tmp_path / "cert.pem", tmp_path / "key.pem")
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
        self._tls.minimum_version = self._tls.maximum_version = version
        self.trusting = ssl.create_default_context(cafile=str(authority.certificate))
        self.trusting.check_hostname = False
        self.greeting = b""
        self.all: list[Peer] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, peer: Peer, request: bytes) -> None:
        peer.put(peer.record(b"re " + request + END))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(self._tls, reader, writer)
        self.all.append(peer)
        try:
            await peer.start(self.greeting)
            while True:
                await self.answer(peer, await peer.request())
        except (EOFError, ConnectionError):
            writer.close()

    async def __aenter__(self) -> str:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        for peer in self.all:
            peer.writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in range(3):
            await asyncio.sleep(0)


@VERSIONS
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("come", [3, 20, -1])
def test_half_a_record_is_no_silence(
    loop: str, version: ssl.TLSVersion, told: bool, come: int, tmp_path: Path
) -> None:
    """Of a reply that nobody asked for: the next call would get it.  Whether the loop has told
    that something came, or not yet."""

    async def main() -> None:
        peers = Peers(tmp_path, version)
        async with peers as address, client_of(address, ssl=peers.trusting) as client:
            assert await client.call("1") == "re 1"
            [first] = peers.all
            unasked = first.record(b"re 0" + END)
            first.put(unasked[:come])
            for _ in range(3 if told else 0):
                await asyncio.sleep(0)

            async def answer(peer: Peer, request: bytes) -> None:
                if peer is first:
                    peer.put(unasked[come:])
                peer.put(peer.record(b"re " + request + END))

            peers.answer = answer  # type: ignore[method-assign]
            assert await client.call("2") == "re 2"
            assert (client.stats().stale, len(peers.all)) == (1, 2)

    run(loop, main())


@VERSIONS
@pytest.mark.parametrize("what", ["half", "record", "goodbye"])
def test_what_comes_with_a_reply_is_no_silence(
    loop: str, version: ssl.TLSVersion, what: str, tmp_path: Path
) -> None:
    """Nor is the word that nothing follows."""

    async def main() -> None:
        peers = Peers(tmp_path, version)

        async def answer(peer: Peer, request: bytes) -> None:
            reply = peer.record(b"re " + request + END)
            if request == b"1":
                more = peer.goodbye() if what == "goodbye" else peer.record(b"re 0" + END)
                reply += more[:20] if what == "half" else more
            peer.put(reply)

        peers.answer = answer  # type: ignore[method-assign]
        async with peers as address, client_of(address, ssl=peers.trusting) as client:
            if what == "record":
                with pytest.raises(BadReply, match="more came than one reply"):
                    await client.call("1")
            else:
                assert await client.call("1") == "re 1"
            assert await client.call("2") == "re 2"
            assert len(peers.all) == 2

    run(loop, main())


@VERSIONS
def test_a_word_that_nothing_follows_ends_a_call(
    loop: str, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    """At once, behind half of a reply or alone, though the connection is open."""

    async def main() -> None:
        peers = Peers(tmp_path, version)

        async def answer(peer: Peer, request: bytes) -> None:
            peer.put((peer.record(b"re") if request == b"half" else b"") + peer.goodbye())

        peers.answer = answer  # type: ignore[method-assign]
        async with peers as address:
            for request in ("half", "alone"):
                async with client_of(address, ssl=peers.trusting) as client:
                    with pytest.raises(LineLost, match="the server closed it"):
                        await client.call(request)

    run(loop, main())


@VERSIONS
def test_records_may_come_octet_by_octet(
    loop: str, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    """While they are asked for."""

    async def main() -> None:
        peers = Peers(tmp_path, version)

        async def answer(peer: Peer, request: bytes) -> None:
            for octet in peer.record(b"re " + request + END):
                peer.put(bytes([octet]))
                await asyncio.sleep(0)

        peers.answer = answer  # type: ignore[method-assign]
        async with peers as address, client_of(address, ssl=peers.trusting) as client:
            for request in ("1", "2"):
                assert await client.call(request) == f"re {request}"
            assert len(peers.all) == 1

    run(loop, main())


@VERSIONS
def test_a_greeting_comes_with_the_handshake(
    loop: str, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    """In one piece with the last of it.  Who expects none does not take it for a reply."""

    async def main() -> None:
        peers = Peers(tmp_path, version)
        peers.greeting = b"welcome" + END
        async with peers as address:
            async with client_of(address, ssl=peers.trusting, greeting=END) as client:
                assert [await client.call(it) for it in "12"] == ["re 1", "re 2"]
                assert client.stats().opened == 1
            if version is ssl.TLSVersion.TLSv1_2:  # 1.3 has it in the kernel some time later
                async with client_of(address, ssl=peers.trusting, timeout=0.5) as client:
                    with pytest.raises(LineError):
                        await client.call("1")
                    assert client.stats().replies == 0

    run(loop, main())


@pytest.mark.parametrize("said", [b"ok\r\n> ", b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_a_server_without_tls_is_told_at_once(loop: str, said: bytes) -> None:
    """It speaks before it is asked, or closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(said)
        if said:
            await reader.read()  # until the client has closed it
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
            address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            context = ssl.create_default_context()
            async with client_of(address, ssl=context, connect_timeout=15.0) as client:
                with pytest.raises(LineDown, match=r"SSL\w*Error"):
                    await client.call("1")

    run(loop, main())
