"""How a line of the log becomes a message of syslog, and what is known of it beforehand.

On a machine's own socket the form that daemons read there: that of glibc's syslog(3), which is
RFC 3164 section 4.1 without the host's name.  rsyslog's imuxsock, syslog-ng's system() and
journald's /dev/log take it apart.  By UDP, RFC 5424 in datagrams of RFC 5426, which
all of them, and collectors of log services, read too.
"""

from __future__ import annotations

import re

from leeward._core.config import LEVELS
from leeward._core.record import Record

#: By the names of syslog.conf(5); numbers of RFC 5424, table 1.  Those left out are for
#: the kernel, and for mail, news and uucp.
FACILITIES = {
    "user": 1,
    "daemon": 3,
    "auth": 4,
    "syslog": 5,
    "cron": 9,
    "authpriv": 10,
    **{f"local{n}": 16 + n for n in range(8)},
}

#: RFC 5424, table 2, from the levels of `logging`, as logging.handlers.SysLogHandler has it.
_SEVERITIES = ((50, 2), (40, 3), (30, 4), (20, 6))
_DEBUG = 7

#: Structured data has names of an enterprise, and this one is for who has none (RFC 5612).
_ENTERPRISE = 32473

#: strftime's names follow the locale; these are RFC 3164's.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_DAY = r"(20\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))"
_CLOCK = r"((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)\.(\d{3})"
_WORD = "(debug|info|warning|error|critical)"
_PRETTY = re.compile(f"{_DAY} {_CLOCK} {_WORD} +", re.ASCII)
_JSON = re.compile(rf'\{{"time":"{_DAY}T{_CLOCK}Z","level":"{_WORD}",', re.ASCII)
_WHO = re.compile(r"(?:worker=(\d+) )?(?:gen=(\d+) ?)?(?:pid=(\d+))?", re.ASCII)
#: C0 but for the tab, DEL, C1, and what some readers take for line ends.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\x1b": "\\e"}


def severity(level: int) -> int:
    """From a level of `logging`."""
    return next((number for least, number in _SEVERITIES if level >= least), _DEBUG)


class Line(Record):
    """text:   without its end; without time and level, where they stood in front.
    level:  as `logging` numbers it.
    day, clock, millis:  when it was logged; "" if it does not say.
    utc:    they are of UTC, not of local time.
    """

    text: str
    level: int
    day: str = ""
    clock: str = ""
    millis: str = ""
    utc: bool = False


def read(data: bytes, level: int) -> Line:
    """What stands in a line of the log: one of our own looks, or any other.

    level:  what its writer said; that of a request stands in the line only.
    """
    text = data.decode("utf-8", "backslashreplace").removesuffix("\n")
    if found := _PRETTY.match(text):
        day, clock, millis, word = found.groups()
        return Line(text[found.end() :], LEVELS[word], day, clock, millis)
    if found := _JSON.match(text):
        day, clock, millis, word = found.groups()
        return Line(text, LEVELS[word], day, clock, millis, utc=True)
    return Line(text, level)


class Who(Record):
    """Which process a sink's lines come from; "" for what it has not."""

    slot: str = ""
    generation: str = ""
    pid: str = ""


def who(text: str) -> Who:
    """From words such as ``worker=2 gen=5 pid=4711``."""
    found = _WHO.match(text)
    return Who(*(it or "" for it in found.groups())) if found else Who()


def escaped(text: str) -> str:
    """`text` in one line: no receiver may take a part of it for a message of its own."""
    if text.isprintable():
        return text
    return _CONTROL.sub(lambda it: _NAMED.get(it[0]) or _escape(ord(it[0])), text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def cut(data: bytes, most: int) -> bytes:
    """At most so many octets of it, the last of which say how many are missing."""
    if len(data) <= most:
        return data
    note = b" [%d octets cut]" % len(data)  # as long as the true one, or longer
    kept = data[: max(0, most - len(note))].decode("utf-8", "ignore").encode()
    return kept + b" [%d octets cut]" % (len(data) - len(kept))


def local(facility: int, line: Line, name: str, pid: str, now: tuple[int, ...]) -> bytes:
    """For a socket of this machine.

    now:  local time, broken down, for a line that does not say its own.
    """
    if line.clock and not line.utc:
        month, day, clock = int(line.day[5:7]), int(line.day[8:]), line.clock
    else:
        month, day, clock = now[1], now[2], f"{now[3]:02d}:{now[4]:02d}:{now[5]:02d}"
    name = _word(name, 48)
    tag = f"{name}[{pid}]" if pid else name
    priority = facility * 8 + severity(line.level)
    stamp = f"{_MONTHS[month - 1]} {day:2d} {clock}"
    return f"<{priority}>{stamp} {tag}: {escaped(line.text)}".encode("utf-8", "backslashreplace")


def protocol(
    facility: int, line: Line, name: str, who: Who, host: str, stamp: str, sequence: int
) -> bytes:
    """RFC 5424.  stamp:  section 6.2.3, or "-".

    sequence:  of the line in its ring; -1: it was in none.
    """
    priority = facility * 8 + severity(line.level)
    number = str(sequence) if sequence >= 0 else ""
    told = (("worker", who.slot), ("gen", who.generation), ("seq", number))
    data = "".join(f' {key}="{value}"' for key, value in told if value)
    head = f"<{priority}>1 {stamp} {_word(host, 255)} {_word(name, 48)} {who.pid or '-'} -"
    text = f"{head} [leeward@{_ENTERPRISE}{data}] {escaped(line.text)}"
    return text.encode("utf-8", "backslashreplace")


def _word(text: str, most: int) -> str:
    """PRINTUSASCII of section 6."""
    return re.sub("[^!-~]", "_", text)[:most] or "-"


# --- where ---------------------------------------------------------------------------------------


def address(text: str) -> tuple[str, int]:
    """Host and port of ``host``, ``host:514``, ``[::1]:514``.  Raises ValueError."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s/\[\]:]+))(?::(\d{1,5}))?", text)
    port = int(match[3] or 514) if match else 0
    if match is None or not 0 < port < 65536:
        raise ValueError(
            "expected syslog:, syslog:/path/of/a/socket or syslog:HOST:PORT (UDP), "
            f"found {'syslog:' + text!r}"
        )
    return match[1] or match[2], port
