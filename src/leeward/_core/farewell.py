"""How a connection is left whose request has no whole answer yet, when time is up.

nothing sent                            503, so that a balancer or a client tries elsewhere
a stream without end, or one that has   its last chunk: it was complete at any moment
been silent
anything else that has begun            cut: a client must not take half for the whole
"""

from __future__ import annotations

import enum

#: Content types of answers that have no end of their own, and are made of whole messages.
ENDLESS = (
    "text/event-stream",
    "application/x-ndjson",
    "application/jsonl",
    "application/json-seq",
    "application/stream+json",
    "multipart/x-mixed-replace",
)


class Farewell(enum.Enum):
    UNAVAILABLE = "503"
    LAST_CHUNK = "last chunk"
    CLOSE = "close"
    CUT = "cut"


def is_endless(content_type: str) -> bool:
    return content_type.lower().startswith(ENDLESS)


def farewell(*, read: bool, begun: bool, framing: str, endless: bool, quiet: bool) -> Farewell:
    """read:     the whole request has come.
    begun:    some of the answer was sent.
    framing:  how its body says that it ends: chunks, close (HTTP/1.0) or length.
    quiet:    nothing was sent for a while: a long-poll, as a rule, and no download.
    """
    if not begun:
        return Farewell.UNAVAILABLE if read else Farewell.CUT
    if framing == "length" or not (endless or quiet):
        return Farewell.CUT
    return Farewell.LAST_CHUNK if framing == "chunks" else Farewell.CLOSE
