"""Clients that see what a socket really does: every byte, every end, every reset.

`Http` keeps its connection and never opens another behind the test's back;
`WebSocket` shows close codes; a `Gate` lets a test hold a request in flight for
as long as it wants (see `tests/apps/held.py`).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import select
import socket
from types import TracebackType
from typing import Any, NamedTuple

from process.support import PATIENCE

from leeward.testing import Service

Address = tuple[str, int] | str


def address_of(service: Service) -> tuple[str, int]:
    """Of the first TCP listener, from the banner."""
    found = service.wait_line(r"^  at +http://([\d.]+):(\d+)")
    return found[1], int(found[2])


def all_drain(service: Service, generation: int, workers: int) -> None:
    """Waits until no worker of this generation accepts any more.

    "generation 2 serves" says that every slot has a new worker; the last old one
    hears of it a moment later.
    """
    for slot in range(workers):
        service.wait_line(rf"worker={slot} gen={generation} pid=\d+ draining \(reload\)")


def reload(service: Service, workers: int = 1) -> None:
    """`leeward reload` from generation 1 to 2, and nobody is left who answers as 1."""
    done = service.leeward("reload")
    assert (done.returncode, done.stderr) == (0, ""), done
    all_drain(service, 1, workers)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def announces_close(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"


class _Closing:
    sock: socket.socket

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def at_end(self, timeout: float = PATIENCE) -> bool:
        """Does the server close, without a reset and without another byte, in time?"""
        if not select.select([self.sock], [], [], timeout)[0]:
            return False
        return self.sock.recv(1) == b""

    def cut(self, timeout: float = PATIENCE) -> bool:
        """Does the connection end, by a reset or otherwise, whatever comes before?"""
        self.sock.settimeout(timeout)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            try:
                while self.sock.recv(4096):
                    pass
            except TimeoutError:
                return False
        return True


class Http(_Closing):
    """One connection; `get` may be called again until the server closes it."""

    def __init__(self, address: Address, source: str = "") -> None:
        """source:  the client's own address, where it matters."""
        self.sock = connected(address, source)
        self._buffer = b""

    def send(self, path: str = "/", *headers: str, version: str = "1.1") -> None:
        lines = [f"GET {path} HTTP/{version}", "Host: test", *headers, "", ""]
        self.sock.sendall("\r\n".join(lines).encode())

    def answer(self) -> Answer:
        """Raises ConnectionError if the connection ends before the answer is complete."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        pairs = (line.split(":", 1) for line in rest)
        headers = {name.lower(): value.strip() for name, value in pairs}
        length = int(headers.get("content-length", "0"))
        while len(self._buffer) < length:
            self._more()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return Answer(int(first.split()[1]), headers, body)

    def get(self, path: str = "/", *headers: str) -> Answer:
        self.send(path, *headers)
        return self.answer()

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionAbortedError(f"closed in the middle, after {self._buffer!r}")
        self._buffer += data


def get(address: Address, path: str = "/") -> Answer:
    """One request on a connection of its own."""
    with Http(address) as client:
        answer: Answer = client.get(path, "Connection: close")
    return answer


class WebSocket(_Closing):
    """A client without masks' randomness: RFC 6455 with an all-zero key."""

    def __init__(
        self, address: Address, path: str = "/ws", source: str = "", headers: tuple[str, ...] = ()
    ) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        http = Http(address, source)
        self.sock = http.sock
        try:
            answer = http.get(
                path,
                "Upgrade: websocket",
                "Connection: Upgrade",
                f"Sec-WebSocket-Key: {key}",
                "Sec-WebSocket-Version: 13",
                *headers,
            )
            assert answer.status == 101, answer
        except BaseException:
            self.close()
            raise
        self._buffer = http._buffer

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionAbortedError("closed without a close frame: a client sees 1006")
            self._buffer += data
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _frame(self) -> tuple[int, bytes]:
        first, second = self._take(2)
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(self._take(2), "big")
        return first & 0x0F, self._take(length)

    def hear(self) -> str:
        opcode, payload = self._frame()
        assert opcode == 1, (opcode, payload)
        return payload.decode()

    def say(self, text: str) -> None:
        self._send(1, text.encode())

    def close_code(self, *, answer: bool = True) -> int:
        """The code of the close frame that comes next; answered, as browsers do."""
        return self.farewell(answer=answer)[0]

    def farewell(self, *, answer: bool = True) -> tuple[int, str]:
        """The same, with its reason."""
        opcode, payload = self._frame()
        assert opcode == 8, (opcode, payload)
        if answer:
            self._send(8, payload[:2])
        return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    def _send(self, opcode: int, payload: bytes) -> None:
        assert len(payload) < 126
        self.sock.sendall(bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload)


class Held(_Closing):
    """A request that waits.  pid: of the worker that has it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        line = b""
        while not line.endswith(b"\n"):
            data = sock.recv(64)
            assert data, "the handler ended at once"
            line += data
        self.pid = int(line)

    def release(self) -> None:
        self.sock.close()


class Gate(_Closing):
    """Where held requests report, and wait to be released."""

    def __init__(self) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.sock.settimeout(PATIENCE)
        self.port = self.sock.getsockname()[1]
        self._held: list[Held] = []

    def close(self) -> None:
        for held in self._held:
            held.release()
        super().close()

    def hold(self, client: Http, kind: str = "held", *headers: str) -> Held:
        """Sends a request and returns once a handler has it."""
        client.send(f"/{kind}/{self.port}", *headers)
        return self.arrival()

    def arrival(self) -> Held:
        """The next that comes to this gate."""
        sock, _ = self.sock.accept()
        sock.settimeout(PATIENCE)
        self._held.append(Held(sock))
        return self._held[-1]


def connected(address: Address, source: str = "") -> socket.socket:
    """A client of `address`, which may be a unix socket's.  Raises OSError."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(PATIENCE)
        try:
            sock.connect(re.sub("^unix:", "", address))
        except OSError:
            sock.close()
            raise
    else:
        sock = socket.create_connection(address, PATIENCE, (source, 0) if source else None)
    return sock


def refused(address: Address) -> bool:
    """Does nobody listen there?"""
    try:
        connected(address).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    return False
