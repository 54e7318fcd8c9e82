"""Sends back every WebSocket message, by the engine; prints its address.

python echoes.py asyncio|uvloop
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from tornado.web import Application
from tornado.websocket import WebSocketHandler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from engine.hall import served


class Echo(WebSocketHandler):
    def get_compression_options(self) -> dict[str, Any]:
        return {}

    async def on_message(self, message: str | bytes) -> None:
        await self.write_message(message, binary=isinstance(message, bytes))


async def main() -> None:
    application = Application([("/", Echo)], websocket_max_message_size=32 * 1024 * 1024)
    async with served(application, "leeward") as port:
        print(f"ws://127.0.0.1:{port}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "uvloop":
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
