"""Who may say what and when, and how much of it is kept.

Workers and zygotes run code that is not ours, and may belong to whoever has broken into it.
We live longer than they and are perhaps root: what they say must neither raise, nor grow, nor
change what becomes of others.
"""

from __future__ import annotations

from collections.abc import Iterable

from leeward._core import messages as m
from leeward._core.roster import Process
from leeward._core.worker import LIFE, Event

#: Characters of a line: a name, a reason.
LINE = 1000
#: Characters of why something failed: 50 hazards that may not be forked, each with its remedy.
FAILURE = 64 * 1024
#: Bytes of a message.  1 MiB of JSON may become 25 in memory; the longest that is sent names
#: `leeward.adapters.fingerprints.MOST` files.
MESSAGE = 1024 * 1024
#: Resources of one worker that fail their checks, and changed files of a generation.
AILING, CHANGED = 100, 500

_OF_ZYGOTES = (m.Loaded, m.Forked, m.NotForked)
_OF_WORKERS = (m.Hello, m.Ready, m.Closed, m.Tuned, m.Ailing, m.Leaving)


def may_say(it: Process, message: m.Message) -> bool:
    """Is this message its to say, and now?"""
    if isinstance(message, _OF_ZYGOTES if it.role == "worker" else _OF_WORKERS):
        return False
    return not isinstance(message, m.Loaded | m.Ready) or Event.READY in LIFE[it.state]


def cut(text: str, most: int = LINE) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def ails(known: dict[str, str], resource: str, why: str) -> None:
    """Writes down in `known` that it fails its check, or that it passes: why is ""."""
    resource = cut(resource)
    known.pop(resource, None)
    if why and len(known) < AILING:
        known[resource] = cut(why)


def new_files(known: set[str], changed: Iterable[str]) -> set[str]:
    """Those of `changed` that are not known, as many as there is room for."""
    new = sorted({cut(it) for it in changed} - known)
    return set(new[: max(0, CHANGED - len(known))])
