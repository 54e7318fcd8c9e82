"""leeward.engine.accelerate: each acceleration equals what it replaces, and knows its place."""

from __future__ import annotations

import asyncio
import importlib
import logging
import random
import subprocess
import sys
from typing import Any

import pytest
import tornado
from engine.hall import ACCELERATIONS, accelerated, connection, engine
from tornado import httputil
from tornado.httputil import HTTPHeaders
from tornado.web import Application, RequestHandler

from leeward._core.config import Config
from leeward._core.record import replace
from leeward.engine import execute, layout
from leeward.engine.accelerate import pristine as knowledge
from leeward.engine.accelerate.install import Accelerations, installed, survey
from leeward.engine.accelerate.pristine import find, fingerprint, known, pristine

BY_NAME = {each.name: each for each in ACCELERATIONS}
PLACES = sorted(
    {
        *execute.REPLACED,
        *(path for each in ACCELERATIONS for path in each.needs),
        *(each.place for each in ACCELERATIONS if each.inherited is None),
    }
)


@pytest.fixture(autouse=True)
def nothing_stays() -> Any:
    yield
    installed.remove()


# --- what is known ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", PLACES)
def test_the_installed_tornado_is_known(path: str) -> None:
    """Fails when a Tornado is released that changes what is replaced: read what it changed."""
    function = find(path)
    assert function is not None, path
    assert fingerprint(function) in known(path), f"{path} of Tornado {tornado.version}"


