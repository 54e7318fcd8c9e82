"""Mistakes in the accelerations and in the engine's way to handlers that a comparison must notice.

As in `mutants`: each is a substitution in the text of one module.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from engine.hall import ACCELERATIONS
from engine.mutants import Mutant
from engine.tellings import tellings
from engine.test_accelerate import answers, looked_up
from tornado import httputil
from tornado.httputil import HTTPHeaders
from tornado.web import Application, RequestHandler

import leeward.engine
from leeward._core.record import replace
from leeward.engine import engine as engine_module
from leeward.engine.accelerate.install import installed

_PLACE = Path(leeward.engine.__file__).parent
#: Which acceleration each function of these modules makes.
MADE = {
    "header lookup": ("headers", "getitem"),
    "header default": ("headers", "get"),
    "handler init": ("handler", "init"),
    "handler clear": ("handler", "clear"),
    "write": ("write", "write"),
    "finish": ("finish", "finish"),
    "message read": ("messages", "read"),
    "message write": ("messages", "write"),
}
#: The way to handlers, in the order in which the modules build on each other.
WAY = ("routes", "request", "execute")


def _module(full: str, mutant: Mutant | None) -> ModuleType:
    path = _PLACE / f"{full.removeprefix('leeward.engine.').replace('.', '/')}.py"
    text = path.read_text(encoding="utf-8")
    if mutant is not None:
        if text.count(mutant.old) != 1 or mutant.old == mutant.new:
            raise LookupError(f"{mutant.name}: {text.count(mutant.old)} times in {path.name}")
        text = text.replace(mutant.old, mutant.new)
    made = ModuleType(full)
    exec(compile(text, f"<{full}>", "exec", dont_inherit=True), made.__dict__)
    return made


@contextlib.contextmanager
def living(mutant: Mutant) -> Iterator[None]:
    """With this one mistake in place of the real thing, and everything else installed."""
    installed.remove()
    if mutant.module in WAY:
        with _on_the_way(mutant):
            yield
        installed.remove()
        return
    made = _module(f"leeward.engine.accelerate.{mutant.module}", mutant)
    wanted = []
    for each in ACCELERATIONS:
        module, function = MADE[each.name]
        own = module == mutant.module
        wanted.append(replace(each, make=getattr(made, function)) if own else each)
    installed.install(tuple(wanted))
    try:
        yield
    finally:
        installed.remove()


@contextlib.contextmanager
def _on_the_way(mutant: Mutant) -> Iterator[None]:
    fresh: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        for name in WAY:
            full = f"leeward.engine.{name}"
            made = _module(full, mutant if name == mutant.module else None)
            fresh[name] = made
            stack.enter_context(mock.patch.dict(sys.modules, {full: made}))
            stack.enter_context(mock.patch.object(leeward.engine, name, made))
        execute = fresh["execute"]
        stack.enter_context(mock.patch.object(engine_module, "dispatch", execute.dispatch))
        stack.enter_context(mock.patch.object(engine_module, "Handling", execute.Handling))
        yield


def observed(seed: int, accelerate: bool) -> Iterator[list[Any]]:
    """All that the comparison looks at, the quickest first: made, looked up, heard by clients,
    told to handlers.

    Without `accelerate` nothing may be installed.
    """
    rng = random.Random(seed)
    for part in (
        lambda: list(_made()),
        lambda: [looked_up(rng) for _ in range(300)],
        lambda: asyncio.run(answers(seed, accelerate)),
        lambda: asyncio.run(tellings(seed, accelerate)),
    ):
        with mock.patch("time.time", lambda: 1e9):
            found = part()
        yield found


def _made() -> Iterator[Any]:
    """Handlers' attributes at several times."""

    class Kept(RequestHandler):
        def initialize(self, **kwargs: Any) -> None:
            self.given = kwargs

    class Other:
        def __init__(self) -> None:
            self.other = True

    class Mixed(Kept, Other):
        """Its other base has an __init__ that Tornado calls."""

    request: Any = httputil.HTTPServerRequest(
        start_line=httputil.RequestStartLine("GET", "/", "HTTP/1.1"),
        headers=HTTPHeaders({"Host": "a"}),
        connection=mock.Mock(),
    )
    ui = {"ui_modules": {}, "ui_methods": {"twice": lambda handler, it: it * 2}}
    for settings in ({}, ui):
        application = Application([], **settings)  # type: ignore[arg-type]
        for kind in (Kept, Mixed):
            for now in (1e9, 1e9 + 0.9, 1e9 + 1, 5.0):
                with mock.patch("time.time", lambda now=now: now):
                    made = kind(application, request, a=1)
                    attributes, first = [*vars(made)], dict(made._headers)
                    made.set_header("X-A", "1")
                    made.clear()
                yield attributes, first, dict(made._headers)
                yield sorted(made.ui), made.given, made.get_status(), made._reason
                yield made.ui["modules"] is made.ui["_tt_modules"]
                yield request.connection.set_close_callback.call_count
                request.connection.reset_mock()


