"""How a setting's value is read: from a flag or variable (text), or from TOML (typed).

Each parser takes the raw value and returns the typed one, or raises `Bad` with
what was expected.  Where the value came from is not known here: the caller
puts the flag, the variable or file:line before the words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from leeward._core import durations
from leeward.errors import UsageError

Parser = Callable[[object], object]

#: The shared page has 1024 rows; a reload that overlaps uses several per slot.
MOST_WORKERS = 256

#: Characters of a value in a message.
_SHOWN = 200

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\Z", re.ASCII | re.IGNORECASE)


class Bad(ValueError):
    """A value that its setting cannot take; the text says what was expected."""


def quoted(raw: object) -> str:
    """`raw` as messages show it: a file or a script's variable may hold megabytes."""
    written = repr(raw)
    return written if len(written) <= _SHOWN else f"{written[:_SHOWN]}…"


def text(raw: object) -> str:
    if isinstance(raw, str) and raw and "\0" not in raw:
        return raw
    raise Bad(f"expected a text that is not empty, found {quoted(raw)}")


def switch(raw: object) -> bool:
    """true or false; a variable may say on, yes, 1 and their opposites."""
    if isinstance(raw, bool):
        return raw
    word = raw.strip().lower() if isinstance(raw, str) else ""
    if word in ("true", "on", "yes", "1"):
        return True
    if word in ("false", "off", "no", "0"):
        return False
    raise Bad(f"expected true or false, found {quoted(raw)}")


def account(raw: object) -> str:
    """A name, or a number as text."""
    if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw < 2**32 - 1:
        return str(raw)
    return text(raw)


def url_path(raw: object) -> str:
    if isinstance(raw, str) and re.fullmatch(r"/[!-~]*", raw) and not re.search("[?#]", raw):
        return raw
    raise Bad(f"expected a path such as /healthz, found {quoted(raw)}")


def duration(raw: object) -> float:
    """Seconds: 30, 1.5, "250ms", "30s", "2m", "1h"."""
    seconds = durations.duration(raw)
    if seconds is None:
        raise Bad(f"expected {durations.EXPECTED}, found {quoted(raw)}")
    return seconds


def size(raw: object) -> int:
    """Bytes: 268435456, "256MiB", "1GB", "1.5G"; with i, or without a B, times 1024.

    "256M" is what systemd, docker and ulimits call 256 MiB; "256MB" is decimal by SI.
    """
    if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw < 1 << 63:
        return raw
    if isinstance(raw, str) and (match := _SIZE.match(raw.strip())):
        number, prefix, binary = match.groups()
        step = 1024 if binary or raw.strip()[-1] not in "bB" else 1000
        octets = float(number) * step ** " kmgt".index(prefix.lower() or " ")
        # Not a part of a byte: 0 may mean without bound.
        if 1 <= octets < 1 << 63 or not number.strip("0."):
            return int(octets)
    raise Bad(f"expected a size such as 256MiB, 1GB or plain bytes, found {quoted(raw)}")


def size_text(number: int) -> str:
    """Bytes as `size` reads them: "64KiB"."""
    power = 0
    while number and number % 1024 == 0 and power < 4:
        number, power = number // 1024, power + 1
    return f"{number}{' KMGT'[power]}iB" if power else str(number)


def positive_size(raw: object) -> int:
    number = size(raw)
    if not number:
        raise Bad("expected a size above 0")
    return number


def limit(raw: object) -> int:
    """A number, 0 for none."""
    return count(raw, low=0)


def part(raw: object) -> object:
    """A number, or a text such as "10%"."""
    if isinstance(raw, str) and re.fullmatch(r"[0-9]{1,3}%", raw.strip()):
        return raw.strip()
    try:
        return count(raw, low=0)
    except Bad:
        raise Bad(f"expected a whole number or a part such as 10%, found {quoted(raw)}") from None


def positive_duration(raw: object) -> float:
    seconds = duration(raw)
    if not seconds:
        raise Bad("expected a duration above 0: nothing waits for ever here")
    return seconds


def count(raw: object, low: int = 1, high: int = 2**31 - 1) -> int:
    number = raw
    if isinstance(raw, str) and re.fullmatch(r"[0-9]{1,10}", raw.strip()):
        number = int(raw)
    if isinstance(number, int) and not isinstance(number, bool) and low <= number <= high:
        return number
    bounds = f"from {low} to {high}" if high < 2**31 - 1 else f"of at least {low}"
    raise Bad(f"expected a whole number {bounds}, found {quoted(raw)}")


def host(raw: object) -> str:
    """A name or an IP address, which makes an address with any port."""
    from leeward._sys import sockets

    found = text(raw)
    try:
        sockets.parse(f"[{found}]:0" if ":" in found else f"{found}:0")
    except UsageError:
        raise Bad(f"expected the name of a host or an IP address, found {quoted(found)}") from None
    return found


def port(raw: object) -> int:
    return count(raw, low=0, high=65535)


def workers(raw: object) -> int:
    """A number, or 0 for "auto"."""
    if raw == "auto":
        return 0
    try:
        return count(raw, low=0, high=MOST_WORKERS)
    except Bad:
        raise Bad(f'expected 1 to {MOST_WORKERS} workers or "auto", found {quoted(raw)}') from None


