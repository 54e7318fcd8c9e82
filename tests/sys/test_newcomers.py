"""Who has come is accepted, and nobody comes any more."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import pytest

from leeward._sys.newcomers import keep_out


def listener(family: socket.AddressFamily, directory: Path) -> socket.socket:
    one = socket.socket(family)
    hosts = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
    one.bind(str(directory / "s") if family == socket.AF_UNIX else (hosts[family], 0))
    one.listen(8)
    one.settimeout(10)
    return one


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_who_has_come_is_served_and_who_comes_is_not(
    family: socket.AddressFamily, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(listener(family, tmp_path))
        another = stack.enter_context(one.dup())  # as another process holds it
        early = [stack.enter_context(socket.socket(family)) for _ in range(2)]
        for client in early:
            client.connect(one.getsockname())
        keep_out(one)
        keep_out(another)  # as each of them does
        late = stack.enter_context(socket.socket(family))
        late.settimeout(0.2)
        with pytest.raises((TimeoutError, ConnectionRefusedError)):
            late.connect(one.getsockname())
        for client, holder in zip(early, (one, another), strict=True):
            taken = stack.enter_context(holder.accept()[0])
            client.sendall(b"question")
            assert taken.recv(100) == b"question"
            taken.sendall(b"answer")
            assert client.recv(100) == b"answer"
        one.setblocking(False)
        with pytest.raises(BlockingIOError):
            one.accept()


def test_who_is_kept_out_is_refused_once_it_is_closed(tmp_path: Path) -> None:
    """At its next try, which its kernel makes a second later."""
    with listener(socket.AF_INET, tmp_path) as one, socket.socket() as late:
        keep_out(one)
        late.settimeout(20)
        closing = threading.Timer(0.2, one.shutdown, [socket.SHUT_RD])
        closing.start()
        with pytest.raises(ConnectionRefusedError):
            late.connect(one.getsockname())
        closing.join(20)


def test_a_system_that_does_not_know_how_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sandboxed(socket.socket):
        def setsockopt(self, *args: object) -> None:
            raise OSError(92, "Protocol not available")

    with Sandboxed() as one, socket.socket() as client:
        one.bind(("127.0.0.1", 0))
        one.listen(8)
        keep_out(one)
        client.connect(one.getsockname())
