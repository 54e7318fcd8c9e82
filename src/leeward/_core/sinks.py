"""What a log sink is, and when its file is due to be rotated.

A worker describes its sinks in the table of its ring, so that any collector, a successor
too, knows where the lines go.
"""

from __future__ import annotations

import json

from leeward._core import rollover
from leeward._core.config import Config
from leeward._core.record import Record, asdict

#: Kinds that take messages, one line each.
SYSLOG, JOURNAL = "syslog", "journal"
#: Where lines can go.
KINDS = ("file", "stderr", "stdout", SYSLOG, JOURNAL)
#: Their sockets, unless another is named.
LOG_SOCKET = "/dev/log"
JOURNAL_SOCKET = "/run/systemd/journal/socket"
#: Seconds; so late is the year 36812, which time.localtime can still tell.
_FAR = 1 << 40
#: In a path: the slot of the worker, for a file of each one's own.
SLOT = "{slot}"
#: How often a file is rotated; "" for not by time.
PERIODS = ("", "hourly", "daily", "weekly", "monthly")


class BadSpec(ValueError):
    """What stands in a ring's table describes no sink."""


class Spec(Record):
    """path:          absolute path of a file, or of a socket; HOST:PORT of a syslog.
    rotate_bytes:  the file is rotated before it would become longer; 0: never.
    rotate_every:  one of `PERIODS`.
    utc:           periods begin by UTC, not by local time.
    keep:          rotated files that are kept; 0: all.
    compress:      rotated files are compressed (gzip).
    keep_for:      seconds after their last line for which rotated files are kept; 0: for ever.
    suffix:        of rotated files, for strftime; "" for .1, .2 … as RotatingFileHandler has it.
    begun:         rotated files are called by the moment at which they were begun, before their
                   ending, as loguru has it: app.2026-11-21_14-03-12_315000.log.
    permissions:   of files that are made.
    when, interval, at:  as `_core.rollover.after` has them, instead of `rotate_every`;
    due:           then: when its handler meant to rotate it first, seconds since the epoch.
    name:          of the instance, for syslog and the journal, and
    facility:      what RFC 5424 calls so, and
    who:           the identity of the writer, ``worker=2 gen=5 pid=4711``.
    """

    kind: str
    path: str = ""
    rotate_bytes: int = 0
    rotate_every: str = ""
    utc: bool = False
    keep: int = 0
    keep_for: int = 0
    compress: bool = False
    suffix: str = ""
    begun: bool = False
    permissions: int = 0o644
    when: str = ""
    interval: int = 0
    at: int = 0
    due: int = 0
    name: str = ""
    facility: int = 0
    who: str = ""

    def to_json(self) -> bytes:
        """The same octets for the same sink."""
        given, usual = asdict(self).items(), self.DEFAULTS
        told = {key: value for key, value in given if value != usual.get(key)}
        return json.dumps(told, separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Spec:
        """Raises BadSpec: whatever an application scribbles is a spec or that."""
        try:
            spec = cls(**json.loads(data))
        except (ValueError, TypeError, RecursionError) as error:
            raise BadSpec(f"no log sink: {data[:80]!r} ({error!s:.80})") from None
        for key, value in asdict(spec).items():
            if type(value) is not type(cls.DEFAULTS.get(key, "")):
                raise BadSpec(f"a log sink's {key} is {value!r:.40}")
        if spec.kind not in KINDS or spec.rotate_every not in PERIODS:
            raise BadSpec(f"a log sink of kind {spec.kind!r:.40}, {spec.rotate_every!r:.40}")
        if spec.kind == "file" and not (spec.path.startswith("/") and _is_name(spec.path)):
            raise BadSpec(f"a log file at {spec.path!r:.80}: not an absolute path")
        if min(spec.keep, spec.keep_for, spec.rotate_bytes) < 0 or not _is_name(spec.suffix):
            raise BadSpec(f"a log file of which {spec.keep} are kept, {spec.suffix!r:.40}")
        if not 0 <= spec.permissions <= 0o7777:
            raise BadSpec(f"a log file with permissions {spec.permissions:o}")
        if spec.when:
            _check_rollover(spec)
        if spec.kind in (SYSLOG, JOURNAL):
            try:
                destination(f"{spec.kind}:{spec.path}")
            except ValueError as error:
                raise BadSpec(f"a log sink at {spec.path!r:.80}: {error}") from None
            if not 0 <= spec.facility < 24:
                raise BadSpec(f"a log sink of facility {spec.facility}")
        return spec


def _is_name(text: str) -> bool:
    """Can it be part of a file's name?  The collector is not to end by one that cannot."""
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def _check_rollover(spec: Spec) -> None:
    if spec.when not in rollover.WHENS or spec.rotate_every:
        raise BadSpec(f"a log file rotated at {spec.when!r:.40}, {spec.rotate_every!r:.40}")
    if not (0 < spec.interval < _FAR and 0 <= spec.at <= 86400 and 0 <= spec.due < _FAR):
        raise BadSpec(f"a log file rotated every {spec.interval} s, at {spec.at}, {spec.due}")


def period(every: str, broken_down: tuple[int, ...]) -> tuple[int, ...]:
    """The period that a moment belongs to; () where there are none.

    broken_down:  as time.localtime or gmtime tells it: year, month, day, hour, minute,
                  second, weekday (Monday 0), day of the year.
    """
    year, month, _, hour, _, _, weekday, day = broken_down[:8]
    if every == "monthly":
        return (year, month)
    if every == "weekly":
        monday = day - weekday
        if monday > 0:
            return (year, monday)
        year -= 1  # the week began in the year before
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return (year, monday + 365 + leap)
    if every == "daily":
        return (year, day)
    return (year, day, hour) if every == "hourly" else ()


def is_due(spec: Spec, size: int, octets: int, same_period: bool) -> bool:
    """Is a file of `size` to be rotated before it gets `octets` more?  An empty one never is."""
    if size <= 0:
        return False
    return not same_period or 0 < spec.rotate_bytes < size + octets


def shift(taken: set[int]) -> list[tuple[int, int]]:
    """Renames, in order, that make room for number 1: numbers up to the first gap move by one.

    A collector that was killed between two of them left a gap, and its successor moves only
    what is before that.  Those beyond `keep` are for `surplus`.
    """
    gap = 1
    while gap in taken:
        gap += 1
    return [(number, number + 1) for number in range(gap - 1, 0, -1)]


def given(taken: set[int]) -> set[int]:
    """Of these numbers, those that rotations have given: they count up from 1, and one that was
    broken off has left one gap.  What lies further off is somebody's app.log.20240101.
    """
    gaps, number = 0, 0
    found = set()
    while gaps < 2:
        number += 1
        if number in taken:
            found.add(number)
        else:
            gaps += 1
    return found


def surplus(taken: set[int], keep: int) -> list[int]:
    """Numbers to be removed."""
    return sorted(it for it in taken if it > keep) if keep else []


def rotation(text: str) -> tuple[int, str]:
    """(`rotate_bytes`, `rotate_every`) of a setting such as "100000000 daily"."""
    octets, every = 0, ""
    for word in text.split():
        if word.isdecimal():
            octets = int(word)
        else:
            every = word
    return octets, every


def destination(text: str) -> tuple[str, str]:
    """(`kind`, `path`) of what --log-file is told.  Raises ValueError with what was expected."""
    kind, colon, path = text.partition(":")
    if not colon or kind not in (SYSLOG, JOURNAL):
        return "file", text
    path = path or (LOG_SOCKET if kind == SYSLOG else JOURNAL_SOCKET)
    if SLOT in path:
        raise ValueError(f"{SLOT} is for files, and {text!r} is none")
    if not path.startswith("/"):
        if kind == JOURNAL:
            raise ValueError(f"expected journal: or journal:/path/of/a/socket, found {text!r}")
        # Here, as in `of_settings`: files need none of it, nor does the supervisor of them.
        from leeward._core.syslog import address

        address(path)
    return kind, path


def of_settings(config: Config, slot: int | None, who: str = "") -> Spec | None:
    """The sink of --log-file; None for stderr.

    slot:  None for the supervisor, which has no file where each worker has its own.
    who:   identity of the process that asks.
    """
    if not config.log_file or (slot is None and SLOT in config.log_file):
        return None
    kind, path = destination(config.log_file)
    if kind != "file":
        from leeward._core.syslog import FACILITIES

        facility = FACILITIES[config.log_facility]
        return Spec(kind, path, name=config.name, facility=facility, who=who)
    octets, every = rotation(config.log_rotate)
    return Spec(
        "file",
        path.replace(SLOT, str(slot)),
        rotate_bytes=octets,
        rotate_every=every,
        keep=config.log_keep,
        compress=config.log_compress,
    )