def octal(raw: object) -> int:
    # TOML's 0o660 and 660 are both plain integers once read, so a number cannot
    # be trusted: 444 would quietly become 0o674.
    if isinstance(raw, str) and re.fullmatch(r"(0o)?[0-7]{3,4}", raw) and int(raw, 8) <= 0o777:
        return int(raw, 8)
    raise Bad(f'expected an octal file mode as text, such as "660", found {quoted(raw)}')


def log_file(raw: object) -> str:
    """A path, or syslog: or journal: with where that is; "-" is stderr, as to gunicorn, and no
    file of that name.
    """
    from leeward._core.sinks import destination

    given = text(raw)
    if given == "-":
        return ""
    try:
        destination(given)
    except ValueError as error:
        raise Bad(str(error)) from None
    return given


def is_daemon(text: str) -> bool:
    """Is it no path at all, where --log-file may be one?  ("./syslog:x" is.)"""
    return text.startswith(("syslog:", "journal:"))


def facility(raw: object) -> str:
    """A name of syslog's; its parser is made when it is asked, as few need its table."""
    from leeward._core.syslog import FACILITIES

    return str(one_of(*FACILITIES)(raw))


def rotation(raw: object) -> str:
    """ "100MB", "daily", or both with a comma between them; the size in bytes then."""
    from leeward._core.sinks import PERIODS

    octets = ""
    every = ""
    for word in re.split(r"[,\s]+", str(raw).strip().lower()):
        if word in PERIODS[1:]:
            known, every = every, word
        elif word:
            known, octets = octets, str(rotation_size(word))
        else:
            known = ""
        if known:
            raise Bad(f"expected a size, a period or both, found {quoted(raw)}")
    if not (octets or every):
        raise Bad(
            f"expected a size such as 100MB, a period such as daily, or both, found {quoted(raw)}"
        )
    return f"{octets} {every}".strip()


def rotation_size(word: str) -> int:
    """Not below 1 kB: a file for each line is nobody's wish."""
    from leeward._core.sinks import PERIODS

    try:
        number = size(word)
    except Bad:
        periods = ", ".join(PERIODS[1:])
        raise Bad(
            f"expected a size such as 100MB, one of {periods}, or both, "
            f"found {quoted(word)}{nearest(word, PERIODS[1:])}"
        ) from None
    if number < 1000:
        raise Bad(f"expected at least 1kB, found {quoted(word)}")
    return number


def one_of(*words: str) -> Parser:
    def parse(raw: object) -> str:
        if isinstance(raw, str) and raw.lower() in words:
            return raw.lower()
        choice = f"{', '.join(words[:-1])} or {words[-1]}"
        raise Bad(f"expected {choice}, found {quoted(raw)}{nearest(raw, words)}")

    return parse


def peers(raw: object) -> tuple[str, ...]:
    """IP addresses, networks, unix: and *: a list, or text separated by commas or spaces."""
    from leeward._core import trust

    items = raw if isinstance(raw, list | tuple) else re.split(r"[,\s]+", str(raw).strip())
    try:
        found = [trust.entry(str(item).strip()) for item in items]
    except ValueError as error:
        raise Bad(str(error)) from None
    return tuple(dict.fromkeys(found))


def hazards(raw: object) -> tuple[str, ...]:
    """spawn, warn or refuse, and ignore:CODE: a list, or text separated by commas or spaces."""
    from leeward._core.hazards import policy

    items = raw if isinstance(raw, list | tuple) else [raw]
    found = [word for item in items for word in re.split(r"[,\s]+", str(item).strip())]
    if not any(found):
        raise Bad(f"expected spawn, warn, refuse or ignore:CODE, found {quoted(raw)}")
    try:
        return policy(filter(None, found))
    except ValueError as error:
        raise Bad(str(error)) from None


def addresses(raw: object) -> tuple[str, ...]:
    """One address or several: a list, or text separated by commas or spaces."""
    from leeward._sys import sockets

    items = raw if isinstance(raw, list | tuple) else re.split(r"[,\s]+", str(raw).strip())
    found: dict[str, None] = {}  # in order, and soon asked: a list of 300,000 took a minute
    for item in items:
        if isinstance(item, int) and not isinstance(item, bool):
            item = str(item)  # bind = 8000
        if not isinstance(item, str):
            raise Bad(
                f"expected addresses such as 127.0.0.1:8000 or unix:/path, found {quoted(item)}"
            )
        try:
            sockets.parse(item)
        except UsageError as error:
            raise Bad(str(error)) from None
        found[item] = None
    if not found:
        raise Bad("expected at least one address such as 127.0.0.1:8000")
    return tuple(found)


def closest(word: object, words: Iterable[str]) -> str:
    """The one of `words` that was probably meant, or ""."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(str(word).lower(), list(words), n=1)), "")


def nearest(word: object, words: Iterable[str]) -> str:
    """`; did you mean "x"?` or nothing."""
    close = closest(word, words)
    return f'; did you mean "{close}"?' if close else ""
