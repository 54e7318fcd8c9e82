"""A server of sessions over WebSockets, and what becomes of those whose client vanishes.

    python examples/vanishing_clients/server.py PORT       bare: see what happens
    leeward serve examples/vanishing_clients/server.py -- PORT

It does what such servers do: it keeps a set of its clients, pings them all to keep them
alive, prepares a document while a client connects, and calls what its user wrote.  Three
things are wrong with it, and each leaves a client in the set for ever:

* What the user wrote may raise, and then `open()` raises.  Tornado cuts the connection
  and does not call `on_close()`.
* A client may leave while its document is prepared.  Then `open()` raises as well.
* Nobody looks whether a ping is answered.  A client that is frozen, or whose network is
  gone, looks as if it lived.

And one such client makes `ping()` raise in the middle of `keep_alive()`: those behind it
in the set get no pings any more, and the next proxy closes their connections.
"""

import asyncio
import sys

from tornado import ioloop, web, websocket

PREPARING = 0.5
KEEP_ALIVE = 0.5


_clients = set()


class Session(websocket.WebSocketHandler):
    async def open(self, user):
        _clients.add(self)
        document = await prepare()
        call_user_code(user)
        await self.write_message(document)

    def on_close(self):
        _clients.discard(self)

    def on_message(self, message):
        pass


def keep_alive():
    for client in list(_clients):
        client.ping()


async def prepare():
    await asyncio.sleep(PREPARING)
    return "document"


def call_user_code(user):
    if user == "unlucky":
        raise ValueError("the user's callback has a mistake")


class Clients(web.RequestHandler):
    def get(self):
        self.write(str(len(_clients)))


def main():
    rules = [(r"/session/(\w+)", Session), ("/clients", Clients)]
    web.Application(rules).listen(int(sys.argv[1]), "127.0.0.1")
    ioloop.PeriodicCallback(keep_alive, KEEP_ALIVE * 1000).start()
    print("listening", flush=True)
    ioloop.IOLoop.current().start()


if __name__ == "__main__":
    main()
