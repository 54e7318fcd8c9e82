"""A server that accepts and does not answer is found by a check, within the caller's deadline."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from lines.server import END, LOOPS, Answer, Line, Server, client_of, echo, run, serving
from lines.test_forks import forked

from leeward import LineClient
from leeward._lines.connection import Connection
from leeward.lineclient import Ended, LineBusy, LineDown, LineTimeout

pytestmark = [
    pytest.mark.parametrize("loop", LOOPS),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
#: Asked each time, and not the name of what callers ask.
CHECKED: dict[str, Any] = {"check": b"status", "check_reply": b"re status", "check_after": 0}
#: Seconds that a machine which is busy elsewhere may add to a deadline.
SLACK = 2.0


@contextmanager
def within(deadline: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < deadline + SLACK


async def never(line: Line, request: bytes) -> None:
    await line.reader.read()  # until the client closes it


def hangs_from(number: int) -> Answer:
    """Each connection, from this request on."""
    asked: dict[Line, int] = {}

    async def answer(line: Line, request: bytes) -> None:
        asked[line] = asked.get(line, 0) + 1
        await (echo if asked[line] < number else never)(line, request)

    return answer


def of_callers(server: Server) -> list[bytes]:
    return [it for it in server.requests if it != b"status"]


# --- servers that never answer ----------------------------------------------------------


def test_one_that_never_answers_is_down(loop: str) -> None:
    """Nothing of the caller's is sent, long before his deadline; the next is told at once."""

    async def main() -> None:
        options = {**CHECKED, "check_timeout": 0.1, "first_pause": 20.0, "longest_pause": 20.0}
        async with serving(never) as (server, address), client_of(address, **options) as client:
            said = (
                rf"{address}: no connection: the check b'status\\r\\n' got no reply in \d+\.\d\d s"
            )
            with within(0.1):
                for _ in range(3):
                    with pytest.raises(LineDown, match=said + "; 0 bytes had come"):
                        await client.call("x", timeout=20)
            assert (server.requests, len(server.lines)) == ([b"status"], 1)
            stats = client.stats()
            assert (stats.checks, stats.failed_checks, stats.down, stats.checking) == (1, 1, 3, 0)
            assert not client._here()._checks._asked

    run(loop, main())


@pytest.mark.parametrize("bound", ["timeout", "wait_timeout"])
def test_a_callers_deadline_is_kept_while_a_check_lasts(loop: str, bound: str) -> None:
    """He is told what it has got so far."""

    async def answer(line: Line, request: bytes) -> None:
        await line.send(b"re st")
        await never(line, request)

    async def main() -> None:
        options = {**CHECKED, "check_timeout": 20.0, bound: 0.1}
        async with serving(answer) as (server, address), client_of(address, **options) as client:
            said = r"waited \d+\.\d+ s for a connection that answers: the check .* 5 bytes had come"
            error = LineTimeout if bound == "timeout" else LineBusy
            with within(0.1), pytest.raises(error, match=f"{address}: {said}, .*b're st'; nothing"):
                await client.call("x")
            assert of_callers(server) == []
            assert client.stats().checking == 1, "it goes on: the next caller may have it"

    run(loop, main())


# --- servers that hang later --------------------------------------------------------------


def test_one_that_hung_meanwhile_costs_half_of_the_time_and_no_call(loop: str) -> None:
    """Its connections that were idle are closed by one check, and a new one is opened."""

    async def main() -> None:
        # On each connection: its check, a call, and nothing any more.
        options = {**CHECKED, "check_timeout": 20.0}
        go = asyncio.Event()
        hanging = hangs_from(3)

        async def answer(line: Line, request: bytes) -> None:
            if request == b"first":
                await go.wait()
            await hanging(line, request)

        async with serving(answer) as (server, address), client_of(address, **options) as client:
            calls = [asyncio.ensure_future(client.call("first")) for _ in range(4)]
            while server.requests.count(b"first") < 4:
                await asyncio.sleep(0)
            go.set()
            await asyncio.gather(*calls)
            with within(1.0):
                assert await client.call("x", timeout=2.0) == "re x"
            assert len(server.lines) == 5
            for line in server.lines[:4]:
                await line.closed.wait()
            stats = client.stats()
            assert (stats.checks, stats.failed_checks, stats.down) == (6, 1, 0)
            assert of_callers(server) == [b"first"] * 4 + [b"x"]

    run(loop, main())


