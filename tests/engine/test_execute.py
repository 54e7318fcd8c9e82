"""leeward.engine.execute: handlers run as under Tornado's own server."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
from engine.hall import ask, connection, engine, served
from tornado import version_info
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPInputError, HTTPMessageDelegate, HTTPServerConnectionDelegate
from tornado.routing import PathMatches, Rule
from tornado.web import Application, RequestHandler, stream_request_body

from leeward.engine import execute
from leeward.engine.accelerate import pristine as knowledge

WAYS = ("tornado", "leeward", "leeward plain")
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")
GET = b"GET /%s HTTP/1.1\r\nHost: a\r\n%s\r\n"
CLOSE = b"Connection: close\r\n"


class Teller(RequestHandler):
    """Answers with what it sees of the task and the context that it runs in."""

    async def prepare(self) -> None:  # type: ignore[override]
        self.task = asyncio.current_task()
        self.before = VARIABLE.get()
        VARIABLE.set(f"of {self.request.path}")

    async def get(self) -> None:
        first = asyncio.current_task() is self.task, VARIABLE.get()
        await asyncio.sleep(0)
        child = await asyncio.create_task(self.child())
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(5)
        except TimeoutError:
            timed = True
        self.finish(
            json.dumps(
                {
                    "task": type(self.task).__name__,
                    "in all": self.task in asyncio.all_tasks(),
                    "before": self.before,
                    "first": first,
                    "later": [asyncio.current_task() is self.task, VARIABLE.get()],
                    "child": child,
                    "timeout": timed,
                }
            )
        )

    async def child(self) -> str:
        return VARIABLE.get()


class Plain(RequestHandler):
    def get(self) -> None:
        before = VARIABLE.get()
        VARIABLE.set("leaked")
        task = asyncio.current_task()
        self.write({"before": before, "task": task is not None and not task.done()})


async def each(application: Callable[[], Application], request: bytes) -> dict[str, bytes]:
    found = {}
    for way in WAYS:
        async with served(application(), way) as port:
            answer = await ask(port, request)
        lines = [it for it in answer.split(b"\r\n") if not it.startswith(b"Date:")]
        found[way] = b"\r\n".join(lines)
    return found


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("path", [b"teller", b"plain"])
def test_tasks_and_context_are_as_under_tornado(path: bytes, loop: str) -> None:
    factory = None if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop

    def application() -> Application:
        return Application([("/teller", Teller), ("/plain", Plain)])

    request = GET % (path, b"") + GET % (path, CLOSE)
    with asyncio.Runner(loop_factory=factory) as runner:
        found = runner.run(each(application, request))
    assert found["leeward"] == found["leeward plain"] == found["tornado"]
    assert found["leeward"].count(b"HTTP/1.1 200 OK") == 2
    assert b"leaked" not in found["leeward"]  # of the first request, in the second


@pytest.mark.skipif(not execute.EAGER, reason="eager tasks are used from Python 3.12.5")
def test_a_handler_without_a_wait_has_answered_before_data_received_returns() -> None:
    async def answered() -> bool:
        member, transport = connection(engine(Application([("/plain", Plain)])))
        member.data_received(GET % (b"plain", b""))
        return bool(transport.written)

    assert asyncio.run(answered())


def test_a_task_factory_gets_every_handler() -> None:
    async def made() -> int:
        tasks = []

        def factory(loop: Any, work: Any, **kwargs: Any) -> Any:
            tasks.append(work.__qualname__)
            return asyncio.Task(work, loop=loop, **kwargs)

        asyncio.get_running_loop().set_task_factory(factory)
        member, transport = connection(engine(Application([("/plain", Plain)])))
        member.data_received(GET % (b"plain", b""))
        await asyncio.sleep(0)
        assert transport.written
        return tasks.count("RequestHandler._execute")

    assert asyncio.run(made()) == 1


def test_before_3_12_5_tasks_are_plain() -> None:
    assert (sys.version_info >= (3, 12, 5)) == execute.EAGER


def test_what_escapes_is_told_to_the_loop_as_under_tornado() -> None:
    class Escapes(RequestHandler):
        async def _execute(self, *args: Any, **kwargs: Any) -> None:
            if self.get_argument("late", ""):
                await asyncio.sleep(0)
            raise RuntimeError("escaped")

    async def told(way: str, path: bytes) -> list[str]:
        heard: asyncio.Queue[Any] = asyncio.Queue()
        asyncio.get_running_loop().set_exception_handler(lambda loop, it: heard.put_nowait(it))
        async with served(Application([("/", Escapes)]), way) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GET % (path, b""))
            async with asyncio.timeout(10):
                context = await heard.get()
            writer.close()
            await writer.wait_closed()
        return [
            type(context["exception"]).__name__,
            str(context["exception"]),
            context["message"].split("(")[0].split(" at ")[0].split("<")[0].split("_look")[0],
        ]

    for path in (b"", b"?late=1"):
        found = [asyncio.run(told(way, path)) for way in WAYS]
        assert found[0][:2] == found[1][:2] == found[2][:2] == ["RuntimeError", "escaped"]
        assert all(it[2].startswith("Exception in callback") for it in found)


def test_a_handler_that_cannot_be_made_is_as_under_tornado(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Unmade(RequestHandler):
        def initialize(self) -> None:
            raise RuntimeError("no")

    found = asyncio.run(each(lambda: Application([("/", Unmade)]), GET % (b"", b"")))
    assert set(found.values()) == {b""}
    assert len([it for it in caplog.records if it.message == "Uncaught exception"]) == 3


def test_pipelined_requests_do_not_nest() -> None:
    depths: list[int] = []

    class Depth(RequestHandler):
        def get(self) -> None:
            frame, depth = sys._getframe(), 0
            while frame is not None:
                depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
            depths.append(depth)

    async def run() -> int:
        turns = 0
        member, transport = connection(engine(Application([("/", Depth)])))
        member.data_received(GET % (b"", b"") * 500)
        while len(transport.written) < 500:
            turns += 1
            await asyncio.sleep(0)
        return turns

    turns = asyncio.run(run())
    assert max(depths) - min(depths) < 10
    assert turns >= 400  # others have their turn between two of one client


# --- what is not ours to serve ---------------------------------------------------------------


def _overriding(name: str) -> type[Application]:
    original = getattr(Application, name)

    def method(self: Application, *args: Any, **kwargs: Any) -> Any:
        CALLED.append(name)
        return original(self, *args, **kwargs)

    return type("Mine", (Application,), {name: method})


CALLED: list[str] = []


@pytest.mark.parametrize("name", ["start_request", "find_handler", "get_handler_delegate"])
def test_what_an_application_overrides_is_called(name: str) -> None:
    CALLED.clear()

    async def run() -> None:
        member, transport = connection(engine(_overriding(name)([("/", Plain)])))
        for turn in range(3):
            member.data_received(GET % (b"", b""))
            while len(transport.written) <= turn:
                await asyncio.sleep(0)

    asyncio.run(run())
    assert [name] * 3 == CALLED


async def three_answers(server: Any) -> bytes:
    """To GET of one client."""
    member, transport = connection(engine(server))
    for turn in range(3):
        member.data_received(GET % (b"", b""))
        while b"".join(transport.written).count(b"HTTP/1.1 200") <= turn:
            await asyncio.sleep(0)
    return b"".join(transport.written)


@pytest.mark.parametrize("name", ["finish", "write_headers", "set_close_callback"])
@pytest.mark.parametrize("where", ["class", "object"])
def test_what_start_request_puts_around_a_connection_is_called(
    name: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever counts answers does so there; Tornado calls each for every one."""
    CALLED.clear()

    class Counting(HTTPServer):
        def start_request(self, server_conn: Any, request_conn: Any) -> HTTPMessageDelegate:
            holder = type(request_conn) if where == "class" else request_conn
            original = getattr(holder, name)

            def counted(*args: Any, **kwargs: Any) -> Any:
                CALLED.append(name)
                return original(*args, **kwargs)

            if where == "object":
                setattr(request_conn, name, counted)
            elif original.__name__ != "counted":
                monkeypatch.setattr(holder, name, counted)
            return super().start_request(server_conn, request_conn)

    found = asyncio.run(three_answers(Counting(Application([("/", Plain)]))))
    assert found.count(b"HTTP/1.1 200") == 3
    assert CALLED.count(name) >= 3


