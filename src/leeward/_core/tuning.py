"""Settings that were changed while running, over those that were resolved.

`leeward set` reads and checks values as flags are read; what it sends is checked once more
here, because it may be that of another version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from leeward._core.config import TUNABLE, Config
from leeward._core.record import replace

Overrides = Mapping[str, Any]

_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "int | None": (int,),
    "bool": (bool,),
    "float": (int, float),
}
_FIELDS = Config.FIELDS


class Refused(ValueError):
    """No change that can be made; the text says why."""


def parse(text: str) -> dict[str, Any]:
    """What a `SetRequest` asks for.  Raises `Refused`."""
    try:
        changes = json.loads(text)
    except ValueError as error:
        raise Refused(f"not understood: {error}") from None
    if not isinstance(changes, dict):
        raise Refused(f"not understood: {text[:80]!r}")
    for key, value in changes.items():
        kinds = _KINDS.get(_FIELDS.get(key, ""))
        if kinds is None:
            raise Refused(f"this instance, of another version, has no setting {key!r}")
        if key not in TUNABLE:
            raise Refused(f"{key} cannot change while it runs")
        if value is None or (key == "max_requests_jitter" and _percent(value) is not None):
            continue
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise Refused(f"{key}: {value!r} is no {_FIELDS[key]}")
    return changes


def _percent(value: object) -> int | None:
    """Of "10%": a part of `max_requests`, whichever that is by then."""
    if not isinstance(value, str) or not value.endswith("%"):
        return None
    digits = value.removesuffix("%")
    return int(digits) if digits.isdecimal() else None


def merged(overrides: Overrides, changes: Overrides) -> dict[str, Any]:
    """`overrides` after `changes`; None takes one back."""
    both = {**overrides, **changes}
    return {key: value for key, value in both.items() if value is not None}


def tuned(config: Config, overrides: Overrides) -> Config:
    """`config` with `overrides` in force, and with what depends on them."""
    if not overrides:
        return config
    values: dict[str, Any] = {
        key: float(value) if _FIELDS[key] == "float" else value for key, value in overrides.items()
    }
    # What is set wins over the application's own, as what is given does.
    given = tuple(key for key in TUNABLE if key in config.given or key in overrides)
    percent = _percent(values.get("max_requests_jitter"))
    if percent is not None:
        requests = values.get("max_requests", config.max_requests)
        values["max_requests_jitter"] = requests * percent // 100
    found = replace(config, given=given, **values)
    if "max_requests" in overrides and "max_requests_jitter" not in overrides:
        # It may have been a part of the number before (10% unless somebody says otherwise).
        part = config.max_requests_jitter / config.max_requests if config.max_requests else 0.1
        found = replace(found, max_requests_jitter=int(found.max_requests * part))
    # As the command line cuts it: the last WebSocket is told before the deadline.
    return replace(found, drain_window=min(found.drain_window, found.graceful_timeout))
