"""Where every leeward process begins after its exec: from a role to a room.

The only module that knows all rooms; it gives the zygote the worker's life,
which the zygote's own room may not import.  Rooms are imported when their role
is played: a supervisor never loads a worker's code.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Plays the role in ``sys.argv``: ["-c", root, role, descriptor, …]."""
    role, fd = sys.argv[2], int(sys.argv[3])
    if role == "supervisor":
        from leeward._supervisor.main import run as supervise

        supervise(fd)
    elif role in ("zygote", "worker"):
        from leeward._worker import main as worker
        from leeward._zygote import main as zygote

        worker.preload()
        zygote.run(fd, serve=worker.run, spawned=role == "worker")
    elif role == "resolve":
        from leeward.cli.resolve import run as resolve

        resolve(fd)
    raise SystemExit(f"leeward: no such role: {role}")
