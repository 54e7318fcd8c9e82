"""What a process is connected to, against sockets that are really there."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest

from leeward._sys.outbound import End, ends, outbound, own
from leeward._zygote.descriptors import peer_of


def row(local: str, remote: str, state: str, inode: int) -> str:
    return f"   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1"


@pytest.mark.parametrize(
    ("family", "address", "shown"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1:{}"),
        (socket.AF_INET6, "::1", "[::1]:{}"),
    ],
)
def test_made_and_not_accepted(family: int, address: str, shown: str) -> None:
    """Of a connection whose both ends are ours, the end that has connected."""
    try:
        listener = socket.create_server((address, 0), family=family)
    except OSError as error:
        pytest.skip(f"no {address} here: {error}")
    port = listener.getsockname()[1]
    with listener, socket.create_connection((address, port)):
        accepted, _ = listener.accept()
        with accepted:
            found = outbound(os.getpid())
            assert found is not None
            there = [it for it in found if it.peer == shown.format(port)]
            assert there == [End(shown.format(port), "established")]


def test_a_process_that_has_gone() -> None:
    assert outbound(2**22 + 1) is None


def test_an_address_of_each_kind() -> None:
    """IPv4, IPv6, and IPv4 on an IPv6 socket; on a little-endian machine as this one."""
    rows = [
        row("0100007F:C350", "0700000A:18EB", "08", 1),
        row("0100007F:C351", "0000000000000000FFFF00000100007F:0050", "02", 2),
        row("0100007F:C352", "B80D0120000000000000000001000000:01BB", "77", 3),
        row("0100007F:C353", "0700000A:18EB", "01", 4),
    ]
    if socket.htons(1) == 1:
        pytest.skip("a big-endian machine")
    assert ends(rows, {"1", "2", "3"}) == [
        End("10.0.0.7:6379", "close-wait"),
        End("127.0.0.1:80", "syn-sent"),
        End("[2001:db8::1]:443", "77"),
    ]


def test_who_came_to_a_port_that_is_listened_on_is_no_outbound() -> None:
    """Whoever listens on it, a sibling or the supervisor."""
    rows = [
        row("00000000:1F90", "00000000:0000", "0A", 9),
        row("0100007F:1F90", "0700000A:C000", "01", 1),
        row("0100007F:C000", "0700000A:1F90", "01", 2),
        "not a row",
    ]
    assert ends(rows, {"1", "2"}) == [End("10.0.0.7:8080", "established")]


def test_own_connections_by_peer() -> None:
    """Those that were made; not those accepted here, nor those that somebody else looks after."""
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as stack:
        peer = f"127.0.0.1:{listener.getsockname()[1]}"
        made = [stack.enter_context(socket.create_connection(listener.getsockname()[:2]))]
        accepted = stack.enter_context(listener.accept()[0])
        made.append(stack.enter_context(socket.create_connection(listener.getsockname()[:2])))
        stack.enter_context(socket.socket())  # connected to nobody
        one, other = socket.socketpair()
        stack.enter_context(one)
        stack.enter_context(other)
        below = 1 + max(it.fileno() for it in (listener, accepted, one, other, *made))
        found = own(below, ())
        assert found[peer] == 2 and not any(str(made[0].getsockname()[1]) in it for it in found)
        assert own(below, {made[0].fileno()})[peer] == 1
        assert own(0, ()) == {}
        made[0].sendall(b"still open")


@pytest.mark.parametrize("asks", ["own", "peer_of"])
def test_a_blocking_socket_of_the_application_stays_one(asks: str) -> None:
    """Also where it has said `setdefaulttimeout`: its `recv` would raise BlockingIOError."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        made = stack.enter_context(socket.create_connection(listener.getsockname()))
        quiet = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        pair = [stack.enter_context(it) for it in socket.socketpair()]
        theirs = [listener, made, quiet, *pair]
        stack.callback(socket.setdefaulttimeout, None)
        socket.setdefaulttimeout(5.0)
        host, port = listener.getsockname()
        if asks == "own":
            assert own(max(it.fileno() for it in theirs) + 1, set())[f"{host}:{port}"] == 1
        else:
            assert [peer_of(it.fileno()) for it in theirs] == ["", f"{host}:{port}", "", "", ""]
        assert all(os.get_blocking(it.fileno()) for it in theirs)


def test_a_quiet_datagram_socket_is_known(tmp_path: Path) -> None:
    """Nothing is answered on it: syslog's."""
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
            made.connect(path)
            assert peer_of(made.fileno()) == ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as database:
        database.bind(path + "2")
        database.listen()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
            made.connect(path + "2")
            assert peer_of(made.fileno()) == f"unix:{path}2"
