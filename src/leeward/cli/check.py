"""Rehearse a start, and serve nobody: settings, import, fork audit, addresses.

What was found, which mode it would run in and why, what becomes of its log
files, and whether the addresses can be had.  Exit code 2, 3 or 4 for what is
wrong first.  A factory is found but not called: only workers do that.

  leeward check chat:make_app && leeward reload chat

Takes the same TARGET and options as serve.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from urllib.parse import urlsplit

import click

from leeward._core.config import Config, Listener
from leeward._core.hazards import REFUSED, WARNED, Hazard, in_full, refusal, verdict
from leeward._core.messages import Loaded
from leeward._sys import sockets
from leeward.cli import credentials, instances, listeners, logsink, output, programs
from leeward.cli.options import SettingsVerb, resolved
from leeward.cli.rehearsal import rehearse
from leeward.cli.resolution import Resolution
from leeward.cli.serve import check_kernel
from leeward.cli.target import check_exists
from leeward.errors import BindError, LeewardError, TargetError


@click.pass_context
def check(ctx: click.Context, /, **flags: object) -> int:
    check_kernel(os.uname().release)
    resolution = resolved(ctx)
    config = resolution.config
    check_exists(config.target, config.chdir)
    where = f" ({os.path.relpath(resolution.file, config.cwd)})" if resolution.file else ""
    output.say(f"settings   ok{where}")
    for note in config.notes:
        output.say(f"           {note}")
    logsink.check(config, resolution.values["log_file"].origin)
    with ExitStack() as undo:
        tls = credentials.load(config, undo, resolution.values)
        if tls.certificate:
            output.say(f"tls        {tls.certificate}")
        for warning in tls.warnings:
            output.say(f"           {warning}")
        fault: LeewardError | None = None
        loaded: Loaded | None = None
        if config.kind == "script":
            loaded = rehearse(config)
            resolution = programs.complete(resolution, loaded)
            config = resolution.config
        try:
            output.say(f"addresses  {addresses(resolution, undo)}")
        except BindError as error:
            # The application is worth looking at all the same; told at the end.
            fault = error
            output.say("addresses  cannot be had")
        loaded = loaded or rehearse(config)
        # A factory is called in the workers only: what it makes is not known here.
        kind = "" if loaded.found.startswith(loaded.kind) else f"{loaded.kind}: "
        output.say(f"found      {kind}{loaded.found}, loaded in {loaded.load_ms} ms")
        if loaded.accelerated:
            output.say(f"faster     {loaded.accelerated}")
        for line in loaded.log_files:
            output.say("log file   " + line.removeprefix("log file "))
        for line in mode(config, loaded):
            output.say(line)
        refused = [it for became, it in judged(config, loaded) if became == REFUSED]
    if refused:
        raise TargetError(refusal(refused))
    if fault is not None:
        raise fault
    return 0


command = SettingsVerb("check", help=__doc__, callback=check)


def addresses(resolution: Resolution, undo: ExitStack) -> str:
    """Binds what `serve` would bind.  Raises `BindError`, and `UsageError` as `serve` would.

    An address that the running instance of this name holds is as it should be.
    """
    config = resolution.config
    said: list[str] = []
    opened: list[tuple[str, Listener]] = []
    held = 0
    for address in listeners.addresses(resolution, os.environ):
        try:
            found = listeners.open_one(address, config, undo, opened)
        except BindError:
            if not _holds(config.name, sockets.parse(address)):
                raise
            held += 1
            said.append(f"{address} held by {config.name}, which is running")
        else:
            said += [f"{each.address} ok" for each in found]
    listeners.check_number(len(opened) + held)
    return ", ".join(said)


def _holds(name: str, address: sockets.Address) -> bool:
    """Is it the running instance called `name` that has `address`?"""
    from leeward.cli.ps import snapshot

    try:
        urls: list[str] = snapshot(instances.find(name, os.environ)).get("listeners") or []
    except LeewardError:
        return False  # none runs, or it cannot say
    if address.kind == "unix":
        return f"unix:{address.path}" in urls
    return any(
        urlsplit(url).scheme in ("http", "https") and _port(url) == address.port for url in urls
    )


def _port(url: str) -> int:
    found = urlsplit(url)
    return found.port or (443 if found.scheme == "https" else 80)


def judged(config: Config, loaded: Loaded) -> list[tuple[str, Hazard]]:
    """Each hazard, and what becomes of it: what the zygote decides."""
    found = map(Hazard.from_json, loaded.findings)
    return [(verdict(it, config.hazards, config.start), it) for it in found]


def mode(config: Config, loaded: Loaded) -> list[str]:
    """The mode that `serve` would choose, with its reasons, and each hazard in full."""
    chosen = config.start
    found = judged(config, loaded)
    if chosen == "auto":
        chosen = "spawn" if loaded.hazards else "zygote"
    why = "as --start says" if config.start != "auto" else ""
    if not why:
        harmless = not any(became == WARNED for became, _ in found)
        forked = "nothing that a fork would break" if harmless else "as --hazards says"
        why = "a fork would break" if loaded.hazards else forked
    if any(became == REFUSED for became, _ in found):
        chosen, why = "none", "as --hazards says"
    lines = [f"mode       {chosen} ({why})"]
    for became, hazard in found:
        head, *rows = in_full(hazard, became)
        lines += [f"hazard     {head}", *(f"         {row}" for row in rows)]
    if loaded.more:
        lines.append(f"           and {loaded.more} more")
    return lines
