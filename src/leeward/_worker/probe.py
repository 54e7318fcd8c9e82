"""--probe: is the application able to answer, before anybody is sent to it?

The canary asks itself, after the factory and before it accepts:

    probe ── GET PATH ──► socketpair ──► the server that will serve ──► the application
      └─ 2xx: READY        anything else: Failed, and the old generation serves on

Plain HTTP, where TLS is on too; its request counts nowhere, and is answered by the
application itself, not by --health-path.

A handler that waits for ever is named by the chain of what it awaits.  One that
blocks the loop cannot be timed out from inside: the supervisor ends it, and says where
it hung by the stack that `leeward.adapters.loading.watched` has left.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import socket
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from leeward.adapters import blame
from leeward.adapters.loading import time_to_wait
from leeward.errors import TargetError

if TYPE_CHECKING:
    from leeward._core.config import Config
    from leeward.engine.server import Server

#: Bytes of an answer that are read: its status is what counts.
MOST = 64 * 1024

_STATUS = re.compile(rb"HTTP/1\.[01] (\d\d\d) ?([^\r\n]*)")


class Failure(TargetError):
    """The probe was not answered by 2xx."""


async def ask(server: Server, config: Config) -> None:
    """Raises `Failure`, at the latest shortly before the start time-out."""
    path = config.probe
    before = asyncio.all_tasks()
    try:
        async with asyncio.timeout(time_to_wait(config.start_timeout)):
            status, reason, location = await _get(server, path)
    except TimeoutError:
        said = f"was not answered within {config.start_timeout:g} s (--start-timeout)"
        waits = _waiting(asyncio.all_tasks() - before)
        raise Failure(_told(path, said, waits), "Have it answer sooner") from None
    except (asyncio.IncompleteReadError, ConnectionError):
        remedy = "The service's log may say why"
        raise Failure(_told(path, "got no answer: the connection was closed"), remedy) from None
    except asyncio.LimitOverrunError:
        said = f"answered by more than {MOST >> 10} KiB of headers"
        raise Failure(_told(path, said), "Name another path") from None
    if 200 <= status < 300:
        return
    said = f"answered {status} {reason}".rstrip()
    remedy = "Name a path that anybody may GET"
    if 300 <= status < 400:
        said += f", a redirect to {location or 'nowhere'}"
        remedy = "Name a path that is answered itself, by plain http and without a session"
    elif status >= 500:
        remedy = "The service's log has its traceback"
    elif status == 404:
        remedy = "Name a path that the application has"
        if path == config.health_path:
            remedy += ": --health-path is answered by leeward, the probe by the application"
    raise Failure(_told(path, said), remedy)


def _told(path: str, said: str, frames: list[str] | None = None) -> str:
    return "\n".join([f"probe GET {path} {said} (--probe)", *(frames or [])])


async def _get(server: Server, path: str) -> tuple[int, str, str]:
    """Status, reason and Location of the answer."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=ours, limit=MOST)
    try:
        server.probe(theirs)
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "User-Agent: leeward-probe"]
        writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        left = MOST - len(head)
        # To its end: a handler that is cut off in the middle would log an error.
        while left > 0 and (data := await reader.read(left)):
            left -= len(data)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    status = _STATUS.match(head)
    if status is None:
        raise ConnectionError("no HTTP")
    location = re.search(rb"(?i)\r\nlocation: *([^\r\n]*)", head)
    text = location[1].decode("latin-1") if location else ""
    return int(status[1]), status[2].decode("latin-1"), text[: blame.WIDTH]


def _waiting(tasks: set[asyncio.Task[Any]]) -> list[str]:
    """Where the application waits in `tasks`, one line for each frame."""
    for task in tasks:
        frames = list(_frames(task.get_coro()))
        lines = blame.told(traceback.StackSummary.extract((it, it.f_lineno) for it in frames))
        handler = next((it.f_locals.get("self") for it in frames), None)
        request = getattr(handler, "request", None)
        if request is None:
            continue  # no handler of Tornado's
        if all("raised in" in line for line in lines):
            # A gen.coroutine is no task: only its method is known.
            method = inspect.unwrap(getattr(handler, str(request.method).lower()))
            code = method.__code__
            lines = [f"  {blame.shown(code.co_filename)}:{code.co_firstlineno} in {code.co_name}"]
        return lines
    return []


def _frames(awaited: Any) -> Iterator[Any]:
    """The frames of a suspended coroutine and of what it awaits, outermost first."""
    for _ in range(100):
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is None:
            return
        yield frame
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
