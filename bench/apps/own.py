"""Tornado's own way: `own.py MODULE PORT WORKERS`, 0 workers for one process without a fork.

The sockets are bound and the application is imported before the fork, the loop
is made after it, as Tornado's documentation has it.
"""

from __future__ import annotations

import asyncio
import importlib
import sys

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.process import fork_processes


async def serve(module: str, sockets: list) -> None:
    server = HTTPServer(importlib.import_module(module).make_app())
    server.add_sockets(sockets)
    await asyncio.Event().wait()


if __name__ == "__main__":
    module, port, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    importlib.import_module(module)
    sockets = bind_sockets(port, "127.0.0.1", backlog=2048)
    if workers:
        fork_processes(workers, max_restarts=100_000)
    asyncio.run(serve(module, sockets))
