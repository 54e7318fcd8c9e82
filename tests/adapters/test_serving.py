"""leeward.adapters.serving: what only Tornado's own server can serve."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPMessageDelegate
from tornado.web import Application

from leeward.adapters.serving import needs_tornado


class Own(HTTPServer):
    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        return super().start_request(server_conn, request_conn)


class Streams(HTTPServer):
    def handle_stream(self, stream: Any, address: Any) -> None:
        super().handle_stream(stream, address)


def test_the_engine_serves_whatever_tornado_documents() -> None:
    for it in (Application(), HTTPServer(Application()), Own(Application())):
        assert needs_tornado(it) == ""


def test_who_takes_streams_gets_them() -> None:
    assert needs_tornado(Streams(Application())) == "Streams overrides handle_stream()"
    server: Any = HTTPServer(Application())
    server.handle_stream = functools.partial(print, "mine")
    assert needs_tornado(server) == "its HTTPServer has a handle_stream() of its own"


def test_who_replaces_start_request_sees_a_task_for_each_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As New Relic's agent does, which tells requests apart by it: all of a worker were one."""
    original = HTTPServer.start_request

    @functools.wraps(original)
    def wrapped(self: HTTPServer, server_conn: object, request_conn: Any) -> Any:
        return original(self, server_conn, request_conn)

    monkeypatch.setattr(HTTPServer, "start_request", wrapped)
    assert needs_tornado(Application()) == "HTTPServer.start_request() was replaced"
