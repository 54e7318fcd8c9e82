"""Show the settings that `leeward serve` would run with, as TOML.

  leeward config --origin      where each value comes from, and why defaults are so

Takes the same TARGET and options as serve.
"""

from __future__ import annotations

import json
from typing import Any

import click

from leeward.cli import output
from leeward.cli.options import SettingsVerb, resolved
from leeward.cli.resolution import Resolution
from leeward.cli.settings import TABLE

#: Spelled as --bind once they are resolved; --config says where, not what.
_NOT_SHOWN = ("host", "port", "uds", "config")


@click.pass_context
def show(ctx: click.Context, /, origin: bool, **flags: object) -> int:
    output.say(rendered(resolved(ctx), origin))
    return 0


command = SettingsVerb(
    "config",
    help=__doc__,
    callback=show,
    params=[click.Option(["--origin"], is_flag=True, help="Say where each value comes from.")],
)


def rendered(resolution: Resolution, origin: bool) -> str:
    """TOML that, put into leeward.toml, gives the same settings again."""
    lines: list[tuple[str, str]] = []
    for setting in TABLE:
        if setting.key in _NOT_SHOWN:
            continue
        value = resolution.values[setting.key]
        text = _toml(setting.key, value.value)
        assignment = f"{setting.toml} = {text}" if text else f"# {setting.toml} is not set"
        lines.append((assignment, value.origin))
    if not origin:
        return "\n".join(assignment for assignment, _ in lines)
    width = max(len(assignment) for assignment, _ in lines)
    return "\n".join(f"{assignment:{width}}  # {where}" for assignment, where in lines)


def _toml(key: str, value: Any) -> str:
    """ "" for what a key cannot say: nothing, and what is left to a program."""
    if value in ((), None) or (key == "workers" and not value):
        return ""
    if key == "uds_mode":
        return f'"{value:o}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f'"{value:g}s"'
    if isinstance(value, tuple):
        return json.dumps(list(value), ensure_ascii=False)
    if isinstance(value, str):
        # JSON's strings are TOML's basic strings.
        return json.dumps(value, ensure_ascii=False) if value else ""
    return str(value)
