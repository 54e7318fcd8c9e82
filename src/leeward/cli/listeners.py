"""Binds what the settings say, or adopts what a socket manager hands in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack

from leeward._core.config import Config, Listener
from leeward._sys import peers, socketfiles, sockets
from leeward._sys.channel import DESCRIPTORS
from leeward.cli.resolution import Resolution
from leeward.errors import BindError, UsageError

#: A process gets all of them in its first message, beside the page, the bell, the baseline, three
#: files of TLS, and the memfd of what is long.
MOST = DESCRIPTORS - 7


def addresses(resolution: Resolution, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The addresses to open: --bind and its kin, else LISTEN_FDS, else the default or,
    for a program, its own.

    The settings keep the default in the second case: what is adopted is an
    affair of this start, and a reload compares settings.
    """
    if resolution.values["bind"].origin.startswith("default"):
        adopted = sockets.listen_fds(environ, os.getpid())
        if adopted:
            return tuple(f"fd://{fd}" for fd in adopted)
    return resolution.config.bind or resolution.wants


def open_each(wanted: Iterable[str], config: Config, undo: ExitStack) -> list[Listener]:
    """A listener for each address, or more where a host name has several.

    `undo` closes them and removes the unix sockets.  Raises `BindError`; UsageError where
    they are too many.
    """
    bound: list[Listener] = []
    for text in wanted:
        address = sockets.parse(text)
        for sock in sockets.bind_all(address, config.backlog, config.uds_mode):
            undo.callback(sock.close)
            # Whoever connects before the first worker is ready has it too.
            peers.watch([sock.fileno()], config)
            listener = sockets.listener(
                sock, sock.fileno(), made=address.kind != "fd", tls=bool(config.ssl_certfile)
            )
            if listener.path:
                undo.callback(_remove, listener.path)
                _give(listener.path, config)
            bound.append(listener)
    if len(bound) > MOST:
        raise UsageError(
            f"--bind: {len(bound)} listeners, and {MOST} are the most that there can be",
            "Give fewer addresses (those of LISTEN_FDS count), or serve some by another instance",
        )
    return bound


def _give(path: str, config: Config) -> None:
    """The application's own user may connect whatever the socket's mode is."""
    if (config.uid, config.gid) == (-1, -1):
        return
    what = f"cannot give {path} to user {config.uid}"
    try:
        socketfiles.give(path, config.uid, config.gid)
    except (socketfiles.Replaced, FileNotFoundError) as error:
        raise BindError(
            f"{what}: {error.strerror}",
            f"look at who may write there: ls -ld {os.path.dirname(path)}",
        ) from None
    except OSError as error:
        raise BindError(
            f"{what}: {error.strerror}", "CAP_CHOWN is needed for --user with a unix socket"
        ) from None


def _remove(path: str) -> None:
    # What stands in the way of it says the error that we are here for.
    with contextlib.suppress(OSError):
        socketfiles.remove(path)
