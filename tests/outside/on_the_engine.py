"""Runs modules of Tornado's own test suite with the engine in the place of its server.

    python tests/outside/on_the_engine.py [--loop uvloop] [--no-accelerate] [MODULE…]

`HTTPServer.configure` is Tornado's documented hook: every `HTTPServer(...)` that the
suite makes becomes one whose accepted sockets go to the engine.  Prints what failed and
ends with 1 if a test fails that `EXCEPTED` does not name.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import sys
import unittest
from typing import Any

from tornado.httpserver import HTTPServer

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
EXCEPTED: dict[str, str] = {
    "tornado.test.httpserver_test.KeepAliveTest.test_keepalive_chunked": (
        "An HTTP/1.0 request with Transfer-Encoding is answered and its connection closed"
        " (RFC 9112 §6.1); Tornado keeps it open."
    ),
}


class Counters:
    open = requests = in_flight = 0


class EngineServer(HTTPServer):
    _engine: Engine | None = None
    accelerate = True

    def _handle_connection(self, connection: Any, address: Any) -> None:
        connection.setblocking(False)
        if self._engine is None:
            self._engine = Engine(self, Counters(), lambda: None, accelerate=self.accelerate)
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
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    result = unittest.TextTestRunner(verbosity=2 if options.v else 1, stream=sys.stdout).run(suite)
    failed = {test.id() for test, _ in [*result.failures, *result.errors]}
    unexpected = {it for it in failed if it not in EXCEPTED}
    print(f"{result.testsRun} tests, {len(failed)} failed, {len(failed - unexpected)} excepted")
    return 1 if unexpected or not result.testsRun else 0


if __name__ == "__main__":
    raise SystemExit(main())