def noticed(mutant: Mutant, seed: int, plain: list[list[Any]]) -> bool:
    """Does anything differ from `plain`, which was observed with the same seed?"""
    with living(mutant):
        try:
            parts = zip(observed(seed, True), plain, strict=True)
            return any(mine != theirs for mine, theirs in parts)
        except Exception:
            return True  # the mistake raises where nothing may


MUTANTS = (
    # --- headers --------------------------------------------------------------------------------
    Mutant("a header is the one before", "headers", "self._combined_cache.get(name)", '"a"'),
    Mutant(
        "a header that is not there is empty",
        "headers",
        "return original(self, name) if value is None else value",
        'return value or ""',
    ),
    Mutant(
        "the default is forgotten",
        "headers",
        "return self[name] if name in self._as_list else default",
        "return self[name] if name in self._as_list else None",
    ),
    Mutant(
        "subclasses are not asked",
        "headers",
        "if type(self) is not HTTPHeaders:",
        "if False:",
    ),
    Mutant(
        "names are compared with their case",
        "headers",
        "name = _normalize_header(key)",
        "name = key",
    ),
    # --- handlers -------------------------------------------------------------------------------
    Mutant("methods of the user interface", "handler", "if application.ui_methods:", "if False:"),
    Mutant(
        "other bases are not made",
        "handler",
        "        super(RequestHandler, self).__init__()\n",
        "",
    ),
    Mutant(
        "nobody hears that the client has gone",
        "handler",
        "request.connection.set_close_callback(self.on_connection_close)",
        "request.connection",
    ),
    Mutant(
        "initialize without arguments", "handler", "self.initialize(**kwargs)", "self.initialize()"
    ),
    Mutant("the date stands still", "handler", "if now != second or", "if second < 0 or"),
    Mutant(
        "default headers are forgotten",
        "handler",
        "        self.set_default_headers()\n",
        "",
    ),
    Mutant("what was written stays", "handler", "        self._write_buffer = []\n", ""),
    Mutant("another type", "handler", "text/html; charset=UTF-8", "text/html"),
    # --- finish ---------------------------------------------------------------------------------
    Mutant("finished twice", "finish", "if self._finished:", "if False:"),
    Mutant("a piece is lost", "finish", 'b"".join(buffer)', "buffer[-1] if buffer else b''"),
    Mutant("transforms are skipped", "finish", "or self._transforms\n", "or False\n"),
    Mutant("HEAD has a body", "finish", "in (method, connection.head.method)", "in ()"),
    Mutant(
        "204 has a body",
        "finish",
        "or not (status == 200 or (status > 200 and status not in (204, 304)))",
        "or False",
    ),
    Mutant("headers go twice", "finish", "self._headers_written\n", "False\n"),
    Mutant("what a handler overrides is skipped", "finish", "or not plain(self)", "or False"),
    Mutant("its own length is wrong", "finish", 'if "Content-Length" in lists:', "if False:"),
    Mutant("Etag for each method", "finish", ' and method == "GET"', ""),
    Mutant("Etag over another", "finish", ' and "Etag" not in lists', ""),
    Mutant("If-None-Match is not heard", "finish", 'if "If-None-Match" in', 'if "X" in'),
    Mutant("on_finish is not called", "finish", "        self.on_finish()\n", ""),
    Mutant("nothing is logged", "finish", "        self._log()\n", ""),
    Mutant("cookies are lost", "finish", 'and "_new_cookie" not in own', ""),
    Mutant("an instance's own compute_etag", "finish", 'and "compute_etag" not in own', ""),
    Mutant("a class's set_etag_header", "finish", "and kind.set_etag_header is set_etag", ""),
    Mutant("a class's compute_etag", "finish", "and kind.compute_etag is compute", ""),
    Mutant("a class's flush", "finish", "kind.flush is flush", "True"),
    Mutant("the length is one more", "finish", "str(len(body))", "str(len(body) + 1)"),
    Mutant(
        "an Etag that is not sent", "finish", 'head += b"Etag: %b\\r\\n" % etag.encode()', "pass"
    ),
    # --- write ----------------------------------------------------------------------------------
    Mutant("written after the end", "write", "if self._finished:", "if False:"),
    Mutant(
        "text in another coding", "write", "chunk.encode()", 'chunk.encode("latin-1", "replace")'
    ),
    Mutant("JSON is said to be text", "write", "application/json", "text/json"),
    Mutant("a class's set_header for JSON", "write", "and type(self).set_header is set_header", ""),
    # --- requests -------------------------------------------------------------------------------
    Mutant(
        "a header twice decides by the first",
        "request",
        "len(kinds) != 1 or kinds[0].startswith(_FORMS)",
        "kinds[0].startswith(_FORMS[0])",
    ),
    Mutant(
        "forms are not read", "request", "            super()._parse_body()\n", "            pass\n"
    ),
    Mutant(
        "another's host",
        "request",
        "_known_hosts[host] = request.host_name",
        '_known_hosts[host] = "a"',
    ),
    Mutant("escapes in a query", "request", 'if "%" in query or "+" in query', 'if "+" in query'),
    Mutant("spaces in a query", "request", 'or "+" in query', ""),
    Mutant(
        "the last value wins",
        "request",
        "values.append(value.encode())",
        "found[name] = [value.encode()]",
    ),
    Mutant(
        "values are shared",
        "request",
        "{key: it.copy() for key, it in arguments.items()}",
        "dict(arguments)",
    ),
    Mutant(
        "empty values are dropped",
        "request",
        "        if field:\n",
        '        if field and field[-1:] != "=":\n',
    ),
    Mutant(
        "fields without a value are dropped",
        "request",
        "        if field:\n",
        '        if "=" in field:\n',
    ),
    Mutant(
        "the query is part of the path", "request", "request.path = path\n", "request.path = uri\n"
    ),
    # --- routes ---------------------------------------------------------------------------------
    Mutant(
        "rules that come later",
        "routes",
        "            application.default_router.rules == self._outer\n"
        "            and application.wildcard_router.rules == self._inner\n",
        "            True\n",
    ),
    Mutant(
        "rules by host",
        "routes",
        "if len(self._outer) != 1 or self._outer[0].target is not wildcard:\n"
        "            return False\n"
        "        if type(self._outer[0].matcher) is not AnyMatches:",
        "if False:",
    ),
    Mutant(
        "every path leads to the first",
        "routes",
        "self._seen.keep(path, route)",
        'self._seen.keep("/", route)',
    ),
    # --- the way --------------------------------------------------------------------------------
    Mutant(
        "the handler's keywords are lost",
        "execute",
        "self._keywords = handler, rule.target_kwargs",
        "self._keywords = handler, {}",
    ),
    Mutant(
        "a later piece of the body is lost",
        "execute",
        "            self._body += chunk\n",
        "            pass\n",
    ),
    Mutant("bodies are not parsed", "execute", "if dispatch.parses:", "if False:"),
    Mutant("bodies are parsed twice", "execute", "if dispatch.parses:", "if True:"),
    Mutant(
        "no transforms",
        "execute",
        "for transform in application.transforms]",
        "for transform in ()]",
    ),
    Mutant(
        "path arguments are lost",
        "execute",
        "handler._execute(transforms, *self._args,",
        "handler._execute(transforms,",
    ),
    Mutant(
        "a body that is no bytes",
        "execute",
        "request.body = bytes(self._body)",
        "request.body = self._body",
    ),
)
