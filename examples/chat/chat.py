"""A chat room on every core: pages, a JSON API, a WebSocket room and a long poll.

An ordinary Tornado application that knows nothing about who runs it:

    python examples/chat/chat.py                         one process
    leeward serve examples/chat/chat.py:make_app -w auto one worker on each core

With several workers, two people in the room are mostly in different processes.
Each worker therefore has one AF_UNIX datagram socket in a directory that all of
them share, and sends each message of its own clients to every socket in there.
No broker, no database: the last `HISTORY` messages live in each worker's memory,
and a worker that starts asks its siblings for them before it answers anybody.

Sockets are named by slot and by process (``slot-2.9f3ab01c``), because during a
reload the old and the new worker of one slot are both alive and both have people
in the room.  A first version gave each slot one name which the new worker took
over by a rename: whoever was still on the old worker went deaf until it left.
"""

from __future__ import annotations

import asyncio
import atexit
import collections
import contextlib
import errno
import hashlib
import json
import logging
import os
import platform
import secrets
import signal
import socket
import stat
import tempfile
import time
from pathlib import Path
from typing import Any
from unicodedata import category

import tornado
from tornado import web, websocket
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets

log = logging.getLogger("chat")

HERE = Path(__file__).resolve().parent
#: Messages that a worker remembers.
HISTORY = 200
#: Bytes of one message as it travels between workers, everything included.
MESSAGE_BYTES = 4096
NAME_CHARACTERS = 32
#: Datagrams kept for a sibling that does not read.  The kernel itself queues only
#: ten or so (net.unix.max_dgram_qlen), which one blocked sibling fills at once.
OUTBOX = 1000
#: Messages on their way to one WebSocket before it counts as stalled and is closed.
UNSENT = 256
POLL_SECONDS = 25.0
#: How long a new worker waits for its siblings' history.
JOIN_SECONDS = 1.0

#: Marks that turn the direction of whatever text stands after them.
DIRECTION_MARKS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

Message = dict[str, Any]


class TooLong(ValueError):
    """A message that does not fit into `MESSAGE_BYTES`."""


# --- between workers --------------------------------------------------------------------


