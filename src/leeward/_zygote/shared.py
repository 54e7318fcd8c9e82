"""What processes share beside descriptors: locks of files, memory, directories, a wake-up call."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from typing import Any

from leeward._sys import files
from leeward._zygote import memory
from leeward._zygote.look import Found, Look, key, opened
from leeward._zygote.origins import NOWHERE
from leeward.adapters.blame import shown

#: As /proc/self/fdinfo calls them, and the calls that take them.
_LOCKS = {"FLOCK": "flock", "POSIX": "lockf", "OFDLCK": "F_OFD_SETLK"}


def file_locks(look: Look) -> Iterator[Found]:
    """Those of flock(2) are inherited by all children at once, those of fcntl(2) by none."""
    objects = {fd: it for it in look.objects["file"] if (fd := _number(it)) is not None}
    for name in os.listdir("/proc/self/fdinfo"):
        fd = int(name)
        if fd in look.own or fd in look.descriptors:
            continue
        text = files.read(f"/proc/self/fdinfo/{fd}") or b""
        for kind in re.findall(rb"^lock:\t\d+: +(\w+)", text, re.M):
            if (call := _LOCKS.get(kind.decode())) is None:
                continue  # a lease: told of by nobody
            path = shown(os.readlink(f"/proc/self/fd/{fd}"))
            what = f"{path} is locked by {call}, descriptor {fd}"
            site = look.watch.locked.get(fd, NOWHERE)
            yield Found("LW131", what, site, objects.get(fd), key(fd))
            break


def _number(it: Any) -> int | None:
    try:
        return int(it.fileno())
    except Exception:  # closed, no file, or an application's own idea of one
        return None


def process_locks(look: Look) -> Iterator[Found]:
    """Of multiprocessing: a child that lets go of one does so for all."""
    for it in look.objects["process lock"]:
        if it._semlock._is_zero():
            what = f"a multiprocessing {type(it).__name__} is held"
            yield Found("LW130", what, NOWHERE, it)


def mapped(look: Look) -> Iterator[Found]:
    for start, (size, name) in memory.shared().items():
        if start not in look.watch.memory:
            path = shown(name) if name else "without a file"
            what = f"{-(-size // 1024)} KiB of memory are shared, {path}"
            yield Found("LW142", what, look.watch.mapped.get(start, NOWHERE))


def directories(look: Look) -> Iterator[Found]:
    for it in look.objects["directory"]:
        if it._finalizer.alive and getattr(it, "_delete", True):
            site = look.watch.directories.get(os.path.abspath(os.fsdecode(it.name)), NOWHERE)
            what = f"{it.name} is deleted by the first worker that ends"
            yield Found("LW162", what, site, it)


def wake_up(look: Look) -> Iterator[Found]:
    """The number that C code writes a byte to at each signal."""
    fd = signal.set_wakeup_fd(-1)
    if fd < 0:
        return
    signal.set_wakeup_fd(fd)
    if fd not in look.own and fd not in look.descriptors:
        what = f"signals are told to descriptor {fd} (signal.set_wakeup_fd)"
        it = next((it for it in look.objects["socket"] if _number(it) == fd), None)
        yield Found("LW121", what, opened(look, fd, it)[0], it, key(fd))
