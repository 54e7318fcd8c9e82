"""Rehearse a start, and serve nobody: settings, import, fork audit, addresses.

What was found, which mode it would run in and why, and whether the addresses
can be had.  Exit code 2, 3 or 4 for what is wrong first.  A factory is found but
not called: only workers do that.

  leeward check chat:make_app && leeward reload chat

Takes the same TARGET and options as serve.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import click

from leeward._core.config import Config
from leeward._core.messages import Begin, Descriptor, Failed, Loaded
from leeward._sys import bootstrap, sockets
from leeward._sys.channel import Channel
from leeward._sys.page import Page
from leeward.cli import instances, listeners, output
from leeward.cli.options import SettingsVerb, resolved
from leeward.cli.resolution import Resolution
from leeward.cli.target import check_exists
from leeward.errors import BindError, ChannelClosed, LeewardError, TargetError

#: After the last word of the rehearsal, how long its process may take to leave.
_LEAVE_TIMEOUT = 2.0


@click.pass_context
def check(ctx: click.Context, /, **flags: object) -> int:
    resolution = resolved(ctx)
    config = resolution.config
    check_exists(config.target, config.chdir)
    where = f" ({os.path.relpath(resolution.file, config.cwd)})" if resolution.file else ""
    output.say(f"settings   ok{where}")
    for note in config.notes:
        output.say(f"           {note}")
    with ExitStack() as undo:
        fault: LeewardError | None = None
        try:
            output.say(f"addresses  {addresses(resolution, undo)}")
        except BindError as error:
            # The application is worth looking at all the same; told at the end.
            fault = error
            output.say("addresses  cannot be had")
        loaded = rehearse(config)
        # A factory is called in the workers only: what it makes is not known here.
        kind = "" if loaded.found.startswith(loaded.kind) else f"{loaded.kind}: "
        output.say(f"found      {kind}{loaded.found}, loaded in {loaded.load_ms} ms")
        for line in mode(config, loaded):
            output.say(line)
    if fault is not None:
        raise fault
    return 0


command = SettingsVerb("check", help=__doc__, callback=check)


def addresses(resolution: Resolution, undo: ExitStack) -> str:
    """Binds what `serve` would bind.  Raises `BindError`.

    An address that the running instance of this name holds is as it should be.
    """
    config = resolution.config
    said: list[str] = []
    for address in listeners.addresses(resolution, os.environ):
        try:
            found = listeners.open_each((address,), config, undo)
        except BindError:
            if not _holds(config.name, sockets.parse(address)):
                raise
            said.append(f"{address} held by {config.name}, which is running")
        else:
            said += [f"{each.address} ok" for each in found]
    return ", ".join(said)


def _holds(name: str, address: sockets.Address) -> bool:
    """Is it the running instance called `name` that has `address`?"""
    from leeward.cli.ps import snapshot

    try:
        urls: list[str] = snapshot(instances.find(name, os.environ))["listeners"]
    except LeewardError:
        return False  # none runs, or it cannot say
    if address.kind == "unix":
        return f"unix:{address.path}" in urls
    return any(urlsplit(url).scheme == "http" and _port(url) == address.port for url in urls)


def _port(url: str) -> int:
    return urlsplit(url).port or 80


def rehearse(config: Config) -> Loaded:
    """Loads the application in a process of its own, as a generation's zygote would.

    Raises `TargetError` with what the application's owner can read.
    """
    with ExitStack() as undo:
        ours, theirs = Channel.pair()
        undo.callback(ours.close)
        undo.callback(theirs.close)
        page = Page.create()
        undo.callback(page.close)
        command = bootstrap.command(
            config.interpreter, config.root, "zygote", theirs.fileno(), os.getpid()
        )
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **dict(config.env)},
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        undo.callback(_end, process)
        theirs.close()  # the end of its last copy is how we learn of its death
        return _rehearsed(ours, page, process, config)


def _rehearsed(
    channel: Channel, page: Page, process: subprocess.Popen[bytes], config: Config
) -> Loaded:
    try:
        channel.send(
            Begin(
                config=config.to_json(),
                generation=1,
                supervisor=os.getpid(),
                page=Descriptor(page.fd),
                listeners=(),
                addresses=(),
                rehearse=True,
            )
        )
        return _outcome(channel, config)
    except ChannelClosed:
        raise TargetError(_ended(process)) from None


def _outcome(channel: Channel, config: Config) -> Loaded:
    deadline = time.monotonic() + config.start_timeout
    while True:
        message = channel.wait(max(0.0, deadline - time.monotonic()))
        if isinstance(message, Loaded):
            return message
        if isinstance(message, Failed):
            raise TargetError(message.text)
        if message is None:
            raise TargetError(
                f"{config.target} was still loading after {config.start_timeout:g} s",
                "--start-timeout gives it more; a module must not serve while it is imported",
            )


def _ended(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(_LEAVE_TIMEOUT)
    except subprocess.TimeoutExpired:
        return "the application closed its process's channel while it was loaded"
    if code < 0:
        return f"loading ended its process: killed by {signal.Signals(-code).name}"
    return f"loading ended its process with exit code {code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leaves nothing behind, not even what the application started meanwhile."""
    try:
        process.wait(_LEAVE_TIMEOUT if process.poll() is None else 0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError):  # nobody is left in its group: the usual case
        os.killpg(process.pid, signal.SIGKILL)


def mode(config: Config, loaded: Loaded) -> list[str]:
    """The mode that `serve` would choose, with its reasons: what the supervisor decides."""
    chosen = config.start
    if chosen == "auto":
        chosen = "spawn" if loaded.hazards else "zygote"
    why = "as --start says" if config.start != "auto" else ""
    if not why:
        why = "a fork would break:" if loaded.hazards else "nothing that a fork would break"
    lines = [f"mode       {chosen} ({why.rstrip(':')})"]
    lines += [f"           hazard: {hazard}" for hazard in loaded.hazards]
    return lines
