"""A client that leaves takes its work along: told once, ended by the policy, nothing kept."""

from __future__ import annotations

import asyncio
import datetime
import gc
import logging
import socket
import struct
import threading
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest
from engine.hall import serving
from tornado import gen, locks
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler, stream_request_body

import leeward

WAYS = ("engine", "engine plain", "adapter")
LOOPS = ("asyncio", "uvloop")
HEAD = b"%s /%s HTTP/1.1\r\nHost: a\r\n%s\r\n"


def run(loop: str, main: Callable[[], Awaitable[None]]) -> None:
    factory = None if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        complaints: list[dict[str, Any]] = []

        async def timed() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, it: complaints.append(it))
            async with asyncio.timeout(20):
                await main()

        runner.run(timed())
        assert not complaints


class Notes:
    """What the handlers of one test have seen."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.condition = locks.Condition()
        self.shared: asyncio.Future[str] | None = None
        self.gate = threading.Event()
        self._changed = asyncio.Event()

    def add(self, what: str) -> None:
        self.seen[what] += 1
        self._changed.set()

    async def until(self, what: str, count: int = 1) -> None:
        while self.seen[what] < count:
            self._changed.clear()
            await self._changed.wait()


class Noting(RequestHandler):
    def initialize(self, notes: Notes) -> None:
        self.notes = notes
        self.notes.add("made")

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.notes.add("left")

    def on_finish(self) -> None:
        self.notes.add(f"finished {self.get_status()}")


class Poll(Noting):
    async def get(self) -> None:
        self.notes.add("waits")
        try:
            await self.notes.condition.wait()
            self.notes.add("notified")
        finally:
            self.notes.add("over")
        self.finish("news")

    post = get


class OldPoll(Noting):
    @gen.coroutine
    def get(self) -> Generator[Any, Any, None]:
        self.notes.add("waits")
        try:
            yield self.notes.condition.wait()
            self.notes.add("notified")
        finally:
            self.notes.add("over")
        self.finish("news")

    post = get


class Shared(Noting):
    async def get(self) -> None:
        assert self.notes.shared is not None
        self.notes.add("waits")
        self.finish(await self.by(self.notes.shared))

    def by(self, shared: asyncio.Future[str]) -> Awaitable[Any]:
        return shared


class Shielded(Shared):
    def by(self, shared: asyncio.Future[str]) -> Awaitable[Any]:
        return asyncio.shield(shared)


class Gathered(Shared):
    def by(self, shared: asyncio.Future[str]) -> Awaitable[Any]:
        return asyncio.gather(shared, asyncio.wait_for(asyncio.shield(shared), 3600))


class Timed(Shared):
    def by(self, shared: asyncio.Future[str]) -> Awaitable[Any]:
        return gen.with_timeout(datetime.timedelta(hours=1), shared)


class Grouped(Shared):
    async def by(self, shared: asyncio.Future[str]) -> str:
        async with asyncio.TaskGroup() as members:
            member = members.create_task(asyncio.wait_for(shared, 3600))
        return member.result()


class Anyway(Poll):
    @leeward.finish_anyway
    async def get(self) -> None:
        await super().get()


@leeward.cancel_on_disconnect
class Soon(OldPoll):
    pass


class Stubborn(Noting):
    async def get(self) -> None:
        self.notes.add("waits")
        while True:
            try:
                await self.notes.condition.wait()
                break
            except asyncio.CancelledError:
                self.notes.add("cancelled")
        self.notes.add("over")


class Thread(Noting):
    async def get(self) -> None:
        self.notes.add("waits")
        try:
            await asyncio.get_running_loop().run_in_executor(None, self.notes.gate.wait)
        finally:
            self.notes.add("over")


class Quick(Noting):
    async def get(self) -> None:
        await asyncio.sleep(0)
        self.finish("at once")


class Events(Noting):
    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.write("data: 1\n\n")
        await self.flush()
        self.notes.add("waits")
        try:
            await self.notes.condition.wait()
        finally:
            self.notes.add("over")


class Raises(Poll):
    def on_connection_close(self) -> None:
        super().on_connection_close()
        raise RuntimeError("clean-up fails")


@stream_request_body
class Upload(Noting):
    async def data_received(self, chunk: bytes) -> None:
        self.notes.add("data")

    async def post(self) -> None:
        self.notes.add("waits")
        try:
            await self.notes.condition.wait()
        finally:
            self.notes.add("over")


HANDLERS = (
    *(Poll, OldPoll, Shared, Shielded, Gathered, Timed, Grouped, Anyway, Soon, Stubborn, Thread),
    *(Quick, Events, Raises, Upload),
)
SHARED = ("Shared", "Shielded", "Gathered", "Timed", "Grouped")


def application(notes: Notes) -> Application:
    return Application([(f"/{it.__name__}", it, {"notes": notes}) for it in HANDLERS])


class Client:
    """One that leaves when it is told to, in one of three ways."""

    def __init__(self, port: int, *parts: bytes) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        for part in parts:
            self.sock.sendall(part)

    async def read(self, until: bytes) -> bytes:
        self.sock.setblocking(False)
        data = b""
        while until not in data:
            more = await asyncio.get_running_loop().sock_recv(self.sock, 65536)
            assert more, data
            data += more
        return data

    def leave(self, how: str) -> None:
        if how == "half":
            self.sock.shutdown(socket.SHUT_WR)
            return
        if how == "reset":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def get(name: str, method: str = "GET", headers: str = "") -> bytes:
    return HEAD % (method.encode(), name.encode(), headers.encode())


# --- told once -----------------------------------------------------------------------------------

REQUESTS = {
    "first": (get("Poll"),),
    "of gen.coroutine": (get("OldPoll"),),
    "kept alive": (get("Quick"), get("Poll")),
    "pipelined": (get("Quick") + get("Quick") + get("Poll"),),
    "streamed": (get("Upload", "POST", "Content-Length: 4\r\n") + b"body",),
    "chunked": (
        get("Upload", "POST", "Transfer-Encoding: chunked\r\n"),
        b"4\r\nbody\r\n0\r\n\r\n",
    ),
    "begun answer": (get("Events"),),
    "clean-up raises": (get("Raises"),),
    "with a body": (get("Poll", "POST", "Content-Length: 4\r\n") + b"body",),
    # Tornado's server does not look at a connection that has bytes which it has not used.
    "more behind": (get("Quick") + get("Poll") + get("Poll"),),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("by", (*WAYS, "tornado"))
def test_told_exactly_once(loop: str, by: str) -> None:
    """As by Tornado's own server, whatever the request and however its client leaves."""

    async def main() -> None:
        told: dict[str, int] = {}
        expected: dict[str, int] = {}
        for what, parts in REQUESTS.items():
            for how in ("close", "reset", "half"):
                if what == "more behind" and "engine" not in by:
                    continue
                told[f"{what}, {how}"] = await times(parts, how)
                expected[f"{what}, {how}"] = 1
        assert told == expected

    async def times(parts: tuple[bytes, ...], how: str) -> int:
        notes = Notes()
        if by == "tornado":
            server = HTTPServer(application(notes))
            listener = socket.create_server(("127.0.0.1", 0))
            listener.setblocking(False)
            server.add_sockets([listener])
            await leaves(listener.getsockname()[1], notes, parts, how)
            server.stop()
        else:
            async with serving(application(notes), by, on_disconnect="notify") as (port, _):
                await leaves(port, notes, parts, how)
        return notes.seen["left"]

    async def leaves(port: int, notes: Notes, parts: tuple[bytes, ...], how: str) -> None:
        client = Client(port)
        for number, part in enumerate(parts, 1):
            client.sock.sendall(part)
            if number < len(parts) and b"Quick" in part:
                await client.read(b"at once")
        await notes.until("waits")
        client.leave(how)
        await notes.until("left")
        await asyncio.sleep(0.02)
        notes.condition.notify_all()
        await notes.until("finished 200")
        client.sock.close()
        await asyncio.sleep(0.02)

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_half_a_body(loop: str, by: str, how: str) -> None:
    """A handler that reads its body as it comes is told; one that is not made yet cannot be."""

    async def main() -> None:
        notes = Notes()
        async with serving(application(notes), by) as (port, server):
            whole = Client(port, get("Poll", "POST", "Content-Length: 9\r\n") + b"half")
            whole.leave(how)
            client = Client(port, get("Upload", "POST", "Content-Length: 9\r\n") + b"half")
            await notes.until("data")
            client.leave(how)
            await notes.until("left")
            await asyncio.sleep(0.05)
            assert (notes.seen["left"], notes.seen["made"], notes.seen["waits"]) == (1, 1, 0)
            assert not server.orphans(), "Tornado ends it by its body"

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("by", WAYS)
def test_never_once_it_is_answered(loop: str, by: str) -> None:
    async def main() -> None:
        notes = Notes()
        async with serving(application(notes), by) as (port, _):
            for how in ("close", "reset", "half"):
                client = Client(port, get("Quick"))
                await client.read(b"at once")
                client.leave(how)
                client.sock.close()
            fresh = Client(port, get("Quick"))
            await fresh.read(b"at once")
            await asyncio.sleep(0.05)
            assert notes.seen["left"] == 0 and notes.seen["finished 200"] == 4
            fresh.leave("close")

    run(loop, main)


