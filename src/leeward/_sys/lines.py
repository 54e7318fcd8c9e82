"""How a line of the log looks: the same from the supervisor and from every worker.

    2026-11-21 14:03:07.214 info     worker=2 gen=5 pid=4711 ready
    2026-11-21 14:03:07.215 warning  worker=2 gen=5 pid=4711 tornado.access: 404 GET /nope …

Identity first, always in the order worker, gen, pid; the name of the logger only
where it is not leeward's own.  What else belongs to a record (a traceback) follows
in lines that carry the identity too, so that grep finds them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping

_COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "1;31"}

#: Control characters (C0, DEL, C1) and the two separators that terminals and
#: log readers may take for line ends, each as its escape.
_ESCAPES = {
    code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if code != 0x09
} | {0x0A: "\\n", 0x0D: "\\r", 0x1B: "\\e", 0x2028: "\\u2028", 0x2029: "\\u2029"}

#: Our own name as a logger; it is not repeated in each line.
OURS = "leeward"


def clean(text: str) -> str:
    """`text` without a character that could steer a terminal or end the line."""
    return text.translate(_ESCAPES)


def local(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))


def utc(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when))


class Look:
    """form: auto | pretty | json.  Pretty is coloured on a terminal, unless NO_COLOR.

    terminal:  `fd` leads to one, though it is none itself.

    Lines are not stamped where journald does so itself (JOURNAL_STREAM, systemd.exec(5)).
    """

    def __init__(self, form: str, fd: int, terminal: bool = False) -> None:
        self.json = form == "json"
        terminal = terminal or os.isatty(fd)
        self.colour = not self.json and terminal and "NO_COLOR" not in os.environ
        self.stamped = terminal or "JOURNAL_STREAM" not in os.environ

    def render(
        self,
        when: float,
        level: str,
        identity: Mapping[str, object],
        logger: str,
        text: str,
        trace: str = "",
    ) -> str:
        """One record, complete with its line ends.

        when:   seconds since the epoch.  trace: lines that belong to it.
        """
        render = self._as_json if self.json else self._as_text
        return render(when, level, identity, logger, text, trace)

    def head(self, level: str, identity: Mapping[str, object], logger: str) -> str:
        """What stands in a line between its time and its text."""
        label = f"{level:<8}"
        if self.colour and level in _COLOURS:
            label = f"\x1b[{_COLOURS[level]}m{label}\x1b[0m"
        words = [label, *(f"{key}={value}" for key, value in identity.items())]
        if logger != OURS:
            words.append(f"{clean(logger)}:")
        return " ".join(words)

    def _as_text(
        self,
        when: float,
        level: str,
        identity: Mapping[str, object],
        logger: str,
        text: str,
        trace: str,
    ) -> str:
        lines = [f"{self.head(level, identity, logger)} {clean(text)}"]
        if self.stamped:
            lines[0] = f"{local(when)}.{int(when % 1 * 1000):03d} {lines[0]}"
        who = "".join(f"{key}={value} " for key, value in identity.items())
        lines += [f"{who}| {clean(line)}" for line in trace.split("\n") if trace]
        return "".join(f"{line}\n" for line in lines)

    def _as_json(
        self,
        when: float,
        level: str,
        identity: Mapping[str, object],
        logger: str,
        text: str,
        trace: str,
    ) -> str:
        record = {
            "time": f"{utc(when)}.{int(when % 1 * 1000):03d}Z",
            "level": level,
            **identity,
            "logger": logger,
            "message": text,
        }
        if trace:
            record["detail"] = trace
        return json.dumps(record, separators=(",", ":")) + "\n"
