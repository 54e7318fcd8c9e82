"""What can be told about a TARGET by looking at its text and at no Python code."""

from __future__ import annotations

import os
import re
import stat

from leeward import naming
from leeward.cli import values
from leeward.errors import TargetError, UsageError

#: path/chat.py or path/chat.py:attr
_FILE = re.compile(r"(?P<path>.*\.py)(?::(?P<attr>.*))?\Z")
_ELSEWHERE = "Is the directory right? Set it with --chdir DIR"


def default_name(target: str) -> str:
    """Name of the instance: "chat" for chat:make_app, path/chat.py and chat/__main__.py."""
    match = _FILE.match(target)
    if match:
        stem = os.path.basename(match["path"])[: -len(".py")]
        if stem == "__main__":
            stem = os.path.basename(os.path.dirname(os.path.abspath(match["path"])))
    else:
        stem = target.split(":")[0].rstrip("/")
        stem = os.path.basename(stem)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-")[:64] or "leeward"


def check_exists(target: str, directory: str) -> None:
    """Raises `TargetError` for a file that is not there; modules are the zygote's to find.

    Raises `UsageError` for what cannot be a target: that is a slip of who typed it, and no
    zygote need be started to say so.
    """
    if not target:
        raise UsageError(
            "what to serve? no TARGET was given",
            'leeward serve chat:make_app, or target = "chat:make_app" in leeward.toml',
        )
    match = _FILE.match(target)
    path = match["path"] if match else target
    if match or "/" in target:
        _check_file(path, directory, bool(match))
    try:
        naming.parse(target)
    except TargetError as error:
        raise UsageError(error.message, error.remedy) from None


def _check_file(path: str, directory: str, is_python: bool) -> None:
    full = os.path.join(directory, path)
    if os.path.isfile(full) or (not is_python and os.path.exists(full)):
        return
    if os.path.lexists(full):
        raise TargetError(f"{path}: {_what_else(full)}", f"ls -ld {full}")
    folder = os.path.dirname(full)
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".py")]
    except OSError:
        raise TargetError(f"{path}: there is no directory {folder}", _ELSEWHERE) from None
    hint = values.nearest(os.path.basename(path), names)
    raise TargetError(f"{path}: no such file in {folder}{hint}", _ELSEWHERE)


def _what_else(path: str) -> str:
    """What stands at `path`, where a file of Python should."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        why = error.strerror or str(error)
        return f"a link to {os.readlink(path)}: {why}" if os.path.islink(path) else why
    return "is a directory, and no file" if stat.S_ISDIR(mode) else "is no regular file"
