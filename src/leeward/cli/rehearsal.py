"""A generation's first process, played once and for nobody: what is there to be served?

`check` rehearses every application.  `serve` rehearses a program that is to keep its own
address or number of processes, since the port is bound before anything is started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

from leeward._core.config import Config
from leeward._core.messages import Begin, Descriptor, Failed, Loaded
from leeward._sys import bootstrap, posix
from leeward._sys.channel import Channel
from leeward._sys.page import Page
from leeward._sys.signals import signal_name
from leeward.errors import ChannelClosed, LeewardError, TargetError, UsageError

#: After the last word of the rehearsal, how long its process may take to leave.
_LEAVE_TIMEOUT = 2.0
#: What has it leave by itself: a report, or why there is none.
_OUTCOMES = (None, TargetError, UsageError)
#: Bytes of what a program printed that are shown if it fails.
_SHOWN = 64 * 1024


def rehearse(config: Config) -> Loaded:
    """Loads the application in a process of its own, as a generation's zygote would.

    What a program prints meanwhile is shown only if it fails: it will print it again.
    Raises `TargetError` with what the application's owner can read, `UsageError` for
    a program that cannot be adopted.
    """
    with ExitStack() as undo:
        ours, theirs = Channel.pair()
        undo.callback(ours.close)
        undo.callback(theirs.close)
        page = Page.create()
        undo.callback(page.close)
        printed = None
        if config.kind == "script":
            printed = posix.memfd_create("leeward-rehearsal")
            undo.callback(os.close, printed)
        command = bootstrap.command(
            config.interpreter, config.root, "zygote", theirs.fileno(), os.getpid()
        )
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            env={**os.environ, **dict(config.env)},
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        undo.push(lambda kind, *_: _end(process, _LEAVE_TIMEOUT if kind in _OUTCOMES else 0.0))
        theirs.close()  # the end of its last copy is how we learn of its death
        try:
            return _rehearsed(ours, page, process, config)
        except LeewardError:
            if printed is not None:
                sys.stderr.write(os.pread(printed, _SHOWN, 0).decode("utf-8", "replace"))
            raise


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
            kind = UsageError if message.stage == "usage" else TargetError
            raise kind(message.text)
        if message is None and config.kind == "script":
            raise TargetError(
                f"{config.target} has not listened within {config.start_timeout:g} s",
                "Is it a server? --start-timeout gives it more time",
            )
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
        return f"loading ended its process: killed by {signal_name(-code)}"
    return f"loading ended its process with exit code {code}"


def _end(process: subprocess.Popen[bytes], patience: float) -> None:
    """Leaves nothing behind, not even what the application started meanwhile."""
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:  # Ctrl-C while it is waited for
        with contextlib.suppress(ProcessLookupError):  # nobody is left in its group, as a rule
            os.killpg(process.pid, signal.SIGKILL)