def test_who_comes_later_and_has_less_time_shortens_it(loop: str) -> None:
    """And has his reply in time, after him who came before."""

    async def main() -> None:
        options = {**CHECKED, "check_timeout": 20.0, "connections": 1}
        async with serving(hangs_from(3)) as (_, address), client_of(address, **options) as client:
            await client.call("1")
            patient = asyncio.ensure_future(client.call("2", timeout=20))
            while not client.stats().checking:
                await asyncio.sleep(0)
            with within(2.0):
                assert await client.call("3", timeout=2.0) == "re 3"
            assert await patient == "re 2"
            assert client.stats().failed_checks == 2

    run(loop, main())


def test_one_that_hangs_from_the_second_request_on(loop: str) -> None:
    """It answers its check, and the call's deadline passes; no worse than without a check."""

    async def main() -> None:
        async with serving(hangs_from(2)) as (_, address), client_of(address, **CHECKED) as client:
            for _ in range(2):
                with within(0.5), pytest.raises(LineTimeout, match="no reply: sent after"):
                    await client.call("x", timeout=0.5)
            stats = client.stats()
            assert (stats.opened, stats.checks, stats.failed_checks) == (2, 2, 0)

    run(loop, main())


# --- servers that answer wrongly ------------------------------------------------------------


def fails(body: bytes) -> bool:
    raise KeyError(body)


def guess(buffer: bytes | bytearray, seen: int) -> Any:
    return Ended(len(buffer), len(buffer), clear=False)


