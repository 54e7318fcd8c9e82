"""A listener for each worker: `reuseport.py MODULE PORT WORKERS`, Tornado with SO_REUSEPORT."""

from __future__ import annotations

import asyncio
import importlib
import sys

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.process import fork_processes


async def serve(module: str, port: int) -> None:
    server = HTTPServer(importlib.import_module(module).make_app())
    server.add_sockets(bind_sockets(port, "127.0.0.1", backlog=2048, reuse_port=True))
    await asyncio.Event().wait()


if __name__ == "__main__":
    module, port, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    importlib.import_module(module)
    fork_processes(workers, max_restarts=100_000)
    asyncio.run(serve(module, port))
