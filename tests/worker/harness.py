"""One real worker process, its supervisor's end of the channel, and a raw client."""

from __future__ import annotations

import os
import re
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from leeward._core.config import Config
from leeward._core.messages import Closed, Drain, Failed, Hello, Message, Ready, Watched
from leeward._core.record import replace
from leeward._sys.channel import Channel
from leeward._sys.page import Page
from leeward.errors import ChannelClosed

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent / "src"

#: Seconds that any single wait may take.
PATIENCE = 15.0


class Worker:
    """A worker's process as its supervisor sees it."""

    def __init__(self, factory, tmp_path, listeners=None, limit=None, **config):
        self.listeners = listeners or [listen()]
        self.address = self.listeners[0].getsockname()
        self.channel, other = Channel.pair()
        self.page = Page.create()
        self.row = self.page.row(0)
        fds = [other.fileno(), self.page.fd, *(sock.fileno() for sock in self.listeners)]
        settings = replace(Config(target="apps", graceful_timeout=10.0), **config)
        self.err = (tmp_path / "stderr").open("w+b")
        path = [str(SOURCE), str(HERE), os.environ.get("PYTHONPATH", "")]
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(HERE / "stage.py"),
                factory,
                str(fds[0]),
                str(fds[1]),
                settings.to_json(),
                str(self.address),
                *(str(fd) for fd in fds[2:]),
            ],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stderr=self.err,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path),
                "PYTHONWARNINGS": "error,ignore:uvloop.install:DeprecationWarning",
            },
            preexec_fn=limit,
        )
        other.close()
        self.clients: list[Client] = []

    @property
    def pid(self):
        return self.process.pid

    def receive(self, kind: type[Message] | None, patience: float = PATIENCE):
        """The next message; None for the channel's end.  Where it may hang is passed over."""
        try:
            while isinstance(message := self.channel.wait(patience), Watched | Closed):
                if isinstance(message, Watched):
                    os.close(message.stack)
        except ChannelClosed:
            message = None
            assert kind is None, f"channel closed, expected {kind}\n{self.log()}"
        else:
            assert kind is not None and isinstance(message, kind), f"{message}\n{self.log()}"
        return message

    def ready(self):
        assert self.receive(Hello).pid == self.pid
        return self.receive(Ready)

    def failed(self) -> Failed:
        self.receive(Hello)
        return self.receive(Failed)

    def drain(self, reason="stop", timeout=5.0, window=1.0, refuse=False):
        self.channel.send(Drain(reason, timeout, window, refuse))
        return time.monotonic()

    def ended(self, patience=PATIENCE):
        """Its exit status, once it has ended."""
        return self.process.wait(patience)

    def log(self):
        self.err.flush()
        return Path(self.err.name).read_text(errors="replace")

    def expect(self, pattern, patience=PATIENCE):
        """Wait for a line of its stderr that matches; the file is polled, it has no other event."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            for line in self.log().split("\n"):
                if found := re.search(pattern, line):
                    return found
            select.select([], [], [], 0.005)
        raise AssertionError(f"no line {pattern!r} in\n{self.log()}")

    def until(self, true, patience=PATIENCE):
        """Wait until `true(row)`: the page is memory, it has no event either."""
        deadline = time.monotonic() + patience
        while not true(self.row):
            assert time.monotonic() < deadline, f"{words(self.row)}\n{self.log()}"
            select.select([], [], [], 0.002)

    def connect(self, listener=None):
        self.clients.append(Client(listener or self.listeners[0]))
        return self.clients[-1]

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.channel.close()
        self.page.close()
        for each in (*self.listeners, *self.clients):
            each.close()
        self.err.close()


def words(row):
    return {key: getattr(row, key) for key in ("open", "accepted", "requests", "in_flight")}


def listen(family=socket.AF_INET, address=("127.0.0.1", 0)):
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind(address)
    sock.listen(512)
    sock.setblocking(False)
    return sock


class Client:
    """A blocking HTTP client that shows everything, and a WebSocket one."""

    def __init__(self, listener):
        self.sock = socket.socket(listener.family)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(listener.getsockname())
        self.rest = b""

    def send(self, path, version="1.1", **headers):
        lines = [f"GET {path} HTTP/{version}", "Host: x"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())

    def more(self):
        data = self.sock.recv(65536)
        self.rest += data
        return bool(data)

    def head(self):
        while b"\r\n\r\n" not in self.rest:
            if not self.more():
                raise EOFError(self.rest)
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers or name == "Set-Cookie", head
            headers[name.lower()] = value
        return int(first.split()[1]), headers

    def take(self, count):
        while len(self.rest) < count:
            if not self.more():
                raise EOFError(self.rest)
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

    def answer(self):
        """(status, headers, body)"""
        status, headers = self.head()
        if "content-length" in headers:
            return status, headers, self.take(int(headers["content-length"])).decode()
        body = b""
        while True:
            while b"\r\n" not in self.rest:
                assert self.more()
            size, _, self.rest = self.rest.partition(b"\r\n")
            body += self.take(int(size, 16))
            self.take(2)
            if int(size, 16) == 0:
                return status, headers, body.decode()

    def get(self, path, **headers):
        self.send(path, **headers)
        return self.answer()

    def at_end(self):
        """Has the server closed, cleanly and without another byte?"""
        return self.rest == b"" and self.sock.recv(1) == b""

    def silent(self):
        """Has nothing come, not even the end?"""
        return not select.select([self.sock], [], [], 0)[0]

    def upgrade(self, path="/ws"):
        self.send(
            path,
            Upgrade="websocket",
            Connection="Upgrade",
            Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
            Sec_WebSocket_Version="13",
        )
        status, headers = self.head()
        assert status == 101 and headers["connection"] == "Upgrade", headers
        return self

    def frame(self):
        """(opcode, payload) of a short frame."""
        first, length = self.take(2)
        return first & 0x0F, self.take(length)

    def send_frame(self, opcode, payload):
        self.sock.sendall(bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload)

    def close_code(self, *, answer=True):
        """Wait for the close frame; answer it; its code."""
        opcode, payload = self.frame()
        assert opcode == 8, (opcode, payload)
        if answer:
            self.send_frame(8, payload[:2])
        return struct.unpack(">H", payload[:2])[0]

    def close(self):
        self.sock.close()