@pytest.mark.parametrize("by", WAYS)
def test_a_handler_that_could_not_be_made_is_not_told(by: str) -> None:
    """As by Tornado: its `initialize` has raised, and what it would clean up is not there."""
    told: list[str] = []

    class Broken(RequestHandler):
        def initialize(self) -> None:
            raise RuntimeError("no database")

        def on_connection_close(self) -> None:
            told.append("left")

    async def main() -> None:
        async with serving(Application([("/", Broken)]), by) as (port, _):
            client = Client(port, get(""))
            client.sock.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(client.sock, 1) == b""
            client.sock.close()
            await asyncio.sleep(0.05)
        assert not told

    run("asyncio", main)


@stream_request_body
class Forgetful(Noting):
    """Does not pass on what it is told."""

    def on_connection_close(self) -> None:
        self.notes.add("left")

    def data_received(self, chunk: bytes) -> None:
        self.notes.add("data")


@pytest.mark.parametrize("by", WAYS)
def test_a_body_that_will_not_come(by: str) -> None:
    """Is not waited for, by nobody: Tornado's handler waits if it is not told."""

    async def main() -> None:
        notes = Notes()
        app = Application([("/", Forgetful, {"notes": notes})])
        async with serving(app, by) as (port, server):
            client = Client(port, get("", "POST", "Content-Length: 9\r\n") + b"half")
            await notes.until("data")
            client.leave("close")
            await notes.until("left")
            await asyncio.sleep(0.05)
            assert len(asyncio.all_tasks()) == 1 and not server.orphans()

    run("asyncio", main)


