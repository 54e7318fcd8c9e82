"""Daemons that take datagrams, as syslog and journald do."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time

LOCAL = re.compile(rb"<30>[A-Z][a-z]{2} [ 0-3]\d \d\d:\d\d:\d\d shop\[7\]: (.*)")
PROTOCOL = re.compile(
    rb"<30>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S+ shop 7 - "
    rb'\[leeward@32473 worker="2" gen="5" seq="\d+"\] (.*)'
)


class Daemon:
    """Takes datagrams at `address`, in a thread.  pause:  seconds after each."""

    def __init__(self, address: str | tuple[str, int], pause: float = 0.0) -> None:
        self.address = address
        self.pause = pause
        self.came: list[bytes] = []
        self.stopped = threading.Event()
        self.start()

    def start(self) -> None:
        """It, or its successor."""
        local = isinstance(self.address, str)
        self.socket = socket.socket(socket.AF_UNIX if local else socket.AF_INET, socket.SOCK_DGRAM)
        if isinstance(self.address, str):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.address)
        self.socket.bind(self.address)
        self.address = self.socket.getsockname()
        self.thread = threading.Thread(target=self._read, args=(self.socket,))
        self.thread.start()

    def _read(self, sock: socket.socket) -> None:
        while True:
            data, ancillary, _, _ = sock.recvmsg(1 << 20, 64)
            if ancillary:
                fd = int.from_bytes(ancillary[0][2], "little")
                data = os.pread(fd, 1 << 22, 0)
                os.close(fd)
            if not data:
                return
            self.came.append(data)
            self.stopped.wait(self.pause)

    def stop(self) -> None:
        """It takes what is there, and ends."""
        self.stopped.set()
        if isinstance(self.address, str):
            # What is in the queue can still be read, and nothing is added to it.
            self.socket.shutdown(socket.SHUT_RD)
        else:
            self.socket.sendto(b"", self.address)
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.socket.close()
        self.stopped.clear()

    def wait_for(self, words: bytes) -> None:
        """Until a message with `words` has come."""
        deadline = time.monotonic() + 20
        while not any(words in it for it in self.came):
            assert time.monotonic() < deadline, f"no {words!r} in {self.came[-5:]}"
            time.sleep(0.005)

    def lines(self, pattern: re.Pattern[bytes] = LOCAL) -> list[bytes]:
        found = [pattern.fullmatch(it) for it in self.came]
        assert None not in found, [it for it in self.came if not pattern.fullmatch(it)][:3]
        return [it[1] + b"\n" for it in found if it]

    def wait(self, many: int) -> None:
        """Until so many have come; only the thread sees them come."""
        deadline = time.monotonic() + 20
        while len(self.came) < many:
            assert time.monotonic() < deadline, f"{len(self.came)} of {many}"
            time.sleep(0.005)


def fields(entry: bytes) -> dict[str, bytes]:
    """Of the journal's native protocol."""
    found = {}
    while entry:
        head, _, entry = entry.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            size = int.from_bytes(entry[:8], "little")
            value, end = entry[8 : 8 + size], entry[8 + size : 9 + size]
            assert end == b"\n"
            entry = entry[9 + size :]
        found[name.decode()] = value
    return found
