"""Who holds a port or a socket file."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from leeward._sys import holders


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_listener_of_a_port_is_found(family):
    """By its own address and by the wildcard, in either family."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        port = sock.getsockname()[1]
        assert holders.of_port(host, port) == ""  # does not listen yet
        sock.listen()
        for asked in (host, "0.0.0.0", "::", ""):
            assert holders.of_port(asked, port).startswith(f"pid {os.getpid()} (")
        assert holders.of_port("127.0.0.9", port) == ""
        assert holders.of_port("no number", port) == ""


def test_a_wildcard_listener_is_in_everybodys_way():
    """0.0.0.0 keeps 127.0.0.1 from being bound."""
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        sock.listen()
        port = sock.getsockname()[1]
        assert f"pid {os.getpid()} " in holders.of_port("127.0.0.1", port)


def test_another_process_is_named():
    """Its pid and its program."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        child = subprocess.Popen(["cat"], pass_fds=[sock.fileno()], stdin=subprocess.PIPE)
    try:
        assert holders.of_port("127.0.0.1", port) == f"pid {child.pid} (cat)"
    finally:
        child.communicate(timeout=30)


def test_the_listener_of_a_unix_socket_is_found(tmp_path):
    """Not somebody who is merely connected to it."""
    path = f"{tmp_path}/a socket"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        assert holders.of_unix(path) == ""
        sock.listen()
        assert holders.of_unix(path).startswith(f"pid {os.getpid()} (")
    assert holders.of_unix(path) == ""


def test_the_search_ends_in_time(monkeypatch):
    """Without patience nobody is named, and nothing raises."""
    monkeypatch.setattr(holders, "_PATIENCE", -1.0)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        assert holders.of_port("127.0.0.1", sock.getsockname()[1]) == ""


def test_processes_that_cannot_be_seen_are_passed_over(python):
    """Somebody else's descriptors are no error; here those of a process that has gone."""
    assert not holders._holds(2**22 + 1, {"socket:[1]"})
    if os.getuid() == 0:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            out = python(
                "import os, sys\n"
                "from leeward._sys import holders\n"
                "os.setresuid(65534, 65534, 65534)\n"
                "print(repr(holders.of_port('127.0.0.1', int(sys.argv[1]))))",
                str(sock.getsockname()[1]),
            )
        assert out == "''"


def test_a_socket_that_nobody_has_is_nobodys():
    """The kernel's own, or one whose owner has just ended."""
    assert holders._who({"1"}) == ""


def test_a_holder_without_a_name_is_still_a_pid(monkeypatch):
    """It ended between the two looks."""
    monkeypatch.setattr(holders.procfs, "comm", lambda pid: None)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        assert holders.of_port("127.0.0.1", sock.getsockname()[1]) == f"pid {os.getpid()}"
    assert sys.byteorder == "little"  # as _hex assumes
