"""One request of a built-in handler before the first fork, so that workers find warm code.

The first request of a process imports codecs, fills caches and touches pages;
done once here, no worker does it.  Never the application's own handlers: they
may open connections that all workers would then share.
"""

from __future__ import annotations

import asyncio
import logging
import socket

_log = logging.getLogger("leeward.zygote")
_REQUEST = b"GET / HTTP/1.1\r\nHost: warm\r\nConnection: close\r\n\r\n"
_TIMEOUT = 5.0


def warm() -> None:
    """Serves one request over a socketpair in a throw-away loop; leaves nothing open."""
    loop = asyncio.SelectorEventLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(_one_request(), _TIMEOUT))
    except Exception as error:
        # An application may have replaced parts of Tornado; it works or fails
        # in the workers, not here.
        _log.debug("not warmed: %r", error)
    finally:
        loop.close()
        asyncio.set_event_loop(None)


async def _one_request() -> None:
    from tornado.httpserver import HTTPServer
    from tornado.iostream import IOStream
    from tornado.web import Application, RequestHandler

    class Warm(RequestHandler):
        def get(self) -> None:
            self.write({"warm": True})

    server = HTTPServer(Application([("/", Warm)], log_function=lambda handler: None))
    ours, theirs = socket.socketpair()
    server.handle_stream(IOStream(theirs), ("", 0))
    stream = IOStream(ours)
    try:
        await stream.write(_REQUEST)
        await stream.read_until_close()
    finally:
        stream.close()
        await server.close_all_connections()
