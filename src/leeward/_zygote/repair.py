"""What a fork would make wrong and can be put right: buffers, generators, connections of logs.

Before the fork: whatever is buffered is written.  Every child would write it once more.
In the child: each generator of random numbers that was seeded to be unpredictable is
seeded so again, and a handler that sends records over a stream opens one of its own.

"Right" is what a worker that imports for itself would have.  So a generator that was
seeded by 42 is left alone: each such worker would draw the same numbers too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import socket
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from leeward._core.record import Struct, field
from leeward._sys import files
from leeward._zygote.look import Found, Look, key
from leeward._zygote.origins import NOWHERE, Site
from leeward._zygote.watch import is_long, note_of
from leeward.adapters.blame import shown
from leeward.adapters.logfiles import install as logfiles

#: Methods of handlers that must be the standard library's for one without a connection to open
#: one: another's `emit` would raise out of the application's call that logs.
_CONNECTS = ("emit", "send", "createSocket", "makeSocket")


class Repairs(Struct):
    """What is left to do in each child.  drop(codes): as if they had not been found."""

    generators: list[random.Random] = field(default_factory=list)
    numpy: list[Any] = field(default_factory=list)
    handlers: list[Any] = field(default_factory=list)

    def drop(self, codes: Iterable[str]) -> None:
        lists = {"LW170": self.generators, "LW171": self.numpy, "LW151": self.handlers}
        for code in codes:
            lists.get(code, []).clear()

    def mend(self) -> None:
        """In the child."""
        for generator in self.generators:
            random.Random.seed(generator)
        for it in self.numpy:
            bits = getattr(it, "bit_generator", None) or it._bit_generator
            bits.state = type(bits)().state
        for handler in self.handlers:
            for name in ("sock", "socket"):
                if getattr(handler, name, None) is not None:
                    with contextlib.suppress(OSError):  # only our copy is closed
                        getattr(handler, name).close()
                    setattr(handler, name, None)
        # The application may drop its own, and then they shall go.
        self.drop(("LW170", "LW171", "LW151"))


# --- before the fork: buffers -----------------------------------------------------------


def buffers(look: Look) -> Iterator[Found]:
    """Write what is buffered; tell which files had something, and which cannot be written.

    Python does not tell how much is buffered.  The kernel counts what we write.
    """
    # A TextIOWrapper first: it hands its text on to a buffer that is in the list as well.
    texts_first = sorted(look.objects["file"], key=lambda it: not hasattr(it, "buffer"))
    known = {id(getattr(handler, "stream", None)) for handler in look.objects["handler"]}
    for it in texts_first:
        try:
            before = _written()
            it.flush()
            wrote = _written() - before
        except ValueError:
            continue  # closed, or detached
        except OSError as error:
            fd = _fileno(it)
            if fd is not None and fd > 2:
                what = f"{_name(it)} cannot be written: {error.strerror or error}"
                yield Found("LW161", what, _opened(look, it), it, key(fd))
            continue
        except Exception:  # an application's own idea of a file
            continue
        fd = _fileno(it)
        if wrote and fd is not None and fd > 2 and id(it) not in known:
            what = f"{wrote} bytes for {_name(it)} were in a buffer"
            yield Found("LW160", what, _opened(look, it), it, key(fd))


def _written() -> int:
    """Bytes that this process has handed to write(2) so far; 0 where that is not counted."""
    match = re.search(rb"^wchar: (\d+)", files.read("/proc/self/io") or b"", re.M)
    return int(match[1]) if match else 0


def _fileno(it: Any) -> int | None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return int(it.fileno())
    return None


def _name(it: Any) -> str:
    name = getattr(it, "name", None)
    return shown(os.fsdecode(name)) if isinstance(name, str | bytes) else "a file"


def _opened(look: Look, it: Any) -> Site:
    name = getattr(it, "name", None)
    if isinstance(name, str | bytes):
        return look.watch.files.get(os.path.abspath(os.fsdecode(name)), NOWHERE)
    return NOWHERE


# --- logging ----------------------------------------------------------------------------


def log_files(look: Look) -> Iterator[Found]:
    """Those that rotate, or are emptied, and are left to the application."""
    if logfiles.cared_for():
        return
    for it in look.objects["handler"]:
        rollover = getattr(type(it), "doRollover", None)
        path = getattr(it, "baseFilename", "?")
        site = look.watch.files.get(path, NOWHERE)
        who = f"a {type(it).__name__}"
        # Others than those of the standard library may lock between processes.
        if getattr(rollover, "__module__", "") == "logging.handlers" and _rotates(it):
            yield Found("LW150", f"{shown(path)} is rotated by {who}", site, it)
        elif isinstance(it, logging.FileHandler) and "w" in it.mode and _is_file(path):
            yield Found("LW152", f"{shown(path)} is emptied by {who}", site, it)
    for it in look.objects["loguru"]:
        path = str(getattr(it, "_path", "?"))
        site = look.watch.files.get(os.path.abspath(path), NOWHERE)
        if getattr(it, "_rotation_function", None) is not None:
            yield Found("LW150", f"{shown(path)} is rotated by loguru", site, it)
        elif "w" in getattr(it, "_kwargs", {}).get("mode", "") and _is_file(path):
            yield Found("LW152", f"{shown(path)} is emptied by loguru", site, it)


def _is_file(path: str) -> bool:
    """Or none yet; no device, nor a pipe."""
    return os.path.isfile(path) or not os.path.exists(path)


def handlers(look: Look, repairs: Repairs) -> Iterator[Found]:
    """Those that send over a stream, and open another one where theirs is gone.

    The connection of any other is told of as one that nobody sends records over.
    """
    for it in look.objects["handler"]:
        ways = (getattr(type(it), name, None) for name in _CONNECTS)
        if any(way and getattr(way, "__module__", "") != "logging.handlers" for way in ways):
            continue
        sock = getattr(it, "sock", None) or getattr(it, "socket", None)
        if not isinstance(sock, socket.socket) or sock.type != socket.SOCK_STREAM:
            continue
        if sock.fileno() >= 0 and sock.fileno() not in look.own:
            look.descriptors.add(sock.fileno())
            repairs.handlers.append(it)
            place = key(sock.fileno())
            site = look.watch.sockets.get(_pair(place), NOWHERE)
            yield Found("LW151", f"a {type(it).__name__} is connected", site, it, place)


def _pair(place: str) -> tuple[int, int]:
    fd, _, inode = place.partition(":")
    return int(fd), int(inode)


def _rotates(it: Any) -> bool:
    return not hasattr(it, "maxBytes") or it.maxBytes > 0


# --- generators -------------------------------------------------------------------------


def generators(look: Look, repairs: Repairs) -> Iterator[Found]:
    """The application's own are told of, a library's are only seeded anew.

    `random`'s global one, `tempfile`'s and `uuid`'s see a fork by themselves; SystemRandom
    asks the kernel.
    """
    for it in look.objects["random"]:
        if it is getattr(random, "_inst", None):
            continue  # the global one has a hook of its own at each fork
        site, typed, seed = note_of(look.watch.seeded, it, (NOWHERE, True, None))
        if typed or type(it).__name__ == "SystemRandom" or look.is_typed(seed):
            continue
        repairs.generators.append(it)
        if site.direct:
            yield Found("LW170", f"a {type(it).__name__} is seeded before the fork", site, it)
    for it in look.objects["numpy"]:
        if not _is_global(it) and not _typed(look, it):
            repairs.numpy.append(it)
            yield Found("LW171", f"a numpy {type(it).__name__} is seeded before the fork", it=it)


def _is_global(it: Any) -> bool:
    """That of numpy.random itself: `fork.reseed` seeds it in each child."""
    module = sys.modules.get("numpy.random.mtrand")
    return getattr(module, "_rand", None) is it


def _typed(look: Look, it: Any) -> bool:
    """Was the seed given, and not drawn from the kernel?"""
    bits = getattr(it, "bit_generator", None) or it._bit_generator
    seeds = getattr(bits, "seed_seq", None) or getattr(bits, "_seed_seq", None)
    entropy = getattr(seeds, "entropy", None)
    return not is_long(entropy) or look.is_typed(entropy)  # the kernel's has 128 bits
