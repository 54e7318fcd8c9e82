"""Something that listens where a supervisor would, and behaves as a test likes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from leeward._sys.channel import Channel
from leeward.cli.instances import Instance


@contextmanager
def supervisor(path: Path, behave: Callable[[Channel], None]) -> Iterator[Instance]:
    """Something that listens at `path` and does `behave` with its first client."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(str(path))
    listening.listen()
    listening.settimeout(10)

    def serve() -> None:
        connection, _ = listening.accept()
        channel = Channel(connection)
        behave(channel)
        channel.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Instance("chat", str(path))
    finally:
        thread.join(10)
        listening.close()
