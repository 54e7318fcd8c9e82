"""WebSockets that nothing happens on but pings.

    python asks.py PORT       on Tornado's own server

BENCH_PING_INTERVAL: seconds, for Tornado's own pings; without it the application sets none.
`/cpu` answers with the seconds of CPU that the process has used.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from typing import Any


def application() -> Any:
    from tornado.web import Application, RequestHandler
    from tornado.websocket import WebSocketHandler

    class Quiet(WebSocketHandler):
        def on_message(self, message: str | bytes) -> None:
            pass

    class Cpu(RequestHandler):
        def get(self) -> None:
            self.write(str(time.process_time()))

    settings: dict[str, Any] = {"log_function": lambda handler: None}
    if interval := os.environ.get("BENCH_PING_INTERVAL"):
        settings["websocket_ping_interval"] = float(interval)
    return Application([("/echo", Quiet), ("/cpu", Cpu)], **settings)


async def main() -> None:
    logging.getLogger("tornado").setLevel(logging.CRITICAL)
    application().listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    if os.environ.get("BENCH_UVLOOP"):
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
