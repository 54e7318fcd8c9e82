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

#: Each overlaps with every address of its family.
_EVERYWHERE = frozenset({"0.0.0.0", "::"})


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
    before: list[tuple[str, Listener]] = []
    for text in wanted:
        open_one(text, config, undo, before)
    check_number(len(before))
    return [listener for _, listener in before]


def open_one(
    text: str, config: Config, undo: ExitStack, before: list[tuple[str, Listener]]
) -> list[Listener]:
    """What `open_each` does, for one address; `before` is those that it has opened, which this
    one joins.
    """
    address = sockets.parse(text)
    try:
        _refuse_twice(address, before)
        socks = sockets.bind_all(address, config.backlog, config.uds_mode)
    except sockets.PortTaken as error:
        _refuse_overlap(address, error.address, before)
        raise
    found: list[Listener] = []
    for sock in socks:
        undo.callback(sock.close)
        # Whoever connects before the first worker is ready has it too.
        peers.watch([sock.fileno()], config)
        listener = sockets.listener(
            sock, sock.fileno(), made=address.kind != "fd", tls=bool(config.ssl_certfile)
        )
        if listener.path:
            undo.callback(_remove, listener.path)
            _give(listener.path, config)
        found.append(listener)
    before += [(text, listener) for listener in found]
    return found


def check_number(number: int) -> None:
    """Raises `UsageError` for more listeners than a process can be given."""
    if number > MOST:
        raise UsageError(
            f"--bind: {number} listeners, and {MOST} are the most that there can be",
            "Give fewer addresses (those of LISTEN_FDS count), or serve some by another instance",
        )


def _refuse_twice(address: sockets.Address, before: list[tuple[str, Listener]]) -> None:
    """A unix socket by another spelling of its path, or a descriptor by one of its number."""
    for text, listener in before:
        if address.kind == "fd" and address.fd == listener.fd:
            raise _overlap(text, address.text)
        if address.kind == "unix" and listener.path:
            # None of that name yet, or none that can be: `bind_all` says why.
            with contextlib.suppress(OSError):
                if os.path.samefile(address.path, listener.path):
                    raise _overlap(text, address.text)


def _refuse_overlap(
    address: sockets.Address, taken: sockets.Address, before: list[tuple[str, Listener]]
) -> None:
    """Is it ourselves who have the port that is `taken`?  Nobody is to be stopped then."""
    for text, listener in before:
        host, _, port = listener.address.rpartition(":")
        host = host.strip("[]")
        same_family = (":" in host) == (":" in taken.host)
        meets = host == taken.host or not _EVERYWHERE.isdisjoint((host, taken.host))
        if port == str(taken.port) and same_family and meets:
            raise _overlap(text, address.text)


def _overlap(one: str, other: str) -> UsageError:
    return UsageError(
        f"--bind: {one} and {other} overlap, they are one address in part or as a whole",
        "leave one of them out",
    )


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
