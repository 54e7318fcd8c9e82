"""leeward.adapters.wanted: what a socket says of itself that an adopted program has asked for."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from leeward.adapters.wanted import Placeholder, Want, placeholders


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80, 0, 0)),
        ("[fe80::1%lo]:80", ("fe80::1", 80, 0, socket.if_nametoindex("lo"))),
        ("[fe80::1%nowhere7]:80", None),
        ("nonsense", None),
    ],
)
def test_a_placeholder_has_the_name_that_a_bound_socket_would_have(
    address: str, name: object
) -> None:
    """Of an address of a link with its interface as a number, as the kernel tells it."""
    with ExitStack() as undo:
        (made,) = placeholders(Want(address, "app.py:12"), [])
        undo.enter_context(made)
        assert isinstance(made, Placeholder)
        assert made.name == name
