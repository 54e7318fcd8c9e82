"""A call gets its own reply or an error that says what was waited for; never another's reply."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import certificates
import pytest
from lines.server import END, LONG, LOOPS, Line, client_of, echo, run, serving

from leeward import LineClient
from leeward._lines import sockets
from leeward._lines.lender import Lender
from leeward.lineclient import (
    BadReply,
    BadRequest,
    Ended,
    LineBusy,
    LineClosed,
    LineDown,
    LineError,
    LineLost,
    LineTimeout,
)

pytestmark = pytest.mark.parametrize("loop", LOOPS)


def test_many_at_once_get_their_own(loop: str) -> None:
    """However replies are divided, and with one request at a time on each connection."""
    weather = random.Random(7)
    busy: set[Line] = set()

    async def answer(line: Line, request: bytes) -> None:
        assert line not in busy, "a second request before the first was answered"
        busy.add(line)
        reply = b"re " + request + b"> \r\n>" + END
        cuts = sorted(weather.sample(range(1, len(reply)), 3))
        await line.send(*(reply[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)))
        busy.discard(line)

    async def main() -> None:
        async with serving(answer) as (server, address), client_of(address) as client:
            replies = await asyncio.gather(*(client.call(f"é{n}") for n in range(100)))
            assert replies == [f"re é{n}> \r\n>" for n in range(100)]
            stats = client.stats()
            assert (stats.calls, stats.replies, stats.opened) == (100, 100, 4)
            assert (stats.idle, stats.lent, stats.waiting) == (4, 0, 0)
            assert len(server.lines) == 4

    run(loop, main())


@pytest.mark.parametrize("how", ["deadline", "cancelled", "wait_for"])
def test_a_late_reply_reaches_nobody(loop: str, how: str) -> None:
    """Its connection is closed, whoever gave up; the next call has another."""
    sent = asyncio.Event()

    async def answer(line: Line, request: bytes) -> None:
        if request == b"slow":
            sent.set()
            await line.reader.read()  # until the client has closed it
        await echo(line, request)

    async def main() -> None:
        async with serving(answer) as (server, address), client_of(address) as client:
            if how == "deadline":
                with pytest.raises(LineTimeout, match=rf"{address}: no reply: sent after \d+\.\d"):
                    await client.call("slow", timeout=0.5)
            elif how == "wait_for":
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.call("slow"), 0.2)
            else:
                task = asyncio.ensure_future(client.call("slow"))
                await sent.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await client.call("next") == "re next"
            assert len(server.lines) == 2
            stats = client.stats()
            assert stats.timeouts + stats.cancelled == 1

    run(loop, main())


@pytest.mark.parametrize("how", ["deadline", "cancelled"])
def test_who_has_given_up_is_lent_nothing(loop: str, how: str) -> None:
    """Though his task has not heard of it yet: nothing is sent, and the connection lives on."""
    asked = asyncio.Event()
    gone: list[asyncio.Task[str]] = []

    async def answer(line: Line, request: bytes) -> None:
        if request == b"1":
            asked.set()
        else:
            await echo(line, request)

    def end(buffer: bytes | bytearray, seen: int) -> Ended | None:
        for task in gone:  # while the reply is looked at behind which it is lent
            task.cancel()
        at = buffer.find(END)
        return None if at < 0 else Ended(at, at + len(END))

    async def main() -> None:
        options = {"connections": 1, "end": end}
        async with serving(answer) as (server, address), client_of(address, **options) as client:
            first = asyncio.ensure_future(client.call("1"))
            await asked.wait()
            timeout = 0.05 if how == "deadline" else LONG
            second = asyncio.ensure_future(client.call("2", timeout=timeout))
            third = asyncio.ensure_future(client.call("3"))
            await asyncio.sleep(0)
            os.write(server.lines[0].writer.get_extra_info("socket").fileno(), b"re 1" + END)
            if how == "deadline":
                time.sleep(0.1)  # so that the loop is told of both together
                with pytest.raises(LineTimeout, match="nothing was sent"):
                    await second
            else:
                gone.append(second)
                with pytest.raises(asyncio.CancelledError):
                    await second
            assert (await first, await third) == ("re 1", "re 3")
            assert server.requests == [b"1", b"3"]
            stats = client.stats()
            assert (stats.opened, stats.timeouts + stats.cancelled) == (1, 1)

    run(loop, main())


def test_half_a_reply_is_shown_when_the_deadline_passes(loop: str) -> None:
    """So that a wrong end= is seen at once."""

    async def main() -> None:
        async with serving() as (_, address), client_of(address, end=b"$ ") as client:
            with pytest.raises(TimeoutError) as caught:
                await client.call("x", timeout=0.5)
            assert "8 bytes had come, the last: b're x\\r\\n> '" in str(caught.value)
            assert "end= is not what this server sends" in str(caught.value)

    run(loop, main())


class Soon:
    """A timer that is none, as uvloop gives for less than half a millisecond: without `when()`."""

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.cancel = timer.cancel


@pytest.mark.parametrize("check", [None, b"check"])
def test_a_timer_may_not_know_when_it_is_due(
    loop: str, check: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of calls, of checks and of what is idle."""

    async def main() -> None:
        running = asyncio.get_running_loop()
        call_at = running.call_at

        class Loop:
            def __getattr__(self, name: str) -> Any:
                return getattr(running, name)

            def call_at(self, *given: Any) -> Any:
                return Soon(call_at(*given))

        timed = Loop()
        options = {"connections": 2, "wait_timeout": 10.0, "check": check, "check_after": 0.0}
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "get_running_loop", lambda: timed)
            async with serving() as (_, address), client_of(address, **options) as client:
                for _ in range(2):
                    texts = list("123456")
                    replies = await asyncio.gather(*map(client.call, texts))
                    assert replies == [f"re {text}" for text in texts]

    run(loop, main())