def test_what_stands_on_a_server_itself_is_called() -> None:
    """And who serves may be changed while it serves: a switch to a page of maintenance."""
    CALLED.clear()

    class Switched(Plain):
        def get(self) -> None:
            CALLED.append("switched")
            self.finish("later")

    async def run() -> None:
        server: Any = HTTPServer(Application([("/", Plain)]))
        original = server.start_request

        def start_request(*args: Any) -> Any:
            CALLED.append("start_request")
            return original(*args)

        server.start_request = start_request
        await three_answers(server)
        other = HTTPServer(Application([("/", Plain)]))
        member, transport = connection(engine(other))
        for _ in range(2):
            seen = len(transport.written)
            member.data_received(GET % (b"", b""))
            while len(transport.written) == seen:
                await asyncio.sleep(0)
            other.request_callback = Application([("/", Switched)])

    asyncio.run(run())
    assert CALLED == ["start_request"] * 3 + ["switched"]


def test_a_head_that_is_made_a_get_has_no_body() -> None:
    """As under Tornado, which cuts: the next answer would begin in the middle of it."""

    class Both(RequestHandler):
        def prepare(self) -> None:
            self.request.method = "GET"

        def get(self) -> None:
            self.write("a body")

    def application() -> Application:
        return Application([("/", Both)])

    found = asyncio.run(each(application, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert not any(b"a body" in answer for answer in found.values())


@pytest.mark.parametrize("path", execute.REPLACED)
def test_an_unknown_function_on_the_way_leaves_it_to_tornado(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> execute.Dispatch | None:
        return execute.dispatch(Application([]), asyncio.get_running_loop(), print, set())

    assert asyncio.run(run()) is not None
    table = {python: {**rows, path: frozenset()} for python, rows in knowledge.KNOWN.items()}
    monkeypatch.setattr(knowledge, "KNOWN", table)
    assert asyncio.run(run()) is None


def test_other_targets_and_streamed_bodies_are_tornados() -> None:
    @stream_request_body
    class Streamed(RequestHandler):
        def prepare(self) -> None:
            self.pieces: list[bytes] = []

        def data_received(self, chunk: bytes) -> None:
            self.pieces.append(chunk)

        def post(self) -> None:
            self.write(b"|".join(self.pieces))

    class Whole(RequestHandler):
        def post(self) -> None:
            self.write(self.request.body + repr(self.request.arguments).encode())

    class Bare(HTTPServerConnectionDelegate):
        def start_request(self, server_conn: Any, request_conn: Any) -> Any:
            return Application([("/.*", Plain)]).start_request(server_conn, request_conn)

    def application() -> Application:
        return Application(
            [
                ("/streamed", Streamed),
                ("/whole", Whole),
                ("/bare.*", Bare()),
                Rule(PathMatches("/nested"), Application([("/nested", Plain)])),
            ]
        )

    def post(path: bytes, body: bytes, more: bytes = b"") -> bytes:
        size = b"Content-Length: %d\r\n" % len(body)
        return b"POST /%s HTTP/1.1\r\nHost: a\r\n%s%s\r\n%s" % (path, size, more, body)

    form = b"Content-Type: application/x-www-form-urlencoded\r\n"
    chunked = b"POST /whole HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    request = (
        post(b"streamed", b"abc")
        + post(b"whole?q=%20&a", b"a=1&b=2", form)
        + post(b"whole", b"x" * 100_000)
        + chunked
        + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        + GET % (b"bare", b"")
        + GET % (b"nested", b"")
        + GET % (b"nowhere", CLOSE)
    )
    found = asyncio.run(each(application, request))
    assert found["leeward"] == found["leeward plain"] == found["tornado"]
    assert found["leeward"].count(b"HTTP/1.1 200 OK") == 6
    assert found["leeward"].count(b"HTTP/1.1 404 Not Found") == 1


def test_in_debug_mode_templates_are_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    resets: list[int] = []

    class Loader:
        def reset(self) -> None:
            resets.append(1)

    monkeypatch.setattr(RequestHandler, "_template_loaders", {"x": Loader()})

    async def run() -> None:
        application = Application([("/", Plain)], compiled_template_cache=False)
        member, transport = connection(engine(application))
        for turn in range(3):
            member.data_received(GET % (b"", b""))
            while len(transport.written) <= turn:
                await asyncio.sleep(0)

    asyncio.run(run())
    assert len(resets) == 3


def test_log_lines_are_tornados(caplog: pytest.LogCaptureFixture) -> None:
    class Fails(RequestHandler):
        def get(self) -> None:
            raise ValueError("inside")

    with caplog.at_level(logging.INFO):
        asyncio.run(each(lambda: Application([("/", Fails)]), GET % (b"?a=b", CLOSE)))
    lines = [it.getMessage() for it in caplog.records if it.name == "tornado.application"]
    assert len(lines) == 3
    assert len(set(lines)) == 1
    assert "HTTPServerRequest(protocol='http', host='a'" in lines[0]


class Raises(HTTPServerConnectionDelegate):
    """A program's own delegates, which raise where they are told to; `said` is what they heard."""

    def __init__(self, where: str, error: type[Exception]) -> None:
        self.where, self.error = where, error
        self.said: list[str] = []
        self.left = asyncio.Event()

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        return _Raising(self)


class _Raising(HTTPMessageDelegate):
    def __init__(self, of: Raises) -> None:
        self._of = of

    def _hears(self, what: str) -> None:
        self._of.said.append(what)
        if what == self._of.where:
            raise self._of.error("on purpose")

    def headers_received(self, start_line: object, headers: object) -> None:
        self._hears("headers")

    def data_received(self, chunk: bytes) -> None:
        self._hears("data")

    def finish(self) -> None:
        self._hears("finish")

    def on_connection_close(self) -> None:
        self._of.said.append("left")
        self._of.left.set()


@pytest.mark.parametrize("error", [ValueError, HTTPInputError])
@pytest.mark.parametrize("where", ["headers", "data", "finish"])
def test_a_delegate_that_raises_is_told_of_the_end(where: str, error: type[Exception]) -> None:
    heard = {}
    if where == "finish" and version_info < (6, 5):
        pytest.skip("this Tornado does not tell it")

    async def main(by: str) -> list[str]:
        delegates: Any = Raises(where, error)
        async with served(delegates, by) as port:
            await ask(port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
            await asyncio.wait_for(delegates.left.wait(), 10)
        return list(delegates.said)

    for by in WAYS:
        heard[by] = asyncio.run(main(by))
    assert heard["leeward"] == heard["leeward plain"] == heard["tornado"]
