"""The resolver of a reload: reads the settings again, in a process of its own.

The supervisor parses nothing.  It starts this with the words that `serve` was
given; the answer is one message, `Resolved` or `Unresolved`, on the channel.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import NoReturn

import click

from leeward._core.messages import Descriptor, Message, Resolved, Unresolved
from leeward._sys.channel import Channel
from leeward.errors import LeewardError, UsageError

#: Time for the supervisor to take the answer off the channel.
_FLUSH_TIMEOUT = 5.0


def run(fd: int) -> NoReturn:
    """sys.argv is ["-c", ROOT, "resolve", FD, *argv of serve]."""
    channel = Channel(fd)
    with ExitStack() as undo:  # what is sent has its own copies of descriptors
        channel.send(answer(sys.argv[4:], undo))
    if channel.wants_write:
        import select

        poll = select.poll()
        poll.register(channel.fileno(), select.POLLOUT)
        poll.poll(_FLUSH_TIMEOUT * 1000)
        channel.flush()
    sys.exit(0)


def answer(argv: list[str], undo: ExitStack) -> Message:
    """What `leeward serve ARGV` would run with, typed now in the same directory.

    `undo` closes the descriptors that it names.
    """
    from leeward.cli import credentials
    from leeward.cli.main import spoken
    from leeward.cli.options import parse, resolved
    from leeward.cli.serve import command
    from leeward.cli.target import check_exists

    try:
        # The kernel still knows the directory that `serve` ran in; a deploy may
        # have swapped the link in the path that was typed.  `serve` left that
        # path in $PWD for us.
        _enter(os.environ["PWD"])
        found = resolved(parse(command, argv))
        config = found.config
        check_exists(config.target, config.chdir)
        tls = credentials.load(config, undo, found.values)
    except LeewardError as error:
        return Unresolved(str(error))
    except click.ClickException as error:
        return Unresolved(spoken(error))
    except OSError as error:
        return Unresolved(f"{error.filename}: {error.strerror}")
    return Resolved(
        config.to_json(), tuple(map(Descriptor, tls.fds)), tls.certificate, tls.warnings
    )


def _enter(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise UsageError(
            f"the directory that serve was started in, {directory}: {error.strerror}",
            "put it back; or stop, and serve from another",
        ) from None
