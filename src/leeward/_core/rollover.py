"""When a TimedRotatingFileHandler begins a new file, and what the old one is called then.

By the rule of Python 3.13.  Before it, and in early 3.12s, the standard library takes no
notice of an interval above 1 at midnight and on weekdays, and is an hour off on some
days on which the clocks change.
"""

from __future__ import annotations

import re
from collections.abc import Callable

#: `when` as its attribute is, in capitals.
WHENS = ("S", "M", "H", "D", "MIDNIGHT", *(f"W{day}" for day in range(7)))

_HOUR, _DAY, _WEEK = 3600, 86400, 604800

#: Of time.localtime and gmtime: hour, minute, second, weekday (Monday 0), is it summer time.
_HOURS, _MINUTES, _SECONDS, _WEEKDAY, _SUMMER = 3, 4, 5, 6, 8

#: Of strftime, the directives that make nothing but digits, and what they make.
_DIGITS = {
    **dict.fromkeys("CHIMSUVWdgmy", r"\d\d"),
    **dict.fromkeys("uw", r"\d"),
    **dict.fromkeys("GY", r"\d{4}"),
    "j": r"\d{3}",
    "F": r"\d{4}-\d\d-\d\d",
    "R": r"\d\d:\d\d",
    "T": r"\d\d:\d\d:\d\d",
    "%": "%",
}

#: time.localtime, or time.gmtime.
Split = Callable[[float], tuple[int, ...]]


def after(when: str, interval: int, at: int, utc: bool, moment: int, split: Split) -> int:
    """The roll-over that follows `moment`, in seconds since the epoch.

    interval:  seconds, of which midnight has so many days and a weekday so many weeks.
    at:        seconds after midnight, of midnight and weekdays; 86400, the day's end, where no
               time is given: "W5" alone is the end of Saturday, and at 00:00 its beginning.
    """
    if when != "MIDNIGHT" and not when.startswith("W"):
        return moment + interval
    now = split(moment)
    weekday = now[_WEEKDAY]
    left = at - ((now[_HOURS] * 60 + now[_MINUTES]) * 60 + now[_SECONDS])
    if left <= 0:
        left += _DAY
        weekday = (weekday + 1) % 7
    due = moment + left + interval
    if when == "MIDNIGHT":
        due -= _DAY
    else:
        due += (int(when[1]) - weekday) % 7 * _DAY - _WEEK
    return due if utc else due + _shift(now[_SUMMER], due, split)


def _shift(summer: int, due: int, split: Split) -> int:
    """Seconds by which the clocks are changed until then; `due` did not know of it."""
    if bool(summer) == bool(split(due)[_SUMMER]):
        return 0
    if summer:
        return _HOUR
    # Where the hour that is left out is that of the roll-over, it comes an hour later.
    return -_HOUR if split(due - _HOUR)[_SUMMER] else 0


def begins(due: int, interval: int, utc: bool, now: int, split: Split) -> int:
    """The moment that a file is called by which was due to be put away then."""
    begin = due - interval
    if utc:
        return begin
    summer, then = split(now)[_SUMMER], split(begin)[_SUMMER]
    if summer == then:
        return begin
    return begin + (_HOUR if summer else -_HOUR)


def pattern(suffix: str) -> str | None:
    """A regular expression for what strftime makes of `suffix`, and for little else.

    None where it has words, which differ by locale: `%b` may be anything.
    """
    found = ""
    for directive, text in re.findall(r"(?s)%(.?)|([^%]+)", suffix):
        if text:
            found += re.escape(text)
        elif directive in _DIGITS:
            found += _DIGITS[directive]
        else:
            return None
    return found
