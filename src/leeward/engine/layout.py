"""Tornado's `HTTPHeaders`, built in one go instead of header by header.

`HTTPHeaders.add` costs 1.5 µs for each header (Tornado 6.6, Python 3.13), most of
it for checks which the parser has made already.  So the private attributes are set
directly; what they are differs by version (6.4: `_dict`, `_as_list`, `_last_key`;
6.6: `_as_list`, `_combined_cache`).  `builder` finds out, by comparison with one
that Tornado itself made; when no known way makes an equal one it returns None, and
the parser leaves all headers to Tornado.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from tornado.httputil import HTTPHeaders

#: Makes headers from `{name: value}`: names in their normal spelling, each but once, in order.
Builder = Callable[[dict[str, str]], HTTPHeaders]

#: Sets one header, as `headers[name] = value` does.
Setter = Callable[[HTTPHeaders, str, str], None]

_new = HTTPHeaders.__new__


def _combined(fields: dict[str, str]) -> HTTPHeaders:
    headers = _new(HTTPHeaders)
    headers._as_list = {name: [value] for name, value in fields.items()}
    headers._combined_cache = fields.copy()
    return headers


def _last_key(fields: dict[str, str]) -> HTTPHeaders:
    headers = _new(HTTPHeaders)
    headers._dict = fields.copy()  # type: ignore[attr-defined]
    headers._as_list = {name: [value] for name, value in fields.items()}
    headers._last_key = next(reversed(fields), None)  # type: ignore[attr-defined]
    return headers


def _set_combined(headers: HTTPHeaders, name: str, value: str) -> None:
    headers._combined_cache[name] = value
    headers._as_list[name] = [value]


def _set_last_key(headers: HTTPHeaders, name: str, value: str) -> None:
    headers._dict[name] = value  # type: ignore[attr-defined]
    headers._as_list[name] = [value]


def _assigned_last_key(fields: dict[str, str]) -> HTTPHeaders:
    headers = _last_key(fields)
    headers._last_key = None  # type: ignore[attr-defined]
    return headers


@cache
def assigned() -> Builder | None:
    """As `builder`, for headers that were not parsed: `HTTPHeaders({name: value})`."""
    build = builder()
    return _assigned_last_key if build is _last_key else build


@cache
def combined() -> bool:
    """Are values kept by name in `_combined_cache`, until they are changed?"""
    return builder() is _combined


@cache
def setter() -> Setter | None:
    """What sets a header whose name is in its normal spelling, or None."""
    return {_combined: _set_combined, _last_key: _set_last_key}.get(builder())  # type: ignore[arg-type]


def lists(headers: HTTPHeaders) -> dict[str, list[str]]:
    """All values by name, for reading only."""
    if type(headers) is HTTPHeaders and builder() is not None:
        return headers._as_list
    found: dict[str, list[str]] = {}
    for name, value in headers.get_all():
        found.setdefault(name, []).append(value)
    return found


@cache
def builder() -> Builder | None:
    """The way to build headers that are equal to Tornado's own, or None."""
    return choose((_combined, _last_key))


def choose(ways: tuple[Builder, ...]) -> Builder | None:
    """The first of `ways` whose results are in every attribute what Tornado's parser makes."""
    samples: tuple[dict[str, str], ...] = ({}, {"Host": "a", "X-Empty": "", "Te": "b, c"})
    for way in ways:
        if all(_equal(way, fields) for fields in samples):
            return way
    return None


def _equal(way: Builder, fields: dict[str, str]) -> bool:
    made = HTTPHeaders.parse("".join(f"{name}: {value}\r\n" for name, value in fields.items()))
    built = way(fields)
    mine, theirs = vars(built), vars(made)
    if type(built) is not type(made) or mine != theirs:
        return False
    # Two of them must share nothing, and mappings must come in the same order.
    again = vars(way(fields))
    return all(
        not isinstance(mine[name], dict)
        or (list(mine[name]) == list(theirs[name]) and mine[name] is not again[name])
        for name in mine
    )
