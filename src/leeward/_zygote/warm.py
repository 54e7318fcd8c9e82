"""One request through the server before the first fork, so that no worker pays for it.

The first request of a process imports, compiles patterns and fills caches; done
before the fork it is shared and free.  Measured from fork to first answer, median
of 40: 8.7 ms instead of 9.7 for a zygote of 30 MiB; at 176 MiB the copying of page
tables hides it (13.3 ms with and without).  Only a handler of our own is asked, never
the application's: those may open connections that a fork would spoil.

Afterwards nothing is left: no loop, no descriptor, no thread, no line in a log.
"""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING

from leeward._core.record import replace
from leeward.adapters.serving import server
from leeward.engine.accelerate.install import installed, objections

if TYPE_CHECKING:
    from leeward._core.config import Config

#: Seconds; a request over a socketpair takes 2 ms.
TIMEOUT = 2.0
_REQUEST = b"GET / HTTP/1.1\r\nHost: warm\r\nConnection: close\r\n\r\n"


def warm(config: Config) -> str:
    """Nothing, or why it failed, which is harmless: the first requests will be slower."""
    accelerate = config.engine == "leeward" and config.accelerate and not any(objections().values())
    # An explicit loop class: the application's policy may make loops of another
    # kind, and asking it would leave a current loop behind.
    loop = asyncio.SelectorEventLoop()
    try:
        # Nobody stands in front of it, so nobody sends a PROXY header.
        settled = replace(config, accelerate=accelerate, proxy_protocol="off")
        request = _request(settled)
        answer = loop.run_until_complete(asyncio.wait_for(request, TIMEOUT))
        return "" if answer.startswith(b"HTTP/1.1 200 ") else f"answered {answer[:40]!r}"
    except Exception as error:
        # An application may have replaced parts of Tornado; whether that works is
        # for the workers to see.
        return f"{type(error).__name__}: {error}"
    finally:
        loop.close()
        _forget(loop)
        if accelerate:
            # Each worker looks for itself, when its factory has patched what it patches.
            installed.remove()


async def _request(config: Config) -> bytes:
    from tornado.web import Application, RequestHandler

    class Warm(RequestHandler):
        def get(self) -> None:
            self.write({"warm": True})

        def log_exception(self, *info: object) -> None:
            """The answer's status tells."""

    # Without `log_function` the application's own log would show our request.
    application = Application([("/", Warm)], log_function=lambda handler: None)
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        theirs.setblocking(False)
        unread = SimpleNamespace(open=0, requests=0, in_flight=0)
        server(application, config, unread, lambda: None, None).accept(theirs, ("127.0.0.1", 0))
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(ours, _REQUEST)
        answer = b""
        while part := await loop.sock_recv(ours, 65536):
            answer += part
        return answer


def _forget(loop: asyncio.AbstractEventLoop) -> None:
    """Take the closed loop out of Tornado's registry, which keeps it alive."""
    from tornado.ioloop import IOLoop

    IOLoop._ioloop_for_asyncio.pop(loop, None)
