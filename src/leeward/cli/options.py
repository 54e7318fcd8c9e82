"""Command-line options made from the table of settings, for the verbs that resolve them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from leeward.cli import values
from leeward.cli.main import Option, Verb, spoken
from leeward.cli.paths import logical_cwd
from leeward.cli.resolution import Resolution, resolve
from leeward.cli.settings import TABLE, Setting
from leeward.errors import UsageError

_ARGS = "leeward.args"
_ARGV = "leeward.argv"


class SettingsVerb(Verb):
    """A verb that takes TARGET, every setting as a flag, and the application's ARGS after `--`."""

    refuses_empty = False  # each setting says what it may be

    def __init__(self, name: str, **kwargs: Any) -> None:
        params = [click.Argument(["target"], required=False), *map(_option, TABLE[1:])]
        super().__init__(name, params=[*params, *kwargs.pop("params", [])], **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGV] = tuple(args)
        # Click would take the first word after `--` for TARGET when that is in the file.
        own, rest = args, []
        if "--" in args:
            place = args.index("--")
            own, rest = args[:place], args[place + 1 :]
        ctx.meta[_ARGS] = tuple(rest)
        try:
            return super().parse_args(ctx, list(own))
        except click.UsageError as error:
            if "unexpected extra argument" in error.message:
                raise UsageError(
                    f"{spoken(error)}: there is one TARGET",
                    "arguments for the application go after --",
                ) from None
            raise

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS]", "TARGET", "[-- ARGS...]"]


def _option(setting: Setting) -> click.Option:
    # Text only: one parser per setting reads flags, variables and files alike.
    return Option(
        [*setting.flags, setting.key],
        metavar=setting.metavar or None,
        multiple=setting.many,
        help=f"{setting.doc}  [{shown(setting)}]" if shown(setting) else setting.doc,
        default=None,
    )


def shown(setting: Setting) -> str:
    """The default as one would type it."""
    value = setting.default
    if setting.key == "uds_mode":
        return f"{value:o}"
    if setting.metavar == "SIZE":
        return values.size_text(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}s"
    if isinstance(value, tuple):
        return " ".join(value)
    return str(value)


def resolved(ctx: click.Context) -> Resolution:
    """The settings of this command line, here and now."""
    if sys.platform != "linux":
        raise UsageError(f"leeward needs Linux 5.9 or newer, this is {sys.platform}")
    try:
        cwd = logical_cwd(os.environ)
    except FileNotFoundError:
        raise UsageError("the working directory has been removed", "cd to another") from None
    return resolve(
        ctx.params, args=ctx.meta[_ARGS], argv=ctx.meta[_ARGV], environ=os.environ, cwd=cwd
    )


def parse(command: SettingsVerb, argv: Sequence[str]) -> click.Context:
    """`argv` read again as `command` would read it; nothing is run."""
    return command.make_context(command.name, list(argv))
