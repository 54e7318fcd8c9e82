"""What becomes of clients in the child of a fork."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forgetful(Protocol):
    def forget_parent(self) -> None:
        """Close the copies of the parent's sockets, and use nothing of it."""


_watched: weakref.WeakSet[Forgetful] = weakref.WeakSet()
_registered = False


def watch(client: Forgetful) -> None:
    """Have it told in each child, before anything else runs there.

    That it is told is not all that keeps processes apart (C code forks without saying so):
    a client looks at its pid as well.  But a copy that stays open in a child which never
    makes a call would keep the connection open after the parent has closed it.
    """
    global _registered
    _watched.add(client)
    if not _registered:
        _registered = True
        os.register_at_fork(after_in_child=_tell)


def _tell() -> None:
    for client in list(_watched):
        client.forget_parent()