# --- the policy ----------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("name", ["Poll", "OldPoll", "Events"])
def test_abandoned(loop: str, by: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A GET is ended after its time: its finally runs, on_finish is called, no traceback."""
    caplog.set_level(logging.INFO)

    async def main() -> None:
        notes = Notes()
        async with serving(application(notes), by, abandon_after=0.2) as (port, server):
            client = Client(port, get(name))
            await notes.until("waits")
            began = asyncio.get_running_loop().time()
            client.leave("close")
            await notes.until("left")
            assert notes.seen["over"] == 0
            await notes.until("over")
            assert asyncio.get_running_loop().time() - began >= 0.19
            status = 200 if name == "Events" else 499
            await notes.until(f"finished {status}")
            await asyncio.sleep(0.02)
            assert server.leaving.ended == 1 and not server.orphans()
            assert not notes.condition._waiters
            while not any("ended 1 handler" in it.getMessage() for it in caplog.records):
                await asyncio.sleep(0.02)
        assert notes.seen["left"] == 1

    run(loop, main)
    assert not [it for it in caplog.records if it.levelno >= logging.ERROR or it.exc_info]
    (line,) = [
        it.getMessage() for it in caplog.records if it.name == "leeward" and "left" in it.msg
    ]
    assert f"{__name__}.{name} 1" in line


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("name", ["Poll", "OldPoll"])
def test_what_writes_runs_to_its_end(by: str, name: str) -> None:
    """A POST is an orphan until it ends by itself."""

    async def main() -> None:
        notes = Notes()
        async with serving(application(notes), by, abandon_after=0.05) as (port, server):
            client = Client(port, get(name + "?a=1", "POST", "Content-Length: 0\r\n"))
            await notes.until("waits")
            client.leave("close")
            await notes.until("left")
            while not server.orphans():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            (orphan,) = server.orphans()
            assert orphan["age"] > 0.1
            assert (orphan["method"], orphan["url"], orphan["state"]) == (
                "POST",
                f"/{name}?a=1",
                "runs",
            )
            assert orphan["handler"] == f"{__name__}.{name}"
            notes.condition.notify_all()
            await notes.until("notified")
            await notes.until("finished 200")
            await asyncio.sleep(0.02)
            assert not server.orphans() and server.leaving.ended == 0

    run("asyncio", main)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("name", ["Poll", "OldPoll"])
def test_cancelled_at_once(by: str, name: str) -> None:
    async def main() -> None:
        notes = Notes()
        async with serving(application(notes), by, on_disconnect="cancel") as (port, _):
            client = Client(port, get(name, "POST", "Content-Length: 0\r\n"))
            await notes.until("waits")
            client.leave("reset")
            await notes.until("finished 499")
            assert (notes.seen["left"], notes.seen["over"]) == (1, 1)

    run("asyncio", main)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("policy", ["abandon", "cancel", "notify"])
def test_marks_beat_the_policy(by: str, policy: str) -> None:
    async def main() -> None:
        notes = Notes()
        settings = {"on_disconnect": policy, "abandon_after": 0.05}
        async with serving(application(notes), by, **settings) as (port, server):
            anyway = Client(port, get("Anyway"))
            soon = Client(port, get("Soon", "POST", "Content-Length: 0\r\n"))
            await notes.until("waits", 2)
            anyway.leave("close")
            soon.leave("close")
            await notes.until("finished 499")
            await asyncio.sleep(0.2)
            (orphan,) = server.orphans()
            assert orphan["handler"].endswith(".Anyway")
            notes.condition.notify_all()
            await notes.until("finished 200")

    run("asyncio", main)


def test_notify_ends_nothing() -> None:
    async def main() -> None:
        notes = Notes()
        settings = {"on_disconnect": "notify", "abandon_after": 0.05}
        async with serving(application(notes), "engine", **settings) as (port, server):
            client = Client(port, get("Poll"))
            await notes.until("waits")
            client.leave("close")
            await notes.until("left")
            await asyncio.sleep(0.2)
            assert [it["state"] for it in server.orphans()] == ["runs"]
            notes.condition.notify_all()
            await notes.until("finished 200")

    run("asyncio", main)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("by", WAYS)
def test_who_stays_gets_the_answer(loop: str, by: str) -> None:
    """They wait for the same future as the one who has left."""

    async def main() -> None:
        notes = Notes()
        notes.shared = asyncio.get_running_loop().create_future()
        async with serving(application(notes), by, on_disconnect="cancel") as (port, _):
            clients = [Client(port, get("Shared")) for _ in range(3)]
            await notes.until("waits", 3)
            clients[0].leave("close")
            await notes.until("finished 499")
            notes.shared.set_result("news")
            for client in clients[1:]:
                assert b"news" in await client.read(b"news")
                client.leave("close")

    run(loop, main)


@pytest.mark.parametrize("by", WAYS)
def test_one_that_will_not_end(by: str) -> None:
    """Cancelled three times, then counted and left alone."""

    async def main() -> None:
        notes = Notes()
        async with serving(application(notes), by, abandon_after=0.05) as (port, server):
            client = Client(port, get("Stubborn"))
            await notes.until("waits")
            client.leave("close")
            await notes.until("cancelled", 3)
            await asyncio.sleep(0.1)
            assert server.leaving.stubborn == 1
            assert [it["state"] for it in server.orphans()] == ["cancelled"]
            notes.condition.notify_all()
            await notes.until("over")
            await asyncio.sleep(0.02)
            assert not server.orphans() and notes.seen["cancelled"] == 3

    run("asyncio", main)


@pytest.mark.parametrize("by", WAYS)
def test_a_thread_cannot_be_ended(by: str) -> None:
    async def main() -> None:
        notes = Notes()
        try:
            async with serving(application(notes), by, on_disconnect="cancel") as (port, server):
                client = Client(port, get("Thread"))
                await notes.until("waits")
                client.leave("close")
                await notes.until("finished 499")
                await asyncio.sleep(0.02)
                assert server.leaving.in_threads == 1
                assert [it["state"] for it in server.orphans()] == ["in a thread"]
                notes.gate.set()
                while server.orphans():
                    await asyncio.sleep(0.01)
        finally:
            notes.gate.set()

    run("asyncio", main)


# --- nothing is kept -----------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("name", ["Poll", "OldPoll", *SHARED])
def test_nothing_stays_of_two_hundred(loop: str, by: str, name: str) -> None:
    """Tasks, futures, connections and handlers are back to what they were."""
    handlers: weakref.WeakSet[RequestHandler] = weakref.WeakSet()

    class Counting(Noting):
        def on_finish(self) -> None:
            handlers.add(self)
            super().on_finish()

    async def main() -> None:
        notes = Notes()
        notes.shared = asyncio.get_running_loop().create_future()
        kind = type(name, (Counting, {it.__name__: it for it in HANDLERS}[name]), {})
        app = Application([("/", kind, {"notes": notes})])
        async with serving(app, by, abandon_after=0.1) as (port, server):
            before = 0
            for wave in range(2):
                clients = [Client(port, get("")) for _ in range(100)]
                await notes.until("waits", 100 * (wave + 1))
                for number, client in enumerate(clients):
                    client.leave(("close", "reset")[number % 2])
                await notes.until("finished 499", 100 * (wave + 1))
                await asyncio.sleep(0.1)
                assert len(asyncio.all_tasks()) == 1
                assert not notes.condition._waiters and not server.live
                assert len(notes.shared._callbacks or ()) <= 1 and not notes.shared.done()
                gc.collect()
                count = sum(isinstance(it, asyncio.Future) for it in gc.get_objects())
                before = before or count
            assert count <= before + 3
            assert not handlers
            assert notes.seen["left"] == 200
        notes.shared.cancel()

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", ["Poll", "OldPoll", "Events"])
def test_a_poll_of_too_great_an_age(loop: str, name: str) -> None:
    """The client is there and does nothing: its poll is ended all the same, with its handler."""

    async def main() -> None:
        notes = Notes()
        settings = {"max_poll_age": 0.2, "on_disconnect": "notify"}
        async with serving(application(notes), "engine", **settings) as (port, server):
            client = Client(port, get(name))
            if name == "Events":
                data = await client.read(b"\r\n0\r\n\r\n")
            else:
                data = await client.read(b"Retry-After: 1")
                assert data.startswith(b"HTTP/1.1 503 ")
            await notes.until("over")
            await notes.until(f"finished {200 if name == 'Events' else 503}")
            client.sock.close()
            while server.live:
                await asyncio.sleep(0.01)
            assert server.ends.counts["poll"] == 1  # type: ignore[union-attr]
            # What is answered in time is not touched, and the connection is kept.
            kept = Client(port, get("Quick"))
            await kept.read(b"at once")
            await asyncio.sleep(0.5)
            kept.sock.send(get("Quick"))
            await kept.read(b"at once")
            kept.sock.close()

    run(loop, main)