def test_a_call_that_cannot_begin_is_forgotten(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is sent when its caller has had the exception."""

    async def main() -> None:
        async with serving() as (server, address), client_of(address) as client:
            with monkeypatch.context() as patch:
                patch.setattr(Lender, "_arm", lambda it: 1 // 0)
                with pytest.raises(ZeroDivisionError):
                    await client.call("1")
            assert client.stats().waiting == 0
            assert await client.call("2") == "re 2"
            assert server.requests == [b"2"]

    run(loop, main())


def test_waiters_are_bounded_in_number_and_time(loop: str) -> None:
    """And are told which bound it was."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def answer(line: Line, request: bytes) -> None:
        asked.set()
        await go.wait()
        await echo(line, request)

    async def main() -> None:
        options = {"connections": 1, "waiters": 1, "wait_timeout": 0.05}
        async with serving(answer) as (_, address), client_of(address, **options) as client:
            first = asyncio.ensure_future(client.call("1"))
            await asked.wait()
            second = asyncio.ensure_future(client.call("2"))
            await asyncio.sleep(0)
            with pytest.raises(LineBusy, match=f"{address}: 1 calls wait already for one of 1"):
                await client.call("3")
            with pytest.raises(LineBusy, match=r"waited \d+\.\d+ s for a connection"):
                await second
            with pytest.raises(LineTimeout, match="nothing was sent"):
                await client.call("4", timeout=0.04)
            go.set()
            assert await first == "re 1"
            assert client.stats().busy == 2

    run(loop, main())


@pytest.mark.parametrize("what", ["end", "byte"])
def test_an_idle_connection_that_moves_is_dropped(loop: str, what: str) -> None:
    """Its server closes it, or says what nobody asked for."""

    async def main() -> None:
        async with serving() as (server, address), client_of(address) as client:
            await client.call("1")
            if what == "byte":
                await server.lines[0].send(b"!")
            else:
                server.lines[0].writer.transport.abort()
            while client.stats().idle:
                await asyncio.sleep(0)
            assert await client.call("2") == "re 2"
            assert len(server.lines) == 2
            assert client.stats().stale == 1

    run(loop, main())


def test_what_the_loop_has_not_told_yet_is_seen(loop: str) -> None:
    """The server closes, and the next call comes before the loop has turned."""
    gone, reply_read = threading.Event(), threading.Event()

    def first_closes(listener: socket.socket) -> None:
        sock, _ = listener.accept()
        sock.recv(100)
        sock.sendall(b"first" + END)
        reply_read.wait(20)
        sock.close()
        gone.set()
        sock, _ = listener.accept()
        sock.recv(100)
        sock.sendall(b"second" + END)
        sock.recv(100)
        sock.close()

    async def main(address: str) -> None:
        async with client_of(address) as client:
            assert await client.call("1") == "first"
            reply_read.set()
            gone.wait(20)  # blocks the loop, as programs do
            assert await client.call("2") == "second"
            assert client.stats().stale == 1

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=first_closes, args=(listener,))
        thread.start()
        run(loop, main(f"127.0.0.1:{listener.getsockname()[1]}"))
        thread.join(20)


