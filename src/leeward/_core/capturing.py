"""Which of a worker's output streams are captured, and what they become."""

from __future__ import annotations

from leeward._core.record import Record

#: Lines with the worker's tag; octet for octet; lines of the log file.
TERMINAL, EXACT, LOG = "terminal", "exact", "log"


def mark(secret: str) -> str:
    """In front of a line of leeward's own on its way through such a pipe: it says itself whose
    it is, and gets no tag.

    secret:  of this worker alone.  Whoever knew what stands there could have an application that
             prints what a client has sent print lines of leeward's, as any worker.
    """
    return f"\x1e{secret}\x1e"


class Way(Record):
    """streams:  the descriptors of a worker that lead into one pipe: (1,), (2,) or (1, 2).
    form:     one of `TERMINAL`, `EXACT`, `LOG`.
    """

    streams: tuple[int, ...]
    form: str

    @property
    def marked(self) -> bool:
        """Do leeward's own lines, which go to stderr, carry a `mark` on it?"""
        return self.form != EXACT and 2 in self.streams


def ways(setting: str, terminals: tuple[bool, bool], same: bool, log: bool) -> tuple[Way, ...]:
    """What to capture; () for nothing.

    setting:    auto | on | off.
    terminals:  is stdout a terminal, is stderr?
    same:       are the two one file?  Then both go through one pipe, which keeps the order of
                what is written to them.
    log:        is there a log file?  Its lines tell the two apart, so each has its own pipe.
    """
    if setting == "off":
        return ()
    into_log = setting == "on" and log
    found = []
    for stream, terminal in zip((1, 2), terminals, strict=True):
        form = LOG if into_log else TERMINAL if terminal else EXACT
        if setting == "on" or terminal:
            found.append(Way((stream,), form))
    if same and len(found) == 2 and not into_log:
        return (Way((1, 2), found[0].form),)
    return tuple(found)
