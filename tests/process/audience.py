"""A process full of clients that stay: WebSockets and keep-alive connections by turns.

    audience.py HOST PORT SOURCE COUNT ARRIVAL

ARRIVAL: paced, burst (all at once) or serial (each has its answer before the next comes).
It says "here" when each has been answered; WebSockets answer pings from then on.  A line to
its stdin: it resets all, and ends.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time

_ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
_UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_PACE = 0.001


class Client:
    def __init__(self, address: tuple[str, int], source: str, websocket: bool) -> None:
        self.websocket, self.answered, self.data = websocket, False, b""
        self.sock = socket.socket()
        # The port is chosen together with the other end: SOURCE has more clients than ports.
        self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
        self.sock.bind((source, 0))
        self.sock.setblocking(False)
        self.sock.connect_ex(address)

    def ask(self) -> None:
        self.sock.send(_UPGRADE if self.websocket else _ASK)

    def read(self) -> None:
        data = self.sock.recv(65536)
        assert data, f"closed by the server, WebSocket: {self.websocket}, after {self.data!r}"
        self.data += data
        if not self.answered:
            head, end, rest = self.data.partition(b"\r\n\r\n")
            if not end or not (self.websocket or rest):
                return
            assert head.startswith(b"HTTP/1.1 101 " if self.websocket else b"HTTP/1.1 200 "), head
            self.answered, self.data = True, rest
        while self.websocket and len(self.data) >= 2 and len(self.data) >= 2 + self.data[1]:
            first, length = self.data[:2]
            payload, self.data = self.data[2 : 2 + length], self.data[2 + length :]
            if first == 0x89:
                self.sock.send(bytes((0x8A, 0x80 | length, 0, 0, 0, 0)) + payload)


class Audience:
    def __init__(self, address: tuple[str, int], source: str) -> None:
        self.address, self.source = address, source
        self.clients: dict[int, Client] = {}
        self.answers = 0
        self._epoll = select.epoll()
        self._epoll.register(sys.stdin, select.EPOLLIN)

    def come(self) -> None:
        client = Client(self.address, self.source, len(self.clients) % 2 == 0)
        self.clients[client.sock.fileno()] = client
        self._epoll.register(client.sock, select.EPOLLOUT)

    def serve(self, timeout: float | None = None) -> None:
        for fd, events in self._epoll.poll(timeout):
            if fd == sys.stdin.fileno():
                self.reset()
            client = self.clients[fd]
            if events & select.EPOLLOUT:
                client.ask()
                self._epoll.modify(fd, select.EPOLLIN)
                continue
            before = client.answered
            client.read()
            self.answers += client.answered - before

    def serve_until(self, answers: int) -> None:
        while self.answers < answers:
            self.serve()

    def reset(self) -> None:
        for client in self.clients.values():
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sock.close()
        sys.exit()


def main() -> None:
    host, port, source, count, arrival = sys.argv[1:]
    audience = Audience((host, int(port)), source)
    for number in range(int(count)):
        audience.come()
        if arrival == "paced":
            ends = time.monotonic() + _PACE
            while (left := ends - time.monotonic()) > 0:
                audience.serve(left)
        elif arrival == "serial":
            audience.serve_until(number + 1)
    audience.serve_until(int(count))
    print("here", flush=True)
    while True:
        audience.serve()


if __name__ == "__main__":
    main()
