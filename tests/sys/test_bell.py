"""A bell that many ring and one hears."""

from __future__ import annotations

import os
import select

from leeward._sys.bell import Bell


def test_rings_are_heard_once() -> None:
    """However often it is rung, silence comes with one call; nothing blocks."""
    bell = Bell()
    assert not os.get_inheritable(bell.fd)
    assert not select.select([bell.fd], [], [], 0)[0] and not bell.silence()
    for _ in range(3):
        bell.ring()
    assert select.select([bell.fd], [], [], 0)[0] and bell.silence()
    assert not select.select([bell.fd], [], [], 0)[0] and not bell.silence()
    bell.close()
    bell.close()


def test_a_bell_that_was_rung_too_often_still_wakes() -> None:
    """The counter is full: nothing is raised, and it is heard."""
    bell = Bell()
    os.eventfd_write(bell.fd, 2**64 - 2)
    bell.ring()
    assert bell.silence()
    bell.close()


def test_who_holds_a_duplicate_rings_the_same_bell() -> None:
    """As a worker does, with a descriptor that came to it."""
    bell = Bell()
    other = Bell(os.dup(bell.fd))
    other.ring()
    assert bell.silence() and not other.silence()
    for it in (bell, other):
        it.close()