class Sibling:
    """The way to one other worker's socket; keeps what the kernel does not take yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dropped = 0
        self._outbox: collections.deque[bytes] = collections.deque()
        self._loop = IOLoop.current()
        self._waiting = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            # Connected, because only then does epoll say when the *peer's* queue has room.
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def send(self, datagram: bytes) -> None:
        """Send now or soon.  Raises OSError once the sibling is gone."""
        if len(self._outbox) >= OUTBOX:
            self._outbox.popleft()
            self.dropped += 1
        self._outbox.append(datagram)
        self._flush()

    def _flush(self) -> None:
        while self._outbox:
            try:
                self._socket.send(self._outbox[0])
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ENOBUFS):
                    raise
                break
            self._outbox.popleft()
        if bool(self._outbox) != self._waiting:
            self._waiting = not self._waiting
            if self._waiting:
                self._loop.add_handler(self._socket, self._writable, IOLoop.WRITE)
            else:
                self._loop.remove_handler(self._socket)

    def _writable(self, _socket: socket.socket, _events: int) -> None:
        try:
            self._flush()
        except OSError:
            self.close()  # gone: the next message finds that out and forgets it

    def close(self) -> None:
        self._outbox.clear()
        if self._waiting:
            self._waiting = False
            self._loop.remove_handler(self._socket)
        self._socket.close()


class Bus:
    """One datagram socket of our own, and a way to each sibling's."""

    def __init__(self, directory: Path, slot: int, token: str) -> None:
        self._directory = directory
        self._siblings: dict[Path, Sibling] = {}
        self._lost = 0
        self._pid = os.getpid()
        self.path = directory / f"slot-{slot}.{token}"
        self._clear_dead(slot)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(self.path))
        atexit.register(self.close)

    def start(self, receive: Any) -> None:
        self._receive = receive
        IOLoop.current().add_handler(self._socket, self._readable, IOLoop.READ)

    def _clear_dead(self, slot: int) -> None:
        """Remove what killed predecessors in this slot left behind.

        Other slots' sockets are not ours to remove: their owner does it when it
        starts.  Until then a dead one costs a refused connect for each message.
        """
        for path in self._directory.glob(f"slot-{slot}.*"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                try:
                    probe.connect(str(path))
                except ConnectionRefusedError:
                    path.unlink(missing_ok=True)
                except FileNotFoundError:
                    continue  # its owner was quicker

    def siblings(self) -> list[Sibling]:
        """Every other worker that is there now: the directory is the truth."""
        found = {path for path in self._directory.glob("slot-*") if path != self.path}
        for path in self._siblings.keys() - found:
            self._forget(path)
        for path in found - self._siblings.keys():
            # A dead socket of another slot; or one that left just now.
            with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
                self._siblings[path] = Sibling(path)
        return list(self._siblings.values())

    def send(self, message: Message, to: str = "") -> None:
        """Send to every sibling, or only to the one whose socket is named `to`."""
        datagram = encode(message)
        for sibling in self.siblings():
            if to and sibling.path.name != to:
                continue
            try:
                sibling.send(datagram)
            except OSError as error:
                log.debug("sibling %s is gone: %s", sibling.path.name, error)
                self._forget(sibling.path)

    def _forget(self, path: Path) -> None:
        sibling = self._siblings.pop(path)
        self._lost += sibling.dropped
        sibling.close()

    @property
    def dropped(self) -> int:
        """Messages that siblings who did not read have missed."""
        return self._lost + sum(sibling.dropped for sibling in self._siblings.values())

    def _readable(self, _socket: socket.socket, _events: int) -> None:
        # A few at a time: a busy room must not keep HTTP from being answered.
        for _ in range(32):
            try:
                datagram = self._socket.recv(2 * MESSAGE_BYTES)
            except BlockingIOError:
                return
            try:
                self._receive(json.loads(datagram))
            except (ValueError, KeyError, TypeError) as error:
                log.warning("datagram that is no message: %r (%s)", datagram[:80], error)

    def close(self) -> None:
        """Remove our socket.  Registered with atexit, so that a worker's end runs it."""
        if os.getpid() == self._pid:  # not in a child that somebody forked from us
            self.path.unlink(missing_ok=True)


def run_directory() -> Path:
    """The directory of the workers' sockets, ours alone.

    ``CHAT_RUN_DIR`` if set; else one per user and instance in the temporary
    directory.  A server that tells its workers which instance they belong to
    (``LEEWARD_INSTANCE`` is "control socket:pid") keeps two chats apart; the pid
    is left out of the name, so that a restart finds and clears what is stale.
    """
    given = os.environ.get("CHAT_RUN_DIR")
    if given:
        directory = Path(given)
    else:
        instance = os.environ.get("LEEWARD_INSTANCE", "alone").rpartition(":")[0]
        key = hashlib.sha256(f"{HERE}\0{instance}".encode()).hexdigest()[:12]
        directory = Path(tempfile.gettempdir()) / f"chat-{os.getuid()}-{key}"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{directory} belongs to somebody else: set CHAT_RUN_DIR")
    return directory


def encode(message: Message) -> bytes:
    """Bytes for the wire.  Raises `TooLong`."""
    data = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    if len(data) > MESSAGE_BYTES:
        raise TooLong(f"message of {len(data)} bytes, at most {MESSAGE_BYTES} are allowed")
    return data


# --- the room ---------------------------------------------------------------------------


class Room:
    """What one worker knows of the room, and the people that are on this worker.

    Each worker numbers the messages that *its* clients send: a message is named
    by its `origin` and `n`.  There is no common order and none is needed: a
    reader's place is a cursor "origin:n,origin:n", the last number it has of each
    origin, and is valid on whichever worker its next request lands.  (A single
    number or a time stamp cannot do this: of two messages sent at once, the one
    that arrives second may have the smaller stamp, and a reader skips it.)
    """

    def __init__(self) -> None:
        self.slot = int(os.environ.get("LEEWARD_SLOT", "0"))
        self.generation = int(os.environ.get("LEEWARD_GENERATION", "1"))
        self.origin = f"{self.slot}-{secrets.token_hex(4)}"
        self.people: set[RoomSocket] = set()
        self.polls: set[asyncio.Future[None]] = set()
        self.joined = asyncio.Event()
        self._sent = 0
        self._messages: collections.deque[Message] = collections.deque(maxlen=HISTORY)
        self._known: set[tuple[str, int]] = set()
        self._bus = Bus(run_directory(), self.slot, secrets.token_hex(4))
        self._bus.start(self._from_sibling)
        self._unanswered = {sibling.path.name for sibling in self._bus.siblings()}
        self._bus.send({"kind": "join", "from": self._bus.path.name})
        if self._unanswered:
            IOLoop.current().call_later(JOIN_SECONDS, self.joined.set)
        else:
            self.joined.set()

    def say(self, name: str, text: str, ref: str) -> Message:
        """A message from one of our own clients, told to everybody.  Raises `TooLong`.

        ref:  chosen by the sender, who recognises by it that the message arrived.
        """
        message = {
            "origin": self.origin,
            "n": self._sent + 1,
            "at": round(time.time(), 3),
            "slot": self.slot,
            "name": name,
            "text": text,
            "ref": ref,
        }
        self._bus.send({"kind": "message", **message})
        self._sent += 1
        self._add(message)
        return message

    def _from_sibling(self, datagram: Message) -> None:
        kind = datagram.pop("kind")
        if kind == "message":
            self._add(datagram)
        elif kind == "join":
            for message in list(self._messages):
                self._bus.send({"kind": "message", **message}, to=datagram["from"])
            end = {"kind": "history ends", "from": self._bus.path.name}
            self._bus.send(end, to=datagram["from"])
        elif kind == "history ends":
            self._unanswered.discard(datagram["from"])
            if not self._unanswered:
                self.joined.set()

    def _add(self, message: Message) -> None:
        name = (message["origin"], message["n"])
        if name in self._known:
            return  # two siblings told us the same history
        if len(self._messages) == HISTORY:
            oldest = self._messages[0]
            self._known.discard((oldest["origin"], oldest["n"]))
        self._known.add(name)
        self._messages.append(message)
        text = json.dumps({"message": message})
        for person in list(self.people):
            person.tell(text)
        for poll in self.polls:
            if not poll.done():
                poll.set_result(None)
        self.polls.clear()

    def after(self, cursor: dict[str, int]) -> list[Message]:
        """What a reader with this cursor has not seen, oldest first."""
        unseen = (m for m in self._messages if m["n"] > cursor.get(m["origin"], 0))
        return sorted(unseen, key=lambda m: (m["at"], m["origin"], m["n"]))

    def cursor(self) -> str:
        """The cursor of a reader who has seen everything that is here."""
        last: dict[str, int] = {}
        for message in self._messages:
            last[message["origin"]] = max(message["n"], last.get(message["origin"], 0))
        return ",".join(f"{origin}:{n}" for origin, n in last.items())

    def status(self) -> dict[str, Any]:
        return {
            "slot": self.slot,
            "generation": self.generation,
            "pid": os.getpid(),
            "messages": len(self._messages),
            "people": len(self.people),
            "polls": len(self.polls),
            "siblings": len(self._bus.siblings()),
            "dropped": self._bus.dropped,
            "python": platform.python_version(),
            "tornado": tornado.version,
        }


# --- over HTTP --------------------------------------------------------------------------


class Handler(web.RequestHandler):
    def initialize(self, room: Room) -> None:
        self.room = room

    async def prepare(self) -> None:
        await self.room.joined.wait()

    def set_default_headers(self) -> None:
        self.set_header("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.finish({"error": self._reason})

    def messages(self, cursor: dict[str, int]) -> dict[str, Any]:
        return {
            "slot": self.room.slot,
            "messages": self.room.after(cursor),
            "next": self.room.cursor(),
        }


def place(handler: web.RequestHandler) -> dict[str, int]:
    """The reader's cursor, from ``?after=``; nothing means from the beginning."""
    cursor: dict[str, int] = {}
    for part in filter(None, handler.get_query_argument("after", "").split(",")):
        origin, colon, n = part.rpartition(":")
        if not (colon and n.isascii() and n.isdigit() and len(n) < 16):
            raise web.HTTPError(400, reason="after is origin:number,origin:number")
        cursor[origin] = int(n)
    return cursor


class PageHandler(Handler):
    def get(self) -> None:
        self.render("room.html", slot=self.room.slot)


class AboutHandler(Handler):
    def get(self) -> None:
        self.render("about.html", status=self.room.status())


class StatusHandler(Handler):
    def get(self) -> None:
        self.write(self.room.status())


class MessagesHandler(Handler):
    def get(self) -> None:
        self.write(self.messages(place(self)))

    def post(self) -> None:
        # A type that a form of another site cannot send without asking first.
        if self.request.headers.get("Content-Type", "").partition(";")[0] != "application/json":
            raise web.HTTPError(415, reason="send application/json")
        try:
            message = self.room.say(*parse(self.request.body))
        except TooLong as error:
            raise web.HTTPError(413, reason=str(error)) from None
        except ValueError as error:
            raise web.HTTPError(400, reason=str(error)) from None
        self.set_status(201)
        self.write(message)


class PollHandler(Handler):
    """Answers as soon as there is something after the cursor, or empty after a while."""

    waiting: asyncio.Future[None] | None = None

    async def get(self) -> None:
        cursor = place(self)
        if not self.room.after(cursor):
            self.waiting = asyncio.get_running_loop().create_future()
            self.room.polls.add(self.waiting)
            # Out of time: an empty answer, and the client asks again.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.waiting, POLL_SECONDS)
            self.room.polls.discard(self.waiting)
        self.write(self.messages(cursor))

    def on_connection_close(self) -> None:
        # Without this the coroutine stays behind for a client that has left.
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)


class RoomSocket(websocket.WebSocketHandler):
    """The room itself: who we are, what the reader missed, then each message as it comes.

    A reader who comes back brings its cursor (``/ws?after=``) and gets what it
    missed from the same worker that tells it what follows.  (Asking ``/api/messages``
    instead can land on a worker that is a moment behind, and what was on its way
    there just then is seen on neither.)
    """

    def initialize(self, room: Room) -> None:
        self.room = room
        self.unsent = 0
        self.after: dict[str, int] = {}

    async def prepare(self) -> None:
        # Before the upgrade: once it is made, `open` and `on_close` come in pairs.
        self.after = place(self)
        await self.room.joined.wait()

    def open(self) -> None:
        room = self.room
        hello = {"slot": room.slot, "generation": room.generation, "pid": os.getpid()}
        self.tell(json.dumps({"hello": hello, "messages": room.after(self.after)}))
        room.people.add(self)

    def tell(self, text: str) -> None:
        if self.unsent >= UNSENT:
            self.room.people.discard(self)
            self.close(1013, "too slow")
            return
        try:
            sending = asyncio.ensure_future(self.write_message(text))
        except websocket.WebSocketClosedError:
            self.room.people.discard(self)
            return
        self.unsent += 1
        sending.add_done_callback(self._sent)

    def _sent(self, sending: asyncio.Future[None]) -> None:
        self.unsent -= 1
        if not sending.cancelled():
            error = sending.exception()  # looked at, so that nobody warns that it was not
            if error and not isinstance(error, websocket.WebSocketClosedError | StreamClosedError):
                log.error("cannot write to a WebSocket", exc_info=error)

    def on_message(self, data: str | bytes) -> None:
        try:
            self.room.say(*parse(data))
        except ValueError as error:
            self.tell(json.dumps({"error": str(error)}))

    def on_close(self) -> None:
        self.room.people.discard(self)


def parse(data: str | bytes) -> tuple[str, str, str]:
    """Name, text and ref in a client's JSON.  Raises ValueError with words for it."""
    if len(data) > MESSAGE_BYTES:
        raise TooLong(f"message of {len(data)} bytes, at most {MESSAGE_BYTES} are allowed")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("this is not JSON") from None
    fields = body if isinstance(body, dict) else {}
    name, text, ref = fields.get("name", ""), fields.get("text"), fields.get("ref", "")
    if not (isinstance(name, str) and isinstance(text, str) and isinstance(ref, str)):
        raise ValueError('send {"name": "Ada", "text": "hello"}')
    name = clean(name)[:NAME_CHARACTERS] or "somebody"
    text = clean(text, keep="\n\t")
    if not text:
        raise ValueError("say something")
    return name, text, clean(ref)[:NAME_CHARACTERS]


def clean(text: str, keep: str = "") -> str:
    """Without control characters, lone surrogates, direction marks and blanks around it."""
    # By category: str.isprintable() is false for the joiners inside many emoji.
    unwanted = ("Cc", "Cs")
    return "".join(
        c for c in text if c in keep or (category(c) not in unwanted and c not in DIRECTION_MARKS)
    ).strip()


def make_app() -> web.Application:
    """The application of one worker; called in it, with its event loop at hand."""
    room = Room()
    routes = [
        (r"/", PageHandler),
        (r"/about", AboutHandler),
        (r"/api/status", StatusHandler),
        (r"/api/messages", MessagesHandler),
        (r"/api/poll", PollHandler),
        (r"/ws", RoomSocket),
    ]
    return web.Application(
        [(path, handler, {"room": room}) for path, handler in routes],
        template_path=str(HERE / "templates"),
        static_path=str(HERE / "static"),
        websocket_max_message_size=2 * MESSAGE_BYTES,
    )


async def main() -> None:
    """Serve alone, without anybody's help; PORT=0 takes any free port."""
    sockets = bind_sockets(int(os.environ.get("PORT", "8000")), "127.0.0.1")
    HTTPServer(make_app()).add_sockets(sockets)
    print("chat at http://{}:{}".format(*sockets[0].getsockname()), flush=True)
    leave = asyncio.Event()
    # So that a plain `kill` ends through atexit as well, and no socket is left behind.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave.set)
    await leave.wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
