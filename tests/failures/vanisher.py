"""A process full of clients, that vanishes in the way it is told to by a signal.

    vanisher.py HOST PORT SOURCE PATH...

It says "ready" when all are connected, and "pinged" when each WebSocket has answered a ping.
TERM: closes each as it should be; USR1: resets them; KILL and STOP do what they do.
"""

from __future__ import annotations

import selectors
import signal
import socket
import struct
import sys
from types import FrameType

_UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
_MASK = bytes(4)


class Client:
    def __init__(self, address: tuple[str, int], source: str, path: str) -> None:
        self.websocket = not path.startswith(("/poll", "/events"))
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.sock.bind((source, 0))
        self.sock.connect(address)
        more = _UPGRADE if self.websocket else ""
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode())
        self.pinged = not self.websocket
        self.data = b""
        if self.websocket:
            while b"\r\n\r\n" not in self.data:
                self.data += self.sock.recv(65536)
            self.data = self.data.partition(b"\r\n\r\n")[2]

    def read(self) -> bool:
        """Take what has come; False at the end."""
        try:
            data = self.sock.recv(1 << 20)
        except ConnectionError:
            return False
        if self.websocket:
            self.data += data
            while len(self.data) >= 2 and len(self.data) >= 2 + self.data[1]:
                first, length = self.data[:2]
                payload, self.data = self.data[2 : 2 + length], self.data[2 + length :]
                if first == 0x89:
                    self.pinged = True
                    self.sock.sendall(bytes((0x8A, 0x80 | length)) + _MASK + payload)
        return bool(data)

    def close(self) -> None:
        if self.websocket:
            self.sock.sendall(b"\x88\x82" + _MASK + b"\x03\xe8")
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def main() -> None:
    host, port, source, *paths = sys.argv[1:]
    clients = [Client((host, int(port)), source, path) for path in paths]

    def end(number: int, frame: FrameType | None) -> None:
        for client in clients:
            client.close() if number == signal.SIGTERM else client.reset()
        sys.exit()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGUSR1, end)
    print("ready", flush=True)
    selector, told = selectors.DefaultSelector(), False
    for client in clients:
        selector.register(client.sock, selectors.EVENT_READ, client)
    while True:
        for key, _ in selector.select():
            if not key.data.read():
                selector.unregister(key.data.sock)
        if not told and all(client.pinged for client in clients):
            told = True
            print("pinged", flush=True)


if __name__ == "__main__":
    main()