def test_a_connection_that_breaks_in_a_call_is_told(loop: str) -> None:
    """The call is not tried again: it may have been carried out."""

    async def answer(line: Line, request: bytes) -> None:
        await line.send(b"half")
        line.writer.close()

    async def main() -> None:
        async with serving(answer) as (server, address), client_of(address) as client:
            with pytest.raises(LineLost, match=f"{address}: the connection broke .* closed it"):
                await client.call("1")
            assert server.requests == [b"1"]
            assert isinstance(LineLost(""), ConnectionError)

    run(loop, main())


REPLIES = {
    "too large": (b"x" * 2000, {"max_reply": 1000}, "a reply of .* where 1000 are allowed"),
    "two": (b"a" + END + b"b" + END, {}, r"5 bytes behind it: b'b\\r\\n> '"),
    "not utf-8": (b"abc\xff" + END, {}, "the reply is not utf-8: byte 3 of 4"),
    "bad rule": (b"x", {"end": lambda buffer, seen: 1 // 0}, "end= failed: ZeroDivisionError"),
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_that_is_none_is_refused(loop: str, name: str) -> None:
    """And the next call is not the worse for it."""
    reply, options, words = REPLIES[name]
    replies = [reply, b"ok" + END]

    async def answer(line: Line, request: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            await line.send(replies.pop(0))

    async def main() -> None:
        async with serving(answer) as (_, address), client_of(address, **options) as client:
            with pytest.raises(BadReply, match=f"{address}: .*{words}"):
                await client.call("1")
            assert client.stats().idle == (name == "not utf-8")
            if name != "bad rule":
                assert await client.call("2") == "ok"

    run(loop, main())


@pytest.mark.parametrize("request_", ["a\r\nb", "a\nb", "a\r", "\ud800"])
def test_a_request_that_would_be_two_is_not_sent(loop: str, request_: str) -> None:
    """Its second reply would be somebody else's."""

    async def main() -> None:
        async with serving() as (server, address), client_of(address) as client:
            with pytest.raises(BadRequest, match=f"{address}: not sent"):
                await client.call(request_)
            assert not server.lines

    run(loop, main())


@pytest.mark.parametrize(
    ("end", "request_"),
    [
        (b"\r\n.\r\n", b"say x\r\n."),
        (b"\r\n.\r\n", b"say x\r\n.\r\nquit"),
        (b";;", b"a;"),
        (b";;", b"a;;b"),
        (b"abab", b"xab"),
    ],
)
def test_nor_one_that_is_two_with_its_end(loop: str, end: bytes, request_: bytes) -> None:
    """Its tail and the beginning of `request_end` may end it earlier."""

    async def main() -> None:
        async with serving() as (server, address):
            async with client_of(address, request_end=end) as client:
                with pytest.raises(BadRequest, match=f"{address}: not sent: byte [13456] ends"):
                    await client.call_bytes(request_)
            assert not server.lines
        with pytest.raises(ValueError, match="ends the request"):
            LineClient(address, end=END, request_end=end, check=request_)

    run(loop, main())


def test_a_request_may_look_like_its_end(loop: str) -> None:
    """Where it is one all the same."""

    async def answer(line: Line, request: bytes) -> None:
        await line.send(request + END)

    async def main() -> None:
        async with serving(answer) as (_, address):
            async with client_of(address, request_end=b";;\r\n") as client:
                assert await client.call("a;;b;") == "a;;b;;;"
            async with client_of(address, request_end=b"") as client:
                assert await client.call("a;;b;\r\n") == "a;;b;"

    run(loop, main())


@pytest.mark.parametrize("encoding", ["gb2312", "utf-8"])
def test_charsets(loop: str, encoding: str) -> None:
    """What is sent and what comes is in the server's."""

    async def main() -> None:
        async with serving() as (server, address), client_of(address, encoding=encoding) as client:
            assert await client.call("库存") == "re 库存"
            assert server.requests == ["库存".encode(encoding)]

    run(loop, main())


def test_who_is_down_is_not_waited_for(loop: str) -> None:
    """Calls are refused at once during the pause, and served when the server is back."""

    async def main() -> None:
        async with serving() as (server, address):
            pass
        async with client_of(address, first_pause=0.05) as client:
            with pytest.raises(LineDown, match=f"{address}: no connection: Connection"):
                await client.call("1")
            with pytest.raises(LineDown, match=r"The next try is in 0\.0\d s"):
                await client.call("2")
            assert client.stats().open_failures == 1
            host, _, port = address.rpartition(":")
            again = await asyncio.start_server(server.serve, host, int(port))
            while True:
                with contextlib.suppress(LineDown):
                    assert await client.call("3") == "re 3"
                    break
                await asyncio.sleep(0.02)
            again.close()
            assert isinstance(LineDown(""), ConnectionError)
        # Or the collector finds its transport in the middle of another test.
        await server.lines[-1].closed.wait()
        for _ in range(3):
            await asyncio.sleep(0)

    run(loop, main())


def test_nobody_is_connected_to_himself(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a TCP socket is to a port that nobody listens on, where the kernel gave it that one."""

    async def main() -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            free = other.getsockname()
        monkeypatch.setattr(sockets, "_tune", lambda sock, wire: sock.bind(free))
        async with client_of(f"127.0.0.1:{free[1]}") as client:
            with pytest.raises(LineDown, match="ConnectionRefusedError"):
                await client.call("1")

    run(loop, main())


@pytest.mark.parametrize("grace", [0.0, 0.05])
def test_closing_ends_who_waits_for_a_greeting(loop: str, grace: float) -> None:
    """Nothing of it is left, and its caller is told."""

    async def main() -> None:
        async with serving() as (server, address):
            client = LineClient(address, end=END, timeout=LONG, greeting=b"welcome\r\n")
            calling = asyncio.ensure_future(client.call("1"))
            while not server.lines:
                await asyncio.sleep(0.001)
            await client.aclose(grace)
            with pytest.raises(LineClosed):
                await calling
            await asyncio.wait_for(server.lines[0].closed.wait(), LONG)

    run(loop, main())


def test_a_greeting_is_read_first(loop: str) -> None:
    """In pieces or not; what stands behind it is none of it."""

    async def main() -> None:
        greeting = {"greeting": re.compile(rb"welcome \d+\r\n")}
        async with (
            serving(greeting=b"** welcome 1\r\n") as (_, address),
            client_of(address, **greeting) as client,
        ):
            assert await client.call("1") == "re 1"
        async with (
            serving(greeting=b"welcome 1\r\n!") as (_, address),
            client_of(address, **greeting) as client,
        ):
            with pytest.raises(LineDown, match="Unexpected"):
                await client.call("1")
        async with (
            serving() as (_, address),
            client_of(address, connect_timeout=0.1, **greeting) as client,
        ):
            with pytest.raises(LineDown, match="timed out"):
                await client.call("1")

    run(loop, main())


def test_an_end_that_is_a_guess_is_not_built_upon(loop: str) -> None:
    """The reply is given, and its connection is not used again."""

    def end(buffer: bytes | bytearray, seen: int) -> Ended | None:
        return Ended(4, len(buffer), clear=False) if buffer.endswith(END) else None

    async def main() -> None:
        async with serving() as (server, address), client_of(address, end=end) as client:
            assert [await client.call(it) for it in "12"] == ["re 1", "re 2"]
            assert len(server.lines) == 2
            assert client.stats().idle == 0

    run(loop, main())


def test_large_requests_and_replies(loop: str) -> None:
    """More than the kernel takes at once."""

    async def main() -> None:
        async with (
            serving() as (_, address),
            client_of(address, max_reply=1 << 24) as client,
        ):
            text = "x" * 1_500_000
            assert await client.call(text) == "re " + text

    run(loop, main())


def test_unix_sockets(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "s")
        async with serving(unix=path) as (_, address), client_of(address) as client:
            assert await client.call("1") == "re 1"
        async with client_of(f"unix:{tmp_path}/none") as client:
            with pytest.raises(LineDown, match=f"unix:{tmp_path}/none: no connection: FileNot"):
                await client.call("1")

    run(loop, main())


@pytest.mark.parametrize("timeout", [60.0, 0.5, 0.0, 1e9])
def test_a_dead_machine_is_noticed(loop: str, timeout: float) -> None:
    """TCP asks a silent one, and gives up one that acknowledges nothing."""

    async def main() -> None:
        async with serving() as (_, address), client_of(address, peer_timeout=timeout) as client:
            await client.call("1")
            assert client._lender is not None
            [sock] = client._lender._sockets
            tcp = socket.IPPROTO_TCP
            on = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert (on, sock.getsockopt(tcp, socket.TCP_USER_TIMEOUT)) == (
                bool(timeout),
                min(timeout * 1000, 2**31 - 1),
            )
            if timeout >= 60.0:
                names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                expected = [30, 3, 10] if timeout == 60.0 else [32767, 32767, 10]
                assert [sock.getsockopt(tcp, name) for name in names] == expected

    run(loop, main())


def test_closing(loop: str) -> None:
    """What was sent is answered, what waits is refused, and then nothing is open."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def answer(line: Line, request: bytes) -> None:
        asked.set()
        await go.wait()
        await echo(line, request)

    async def main() -> None:
        async with serving(answer) as (server, address):
            client = LineClient(address, end=END, connections=1, timeout=20)
            calls = [asyncio.ensure_future(client.call(str(n))) for n in range(2)]
            await asked.wait()
            closing = asyncio.ensure_future(client.aclose(20))
            with pytest.raises(LineClosed, match=address):
                await calls[1]
            go.set()
            assert await calls[0] == "re 0"
            await closing
            await server.lines[0].closed.wait()
            with pytest.raises(LineClosed):
                await client.call("x")
            await client.aclose()

    run(loop, main())


def test_closing_does_not_wait_for_ever(loop: str) -> None:
    async def answer(line: Line, request: bytes) -> None:
        asked.set()
        await line.reader.read()

    asked = asyncio.Event()

    async def main() -> None:
        async with serving(answer) as (_, address):
            client = LineClient(address, end=END)
            call = asyncio.ensure_future(client.call("x"))
            await asked.wait()
            await client.aclose(grace=0.05)
            with pytest.raises(LineClosed):
                await call

    run(loop, main())


def test_idle_connections_are_closed_in_time(loop: str) -> None:
    async def main() -> None:
        async with serving() as (server, address), client_of(address, idle_timeout=0.05) as client:
            await client.call("1")
            await server.lines[0].closed.wait()
            assert client.stats().idle == 0
            assert await client.call("2") == "re 2"

    run(loop, main())


def test_one_client_on_loop_after_loop(loop: str, tmp_path: Path) -> None:
    """As in tests, and where a loop is made anew; on two at once it is refused."""

    path = str(tmp_path / "s")
    client = LineClient(f"unix:{path}", end=END)

    async def main() -> None:
        async with serving(unix=path):
            assert await client.call("1") == "re 1"

            def elsewhere() -> None:
                with pytest.raises(LineError, match="two event loops"):
                    asyncio.run(client.call("2"))

            await asyncio.to_thread(elsewhere)
        Path(path).unlink(missing_ok=True)

    run(loop, main())
    run(loop, main())
    run(loop, client.aclose())


@certificates.needs_openssl
def test_tls(loop: str, tmp_path: Path) -> None:
    """Its tickets are no reply; a certificate of nobody's is refused."""
    authority = certificates.Authority(tmp_path)
    authority.make(tmp_path / "cert.pem", tmp_path / "key.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    async def main() -> None:
        trusting = ssl.create_default_context(cafile=str(authority.certificate))
        trusting.check_hostname = False
        async with serving(tls=tls) as (server, address):
            async with client_of(address, ssl=trusting, max_reply=1 << 22) as client:
                for text in ("1", "x" * 1_000_000):
                    assert await client.call(text) == "re " + text
                assert len(server.lines) == 1
                assert client.stats().stale == 0
            async with client_of(address, ssl=ssl.create_default_context()) as client:
                with pytest.raises(LineDown, match="CERTIFICATE_VERIFY_FAILED|certificate"):
                    await client.call("1")

    run(loop, main())
