"""Show the settings that `leeward serve` would run with, as TOML.

  leeward config --origin      where each value comes from, and why defaults are so

Takes the same TARGET and options as serve.  Is the instance running, then what was changed
by `leeward set` is shown too, with the origin `runtime`.
"""

from __future__ import annotations

import json
import os
from typing import Any

import click

from leeward._core import tuning
from leeward._core.messages import SetRequest
from leeward._core.record import replace
from leeward.cli import instances, output
from leeward.cli.client import Client, refusal
from leeward.cli.layers import Value
from leeward.cli.main import Option
from leeward.cli.options import SettingsVerb, resolved
from leeward.cli.resolution import Resolution
from leeward.cli.settings import TABLE, Setting
from leeward.errors import LeewardError

#: Spelled as --bind once they are resolved; --config says where, not what.
_NOT_SHOWN = ("host", "port", "uds", "config")


@click.pass_context
def show(ctx: click.Context, /, origin: bool, **flags: object) -> int:
    resolution = resolved(ctx)
    output.say(rendered(replace(resolution, values=with_runtime(resolution)), origin))
    return 0


def with_runtime(resolution: Resolution) -> dict[str, Value]:
    """The values, with what is set in the running instance of this name over them."""
    name = resolution.config.name
    running = [it for it in instances.every(os.environ) if it.name == name]
    found = dict(resolution.values)
    if len(running) != 1:
        return found
    try:
        with Client(running[0]) as client:
            answer = client.ask(SetRequest("{}"))
        if answer.code:
            raise refusal(answer)
        overrides = tuning.parse(answer.data)
        now = tuning.tuned(resolution.config, overrides)
    except (LeewardError, ValueError, ArithmeticError, RecursionError) as error:
        # Another version's settings, or what another user's supervisor makes up for root.
        output.complain(f"what was set while running is not known: {error}")
        return found
    before = resolution.config
    for setting in TABLE:
        if setting.runtime and setting.key in overrides:
            found[setting.key] = Value(getattr(now, setting.key), "runtime (leeward set)")
        elif setting.runtime and getattr(now, setting.key) != getattr(before, setting.key):
            found[setting.key] = Value(getattr(now, setting.key), "runtime, follows another")
    return found


command = SettingsVerb(
    "config",
    help=__doc__,
    callback=show,
    params=[Option(["--origin"], is_flag=True, help="Say where each value comes from.")],
)


def rendered(resolution: Resolution, origin: bool) -> str:
    """TOML that, put into leeward.toml, gives the same settings again."""
    lines: list[tuple[str, str]] = []
    for setting in TABLE:
        if setting.key in _NOT_SHOWN:
            continue
        value = resolution.values[setting.key]
        lines.append((assignment(setting, value.value), value.origin))
    if not origin:
        return "\n".join(line for line, _ in lines)
    width = max(len(line) for line, _ in lines)
    return "\n".join(f"{line:{width}}  # {where}" for line, where in lines)


def assignment(setting: Setting, value: Any) -> str:
    """A line of TOML."""
    text = _toml(setting.key, value)
    return f"{setting.toml} = {text}" if text else f"# {setting.toml} is not set"


def _toml(key: str, value: Any) -> str:
    """ "" for what a key cannot say: nothing, and what is left to a program."""
    if value in ((), None) or (key == "workers" and not value):
        return ""
    if key == "uds_mode":
        return f'"{value:o}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        seconds = f"{value:.6f}".rstrip("0").rstrip(".")
        # With more digits than a text may have, it came as a number from a file.
        return f'"{seconds}s"' if float(seconds) == value else repr(value)
    if isinstance(value, tuple):
        return json.dumps(list(value), ensure_ascii=False)
    if isinstance(value, str):
        # JSON's strings are TOML's basic strings.
        return json.dumps(value, ensure_ascii=False) if value else ""
    return str(value)