def test_a_wrapper_is_not_what_it_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    import functools

    original = RequestHandler.finish

    @functools.wraps(original)
    def wrapper(self: Any, chunk: Any = None) -> Any:
        return original(self, chunk)

    assert pristine("tornado.web:RequestHandler.finish")
    monkeypatch.setattr(RequestHandler, "finish", wrapper)
    assert not pristine("tornado.web:RequestHandler.finish")


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_without_assertions_and_docstrings_it_is_known_as_well(flag: str) -> None:
    """`python -O` and PYTHONOPTIMIZE make another code of the same functions."""
    code = (
        "from leeward.adapters.subprocesses import NEEDS\n"
        "from leeward.engine.accelerate.install import objections\n"
        "from leeward.engine.accelerate.pristine import pristine\n"
        "print({k: v for k, v in objections().items() if v}, [*filterfalse(pristine, NEEDS)])"
    )
    done = subprocess.run(
        [sys.executable, flag, "-c", f"from itertools import filterfalse\n{code}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "{} []\n"


def test_another_code_under_the_same_name_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def clear(self: Any) -> None:
        self._headers = {}

    monkeypatch.setattr(RequestHandler.clear, "__code__", clear.__code__)
    assert find("tornado.web:RequestHandler.clear") is not None
    assert not pristine("tornado.web:RequestHandler.clear")


# --- in place or not -------------------------------------------------------------------------


def test_all_are_installed_on_this_tornado_and_removed_without_a_trace() -> None:
    before = {each: vars(each.holder).get(each.attribute) for each in ACCELERATIONS}
    with accelerated():
        assert installed.active() == tuple(BY_NAME)[0 if layout.combined() else 2 :]
    after = {each: vars(each.holder).get(each.attribute) for each in ACCELERATIONS}
    assert before == after


@pytest.mark.parametrize("name", BY_NAME)
def test_an_unknown_function_keeps_its_place(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    each = BY_NAME[name]
    for path in (each.place, *each.needs)[each.inherited is not None :]:
        with monkeypatch.context() as patch:
            table = {python: {**rows, path: frozenset()} for python, rows in _table().items()}
            patch.setattr(knowledge, "KNOWN", table)
            fresh = Accelerations()
            caplog.clear()
            with caplog.at_level(logging.WARNING, "leeward"):
                fresh.install((each,))
                fresh.install((each,))
            assert fresh.active() == (), path
            assert len(caplog.records) == 1
            assert f"{path} is not known" in caplog.text and tornado.version in caplog.text


def _table() -> dict[str, dict[str, frozenset[str]]]:
    return knowledge.KNOWN


def test_what_the_application_has_patched_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    original = RequestHandler.finish

    def patched(self: Any, chunk: Any = None) -> Any:
        return original(self, chunk)

    monkeypatch.setattr(RequestHandler, "finish", patched)
    fresh = Accelerations()
    fresh.install()
    try:
        assert "finish" not in fresh.active() and "handler clear" in fresh.active()
        assert RequestHandler.finish is patched
    finally:
        fresh.remove()


def test_what_is_patched_until_ready_takes_the_acceleration_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with accelerated():
        monkeypatch.setattr(httputil, "format_timestamp", lambda ts: "never")
        installed.recheck()
        assert "handler clear" not in installed.active()
        assert "finish" in installed.active()
        assert pristine("tornado.web:RequestHandler.clear")


def test_check_tells_what_there_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [each.name for each in ACCELERATIONS]
    config = Config(target="a:b")
    assert survey(config) == ", ".join([*names, "dispatch"])
    assert survey(replace(config, accelerate=False)) == "nothing (--no-accelerate)"
    assert survey(replace(config, engine="tornado")) == "nothing (--engine tornado)"
    monkeypatch.setattr(RequestHandler, "flush", lambda self, include_footers=False: None)
    said = survey(config)
    assert "not finish: tornado.web:RequestHandler.flush was replaced" in said
    assert "handler clear" in said
    assert installed.active() == ()


# --- equal to what they replace --------------------------------------------------------------

NAMES = ["Host", "host", "HOST", "X-A", "x-a", "Te", "", "x", "If-None-Match"]


def test_headers_are_found_as_before() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    found: list[list[Any]] = []
    for fast in (False, True):
        rng = random.Random(seed)
        if fast:
            installed.install((BY_NAME["header lookup"], BY_NAME["header default"]))
        found.append([looked_up(rng) for _ in range(2000)])
    assert found[0] == found[1]


def looked_up(rng: random.Random) -> list[Any]:
    class Sub(HTTPHeaders):
        def __getitem__(self, name: str) -> str:
            return super().__getitem__(name) + "!"

    headers = rng.choice([HTTPHeaders, HTTPHeaders, Sub])()
    found: list[Any] = []
    for _ in range(rng.randrange(8)):
        name = rng.choice([it for it in NAMES if it])
        match rng.randrange(3):
            case 0:
                headers.add(name, rng.choice("abc"))
            case 1:
                headers[name] = rng.choice("abc")
            case 2 if name in headers:
                del headers[name]
        for asked in [*rng.sample(NAMES, 3), *rng.sample([None, 3, b"Host", []], 1)]:
            for look in (headers.__getitem__, headers.get, lambda it: headers.get(it, "none")):
                try:
                    found.append(look(asked))
                except Exception as error:
                    found.append(type(error))
    return [*found, str(headers)]


def handler(rng: random.Random) -> type[RequestHandler]:
    """A class that overrides some of what an acceleration would skip."""

    class Some(RequestHandler):
        def initialize(self, **kwargs: Any) -> None:
            self.given = kwargs

        def get(self) -> None:
            act = ACTS[int(self.get_argument("act"))]
            act(self)

        post = put = head = get

        def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
            FINISHED.append(str(value))

    overrides: dict[str, Any] = {
        "compute_etag": lambda self: rng.choice([None, '"fixed"']),
        "set_default_headers": lambda self: self.set_header("Server", "Mine"),
        "on_finish": lambda self: FINISHED.append(dict(self._headers)),
        "set_etag_header": lambda self: None,
        "flush": _flush,
        "set_header": _set_header,
        "_log": lambda self: FINISHED.append(self.get_status()),
    }
    for name in rng.sample(sorted(overrides), rng.choice([0, 0, 1, 2])):
        setattr(Some, name, overrides[name])
    return Some


FINISHED: list[Any] = []


def _flush(self: RequestHandler, include_footers: bool = False) -> Any:
    FINISHED.append("flush")
    return RequestHandler.flush(self, include_footers)


def _set_header(self: RequestHandler, name: str, value: Any) -> None:
    FINISHED.append(name)
    self._headers[name] = str(value)


def _of_the_instance_set(self: RequestHandler) -> None:
    self.set_header = lambda name, value: FINISHED.append(value)  # type: ignore[method-assign]
    self.write({"a": 1})


def _own_etag(self: RequestHandler) -> None:
    self.set_header("Etag", '"own"')
    self.write("x")


def _of_the_instance(self: RequestHandler) -> None:
    self.compute_etag = lambda: None  # type: ignore[method-assign]
    self.write("x")


ACTS: list[Any] = [
    lambda self: self.write("Hello"),
    lambda self: self.write({"a": [1, 2, "é"]}),
    lambda self: self.finish("done"),
    lambda self: self.finish({"b": None}),
    lambda self: (self.write("a"), self.write(b"b"), self.finish("c")),
    lambda self: (self.write("a"), self.flush(), self.write("b")),
    lambda self: self.set_status(204),
    lambda self: (self.set_status(204), self.write("x")),
    lambda self: self.set_status(304),
    lambda self: (self.set_status(201, "Made Up"), self.write("x")),
    lambda self: (self.set_cookie("a", "b"), self.write("x")),
    lambda self: (self.set_header("Content-Length", "1"), self.write("x")),
    lambda self: (self.set_header("Content-Length", "9"), self.write("x")),
    lambda self: (self.add_header("X-A", "1"), self.add_header("X-A", "2")),
    lambda self: self.clear_header("Server"),
    lambda self: self.send_error(503),
    lambda self: 1 / 0,
    lambda self: (self.finish("x"), self.finish("y")),
    lambda self: self.redirect("/elsewhere"),
    lambda self: self._headers.__setitem__("X-B", "a\nb"),
    lambda self: self.write("h\xe9llo \u20ac"),
    lambda self: (self.finish("x"), self.write("y")),
    lambda self: self.write(["a list"]),
    lambda self: self.write(bytearray(b"neither")),
    lambda self: (self.add_header("Server", "and mine"), self.write("x")),
    lambda self: (self.set_header("Content-Type", "text/plain"), self.write("x")),
    lambda self: (self._headers.__setitem__("Content-Type", "a\rb"), self.write("x")),
    _of_the_instance_set,
    _own_etag,
    _of_the_instance,
]

ETAGS = [
    "",
    'If-None-Match: "f7ff9e8b7bb2e09b70935a5d785e0cc5d9d0abf0"\r\n',
    "If-None-Match: *\r\n",
]


async def answers(seed: int, accelerate: bool) -> list[Any]:
    rng = random.Random(seed)
    heard: list[Any] = []
    FINISHED.clear()
    for _ in range(150):
        kind = handler(rng)
        arguments = rng.choice([{}, {"a": 1}])
        application = Application(
            [("/", kind, arguments)],
            log_function=lambda handler: FINISHED.append(handler.get_status()),
            compress_response=rng.random() < 0.1,
            ui_methods=rng.choice([{}, {"twice": lambda handler, it: it * 2}]),
        )
        served = engine(application, accelerate=accelerate)
        member, transport = connection(served)
        for _ in range(4):
            method = rng.choice(["GET", "GET", "POST", "HEAD", "PUT"])
            version = rng.choice(["1.1", "1.1", "1.1", "1.0"])
            end = rng.choice(["", "", "Connection: close\r\n"]) + rng.choice(ETAGS)
            length = "Content-Length: 0\r\n" if method in ("POST", "PUT") else ""
            target = f"/?act={rng.randrange(len(ACTS))}"
            member.data_received(
                f"{method} {target} HTTP/{version}\r\nHost: a\r\n{length}{end}\r\n".encode()
            )
            for _ in range(4):  # a plain task's turns
                await asyncio.sleep(0)
            heard.append((method, target, b"".join(transport.written), transport.closed))
            transport.written.clear()
            if transport.closed:
                break
    return [*heard, *FINISHED]


def test_answers_are_the_same_with_accelerations_and_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    monkeypatch.setattr("time.time", lambda: 1e9)
    logging.getLogger("tornado").setLevel(logging.CRITICAL + 1)
    try:
        plain = asyncio.run(answers(seed, False))
        fast = asyncio.run(answers(seed, True))
    finally:
        logging.getLogger("tornado").setLevel(logging.NOTSET)
    assert len(plain) > 300
    for mine, theirs in zip(fast, plain, strict=True):
        assert mine == theirs


def test_a_handler_is_made_with_the_same_attributes() -> None:
    made: list[Any] = []

    class Kept(RequestHandler):
        def initialize(self, **kwargs: Any) -> None:
            made.append([*vars(self)])
            made.append([self.ui["modules"] is self.ui["_tt_modules"], sorted(self.ui)])
            made.append([vars(self._headers), kwargs])

    class Mixed(Kept, dict[str, Any]):
        """Its other base has an __init__ that Tornado calls."""

    application = Application([], ui_modules={})
    request: Any = httputil.HTTPServerRequest(
        start_line=httputil.RequestStartLine("GET", "/", "HTTP/1.1"),
        headers=HTTPHeaders({"Host": "a"}),
        connection=_NoConnection(),  # type: ignore[arg-type]
    )
    for kind in (Kept, Mixed):
        made.clear()
        kind(application, request, a=1)
        with accelerated():
            kind(application, request, a=1)
        half = len(made) // 2
        assert [str(it) for it in made[:half]] == [str(it) for it in made[half:]]


class _NoConnection:
    def set_close_callback(self, callback: Any) -> None:
        assert callback is None or callable(callback)


def test_date_is_of_this_second(monkeypatch: pytest.MonkeyPatch) -> None:
    with accelerated():
        for now in (1e9, 1e9 + 0.9, 1e9 + 1, 5.0, 1e9):
            monkeypatch.setattr("time.time", lambda now=now: now)
            application = Application([])
            request: Any = httputil.HTTPServerRequest(
                start_line=httputil.RequestStartLine("GET", "/", "HTTP/1.1"),
                headers=HTTPHeaders({"Host": "a"}),
                connection=_NoConnection(),  # type: ignore[arg-type]
            )
            found = RequestHandler(application, request)._headers["Date"]
            assert found == httputil.format_timestamp(now)


def test_every_acceleration_is_reachable_by_its_name() -> None:
    for each in ACCELERATIONS:
        module, _, _ = each.place.partition(":")
        assert hasattr(importlib.import_module(module), each.holder.__name__)
