"""Runs modules of Tornado's own test suite with the engine in the place of its server.

    python tests/outside/on_the_engine.py [--loop uvloop] [--no-accelerate] [MODULE…]

`HTTPServer.configure` is Tornado's documented hook: every `HTTPServer(...)` that the
suite makes becomes one whose accepted sockets go to the engine.  Prints what failed and
ends with 1 if a test fails that `excepted` does not name.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import sys
import unittest
from typing import Any

import tornado
from tornado.httpserver import HTTPServer

from leeward._core.config import Config
from leeward.engine.engine import Engine

MODULES = (
    "httpserver_test",
    "web_test",
    "websocket_test",
    "simple_httpclient_test",
    "http1connection_test",
    "httputil_test",
)

#: Tests that cannot pass, and why.
_ALWAYS = "An HTTP/1.0 request with Transfer-Encoding: answered and closed (RFC 9112 §6.1)."
_HOST = "Before Tornado 6.5: HTTP/1.1 without a Host, refused (RFC 9112 §3.2)."
_JOINED = "Before Tornado 6.6: small chunks of a body arrive joined, as they do since 6.6."

_WITHOUT_HOST = (
    "httpserver_test.BodyLimitsTest.test_body_size_override_reset",
    "httpserver_test.HTTPConnectionTest.test_100_continue",
    "httpserver_test.HTTPServerRawTest.test_chunked_request_body",
    "httpserver_test.HTTPServerRawTest.test_chunked_request_body_invalid_size",
    "httpserver_test.HTTPServerRawTest.test_chunked_request_body_duplicate_header",
    "httpserver_test.HTTPServerRawTest.test_chunked_request_body_transfer_encoding_and_content_length",
    "httpserver_test.HTTPServerRawTest.test_chunked_request_body_unsupported_transfer_encoding",
    "httpserver_test.HTTPServerRawTest.test_chunked_request_uppercase",
    "httpserver_test.HTTPServerRawTest.test_invalid_content_length",
    "httpserver_test.IdleTimeoutTest.test_idle_after_use",
    "httpserver_test.KeepAliveTest.test_cancel_during_download",
    "httpserver_test.KeepAliveTest.test_finish_while_closed",
    "httpserver_test.KeepAliveTest.test_keepalive_chunked_head_no_body",
    "httpserver_test.KeepAliveTest.test_pipelined_cancel",
    "httpserver_test.KeepAliveTest.test_pipelined_requests",
    "httpserver_test.KeepAliveTest.test_request_close",
    "httpserver_test.KeepAliveTest.test_two_requests",
    "web_test.StreamingRequestBodyTest.test_close_during_upload",
    "web_test.StreamingRequestBodyTest.test_early_return",
    "web_test.StreamingRequestBodyTest.test_early_return_with_data",
    "web_test.StreamingRequestBodyTest.test_streaming_body",
)
_EACH_CHUNK = (
    "httpserver_test.StreamingChunkSizeTest.test_chunked_body",
    "web_test.DecoratedStreamingRequestFlowControlTest.test_flow_control_chunked_body",
    "web_test.NativeStreamingRequestFlowControlTest.test_flow_control_chunked_body",
)


def excepted() -> dict[str, str]:
    """Name and reason, for the installed Tornado."""
    found = {"httpserver_test.KeepAliveTest.test_keepalive_chunked": _ALWAYS}
    if tornado.version_info < (6, 5):
        found |= dict.fromkeys(_WITHOUT_HOST, _HOST)
    if tornado.version_info < (6, 6):
        found |= dict.fromkeys(_EACH_CHUNK, _JOINED)
    return {f"tornado.test.{name}": why for name, why in found.items()}


#: They wait for 0.1 s and no longer, a TLS handshake included, which a busy machine takes.
_IMPATIENT = {
    f"tornado.test.simple_httpclient_test.{case}.test_request_timeout"
    for case in ("SimpleHTTPClientTestCase", "SimpleHTTPSClientTestCase")
}


class Counters:
    open = requests = in_flight = 0


class EngineServer(HTTPServer):
    _engine: Engine | None = None
    accelerate = True

    def _handle_connection(self, connection: Any, address: Any) -> None:
        connection.setblocking(False)
        if self._engine is None:
            self._engine = Engine(
                self, Config("", accelerate=self.accelerate), Counters(), lambda: None
            )
        self._engine.accept(connection, address)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--no-accelerate", action="store_true")
    parser.add_argument("-v", action="store_true")
    parser.add_argument("names", nargs="*", metavar="MODULE", default=[])
    options = parser.parse_args()
    if options.loop == "uvloop":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    # The suite's own settings: it judges log lines, and turns warnings into errors.
    importlib.import_module("tornado.test.runtests")
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
    EngineServer.accelerate = not options.no_accelerate
    HTTPServer.configure(EngineServer)
    names = [f"tornado.test.{name}" for name in options.names or MODULES]
    tests, failed = run(names, options.v)
    named = excepted()
    unexpected = failed - set(named)
    if impatient := sorted(unexpected & _IMPATIENT):
        unexpected -= _IMPATIENT
        os.environ["EMULATION"] = "1"  # Tornado's word for a slow machine: 0.5 s, since 6.6
        for _ in range(10):
            print("once more:", *impatient)
            impatient = sorted(run(impatient, options.v)[1])
            if not impatient:
                break
        unexpected |= set(impatient)
    for name in sorted(failed & set(named)):
        print(f"excepted: {name}: {named[name]}")
    print(f"{tests} tests, {len(failed)} failed, {len(failed & set(named))} excepted")
    return 1 if unexpected or not tests else 0


def run(names: list[str], verbose: bool) -> tuple[int, set[str]]:
    """How many tests there were, and which failed."""
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    result = unittest.TextTestRunner(verbosity=2 if verbose else 1, stream=sys.stdout).run(suite)
    # A test whose parts fail is named in each of them.
    failed = {str(test.id()).split(" ")[0] for test, _ in [*result.failures, *result.errors]}
    return result.testsRun, failed


if __name__ == "__main__":
    raise SystemExit(main())
