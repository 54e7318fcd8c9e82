"""Failure 5, clients that vanish: a long poll outlives the client that asked.

    python examples/failures/vanishing_clients.py

Ten clients ask plain Tornado for the next event and reset their connections.  Nothing
tells the handlers: each waits on for an event that is for nobody, with its request,
its buffers and whatever it holds, until there is one.  Under load that is memory that
never comes back.

What leeward will do about it stands in docs/design.md ("Connections"); today a reload
or `--graceful-timeout` is what ends them.
"""

from __future__ import annotations

import asyncio
import socket
import struct

from tornado import httpserver, web
from tornado.netutil import bind_sockets

CLIENTS = 10


class Poll(web.RequestHandler):
    """Waits for an event, as the examples in Tornado's documentation do."""

    waiting = 0

    async def get(self) -> None:
        type(self).waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            type(self).waiting -= 1


def make_app() -> web.Application:
    return web.Application([("/", Poll)])


async def main() -> None:
    sockets = bind_sockets(0, "127.0.0.1", family=socket.AF_INET)
    httpserver.HTTPServer(make_app()).add_sockets(sockets)
    clients = [socket.create_connection(sockets[0].getsockname()) for _ in range(CLIENTS)]
    for client in clients:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    while Poll.waiting < CLIENTS:
        await asyncio.sleep(0.01)
    for client in clients:
        # SO_LINGER with no time: close() sends a reset, as a killed process does.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    await asyncio.sleep(1)
    print(f"{CLIENTS} clients reset their long polls: {Poll.waiting} handlers still wait after 1 s")


if __name__ == "__main__":
    asyncio.run(main())
