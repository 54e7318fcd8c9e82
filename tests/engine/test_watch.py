"""leeward.engine.accelerate.watch: what is patched while requests are served is honoured."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import pytest
from engine.hall import connection, engine
from tornado import httputil, web
from tornado.web import Application, RequestHandler

from leeward.engine.accelerate import watch as watch_module
from leeward.engine.accelerate.install import installed
from leeward.engine.accelerate.watch import PLACES, Watch
from leeward.engine.execute import SKIPPED

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(watch_module, "LOOK", 0.0)  # at each request
    yield
    monkeypatch.undo()  # first: what wraps an acceleration puts it back
    installed.remove()


class Plain(RequestHandler):
    def get(self) -> None:
        self.write("plain")


def place(path: str) -> tuple[Any, str]:
    module, _, qualified = path.partition(":")
    *classes, last = qualified.split(".")
    holder: Any = importlib.import_module(module)
    for each in classes:
        holder = getattr(holder, each)
    return holder, last


@pytest.mark.parametrize("path", PLACES)
def test_it_notices(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrapper, even one that says it equals what it wraps."""
    holder, name = place(path)
    original = getattr(holder, name)

    class Wrapper:
        __wrapped__ = original

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    watch = Watch(Application([]))
    assert not watch.changed()
    with monkeypatch.context() as patch:
        patch.setattr(holder, name, Wrapper())
        assert watch.changed()
    if name in vars(holder) and path.rpartition(".")[2] != "get":  # "get" was inherited
        assert not watch.changed()


@pytest.mark.parametrize("name", SKIPPED)
def test_it_notices_an_application_of_its_own(name: str) -> None:
    class Own(Application):
        pass

    application = Own([])
    by_class, by_itself = Watch(application), Watch(application)
    setattr(application, name, lambda *args: None)
    assert by_itself.changed()
    delattr(application, name)
    setattr(Own, name, lambda *args: None)
    assert by_class.changed()


CALLED: list[str] = []


def _calling(original: Any) -> Any:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        CALLED.append("called")
        return original(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("holder", "name"),
    [
        (Application, "find_handler"),
        (web._HandlerDelegate, "execute"),
        (httputil.HTTPServerRequest, "__init__"),
        (RequestHandler, "finish"),
        (RequestHandler, "flush"),
        (RequestHandler, "set_header"),
        (RequestHandler, "clear"),
        (RequestHandler, "_execute"),
        (RequestHandler, "compute_etag"),
        (httputil.HTTPHeaders, "__setitem__"),
        (httputil.HTTPHeaders, "add"),
        (httputil, "format_timestamp"),
    ],
    ids=lambda it: it if isinstance(it, str) else it.__name__,
)
def test_what_a_request_patches_the_next_one_calls(
    holder: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under Tornado's server, by a handler in the middle of its work."""
    CALLED.clear()

    class Patches(RequestHandler):
        def get(self) -> None:
            monkeypatch.setattr(holder, name, _calling(getattr(holder, name)))
            self.write("patched")

    async def run() -> list[int]:
        served = engine(Application([("/", Plain), ("/patch", Patches)]))
        served.ready()
        member, transport = connection(served)
        counts = []
        for wire in (GET, GET, GET.replace(b"/ ", b"/patch "), GET, GET):
            before = len(CALLED)
            transport.written.clear()
            # `HTTPHeaders.add` is called for a name that comes twice.
            member.data_received(wire.replace(b"\r\n\r\n", b"\r\nX: 1\r\nX: 2\r\n\r\n"))
            while not transport.written:
                await asyncio.sleep(0)
            for _ in range(5):
                await asyncio.sleep(0)
            counts.append(len(CALLED) - before)
        return counts

    counts = asyncio.run(run())
    assert counts[:2] == [0, 0]
    assert counts[3] > 0 and counts[4] > 0, counts


def test_a_task_of_before_lives_on() -> None:
    """Tasks are kept by the server, not by the way that started them."""

    async def run() -> bytes:
        gate = asyncio.Event()

        class Waits(RequestHandler):
            async def get(self) -> None:
                await gate.wait()
                self.write("late")

        served = engine(Application([("/", Waits)]))
        member, transport = connection(served)
        member.data_received(GET)
        await asyncio.sleep(0)
        running = set(served._running)
        served.ready()
        assert served._running == running and len(running) == 1
        gate.set()
        while not transport.written:
            await asyncio.sleep(0)
        return b"".join(transport.written)

    assert asyncio.run(run()).endswith(b"late")
