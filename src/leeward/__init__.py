"""Leeward runs a Python network service on every core of a machine, and keeps it calm.

The public names are loaded when they are first asked for (PEP 562): importing
`leeward` imports nothing else, starts nothing, opens nothing.  Every process of
an instance imports this package, the supervisor with the standard library alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leeward._worker.here import connections
    from leeward.cli.run import run
    from leeward.disconnect import cancel_on_disconnect, finish_anyway
    from leeward.errors import (
        BindError,
        CrashLoopError,
        LeewardError,
        NoInstanceError,
        NotOpen,
        TargetError,
        UsageError,
    )
    from leeward.jobs import on_one_worker
    from leeward.limits import deadlines
    from leeward.lineclient import LineClient
    from leeward.resources import per_worker

__version__ = "0.1.0"

__all__ = [
    "BindError",
    "CrashLoopError",
    "LeewardError",
    "LineClient",
    "NoInstanceError",
    "NotOpen",
    "TargetError",
    "UsageError",
    "cancel_on_disconnect",
    "connections",
    "deadlines",
    "finish_anyway",
    "on_one_worker",
    "per_worker",
    "run",
]

#: Where each public name lives.
_HOMES = {
    "BindError": "leeward.errors",
    "CrashLoopError": "leeward.errors",
    "LeewardError": "leeward.errors",
    "LineClient": "leeward.lineclient",
    "NoInstanceError": "leeward.errors",
    "NotOpen": "leeward.errors",
    "TargetError": "leeward.errors",
    "UsageError": "leeward.errors",
    "cancel_on_disconnect": "leeward.disconnect",
    "connections": "leeward._worker.here",
    "deadlines": "leeward.limits",
    "finish_anyway": "leeward.disconnect",
    "on_one_worker": "leeward.jobs",
    "per_worker": "leeward.resources",
    "run": "leeward.cli.run",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'leeward' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