WRONG = {
    "other": (b"ERROR" + END, {}, "got b'ERROR', which is not what check_reply= says"),
    "pattern": (b"OK?" + END, {"check_reply": re.compile(rb"OK")}, "got b'OK\\?', which"),
    "function": (b"x" + END, {"check_reply": lambda body: None}, "got b'x', which"),
    "raises": (b"x" + END, {"check_reply": fails}, r"check_reply= fails: KeyError\(b'x'\)"),
    "two": (b"re status" + END + b"!", {}, "more than one reply: 1 bytes behind: b'!'"),
    "guess": (b"re status", {"check_end": guess}, "whose end is a guess"),
    "end": (b"x", {"check_end": lambda *_: 1 // 0}, "check_end= fails at: ZeroDivisionError"),
    "large": (b"x" * 99, {"max_reply": 50}, "got 99 bytes and no end"),
    "gone": (b"", {}, "got no reply: the server closed it"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_told_at_once(loop: str, name: str) -> None:
    """With the server, the check and what it got; nothing of the caller's is sent."""
    reply, options, said = WRONG[name]

    async def answer(line: Line, request: bytes) -> None:
        await line.send(reply)
        if not reply:
            line.writer.close()

    async def main() -> None:
        async with (
            serving(answer) as (server, address),
            client_of(address, **{**CHECKED, **options}) as client,
        ):
            with within(0), pytest.raises(LineDown) as caught:
                await client.call("x")
            assert re.search(rf"{address}: .*the check b'status\\r\\n' .*{said}", str(caught.value))
            assert of_callers(server) == []

    run(loop, main())


def test_what_has_come_before_the_check_is_not_its_reply(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new connection is a failure then, and not opened again and again; an old one is stale."""

    async def main() -> None:
        options = {**CHECKED, "first_pause": 0.001, "longest_pause": 0.001}
        async with serving() as (server, address), client_of(address, **options) as client:
            with monkeypatch.context() as patch:
                patch.setattr(Connection, "is_silent", lambda it: False)
                said = r"the server closed it, or said something \(greeting=\?\), before the check"
                with pytest.raises(LineDown, match=f"{address}: no connection: {said}"):
                    await client.call("x")
            assert client.stats().opened == 1
            await asyncio.sleep(0.01)  # the pause
            assert await client.call("1") == "re 1"
            silent = iter([False, True, True])
            with monkeypatch.context() as patch:
                patch.setattr(Connection, "is_silent", lambda it: next(silent))
                assert await client.call("2") == "re 2"
            stats = client.stats()
            assert (stats.opened, stats.checks, stats.stale) == (3, 2, 2)
            assert server.requests == [b"status", b"1", b"status", b"2"]

    run(loop, main())


def test_a_server_that_says_more_behind_each_check_is_down(loop: str) -> None:
    """It is not asked again and again, until the deadline of whoever waits."""
    lines: list[Line] = []

    async def answer(line: Line, request: bytes) -> None:
        lines.append(line)
        await echo(line, request)

    def right(body: bytes) -> bool:
        os.write(lines[-1].writer.get_extra_info("socket").fileno(), b"> ")
        return body == b"re status"

    async def main() -> None:
        options = {**CHECKED, "check_reply": right, "first_pause": 20.0, "longest_pause": 20.0}
        async with serving(answer) as (server, address), client_of(address, **options) as client:
            said = r"the server closed it, or said something \(greeting=\?\), before the call"
            for _ in range(2):
                with within(0.0), pytest.raises(LineDown, match=f"no connection: {said}"):
                    await client.call("1")
            assert server.requests == [b"status"]
            stats = client.stats()
            assert (stats.stale, stats.down, stats.opened) == (1, 2, 1)

    run(loop, main())


# --- servers that are fine --------------------------------------------------------------------


def test_a_server_that_is_fine_is_asked_when_it_was_idle(loop: str) -> None:
    """And when it is new; not before each call."""

    async def main() -> None:
        options = {**CHECKED, "check_after": 30.0}
        async with serving() as (server, address), client_of(address, **options) as client:
            for n in range(3):
                assert await client.call(str(n)) == f"re {n}"
            assert server.requests == [b"status", b"0", b"1", b"2"]
        async with serving() as (server, address), client_of(address, **CHECKED) as client:
            for n in range(2):
                with within(0.0):
                    assert await client.call(str(n)) == f"re {n}"
            assert server.requests == [b"status", b"0", b"status", b"1"]
            assert len(server.lines) == 1

    run(loop, main())


def test_a_check_that_ends_otherwise(loop: str) -> None:
    """The replies to calls end as they did."""

    async def main() -> None:
        options = {**CHECKED, "check_end": b"us" + END, "check_reply": re.compile(rb"re .*")}
        async with serving() as (_, address), client_of(address, **options, timeout=5) as client:
            assert [await client.call(text) for text in "ab"] == ["re a", "re b"]

    run(loop, main())


def test_many_at_once_get_their_own(loop: str) -> None:
    """And no connection is asked twice at a time, nor more of them than there are."""
    asked: set[Line] = set()

    async def answer(line: Line, request: bytes) -> None:
        assert line not in asked, "a second request before the first was answered"
        asked.add(line)
        await asyncio.sleep(0)
        asked.discard(line)
        await echo(line, request)

    async def main() -> None:
        async with serving(answer) as (server, address), client_of(address, **CHECKED) as client:
            replies = await asyncio.gather(*(client.call(str(n)) for n in range(100)))
            assert replies == [f"re {n}" for n in range(100)]
            assert len(server.lines) == 4 and client.stats().failed_checks == 0

    run(loop, main())


def test_nothing_is_asked_while_nobody_calls(loop: str) -> None:
    """No timer is left behind: only the one that closes what was idle for long."""

    async def main() -> None:
        options = {**CHECKED, "idle_timeout": 0}
        async with serving() as (server, address), client_of(address, **options) as client:
            await client.call("1")
            lender = client._here()
            assert lender._timer is None and not lender._checks._asked
            await asyncio.sleep(0.1)
            assert server.requests == [b"status", b"1"]

    run(loop, main())


def test_the_caller_that_is_cancelled_leaves_its_check(loop: str) -> None:
    """Its reply comes to nobody, and the connection is the next caller's."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def answer(line: Line, request: bytes) -> None:
        asked.set()
        await go.wait()
        await echo(line, request)

    async def main() -> None:
        options = {**CHECKED, "check_after": 30.0}
        async with serving(answer) as (server, address), client_of(address, **options) as client:
            call = asyncio.ensure_future(client.call("1"))
            await asked.wait()
            call.cancel()
            await asyncio.wait([call])
            go.set()
            assert await client.call("2") == "re 2"
            assert of_callers(server) == [b"2"]

    run(loop, main())


def test_closing_does_not_wait_for_a_check(loop: str) -> None:
    async def main() -> None:
        async with serving(never) as (server, address):
            client = LineClient(address, end=END, **CHECKED)
            call = asyncio.ensure_future(client.call("1"))
            while not client.stats().checking:
                await asyncio.sleep(0)
            with within(0.0):
                await client.aclose(grace=20)
            await asyncio.wait([call])
            assert "is closed" in str(call.exception())
            await server.lines[0].closed.wait()

    run(loop, main())


def test_a_child_has_checks_of_its_own(loop: str) -> None:
    """One that is in flight at the fork is its parent's, and stays so."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def answer(line: Line, request: bytes) -> None:
        if not asked.is_set():
            asked.set()
            await go.wait()
        await echo(line, request)

    async def main() -> None:
        async with serving(answer) as (server, address), client_of(address, **CHECKED) as client:
            call = asyncio.ensure_future(client.call("parent"))
            await asked.wait()

            async def child() -> None:
                assert await client.call("child") == "re child"
                stats = client.stats()
                assert (stats.checks, stats.failed_checks, stats.pid) == (1, 0, os.getpid())
                await client.aclose()

            assert await forked(child) == 0
            go.set()
            assert await call == "re parent"
            assert client.stats().checks == 1
            assert server.requests == [b"status", b"status", b"child", b"parent"]

    run(loop, main())
