"""Has any module's file changed since its generation started?

Where each worker imports for itself, a replacement that starts after a file was
edited runs other code than its siblings.  That is allowed and reported: the
first process of a generation writes down what it loaded, each later one
compares.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from types import ModuleType

#: The 926 modules of pandas, bokeh and SQLAlchemy together take 3 ms.
LIMIT = 20_000
#: Changed files that are told of, first by name: a deploy in place changes all of them.
MOST = 500

_OURS = __name__.partition(".")[0]


def of_file(path: str) -> str:
    """ "mtime_ns:size:inode", "" if there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_mtime_ns}:{status.st_size}:{status.st_ino}"


def fingerprints() -> dict[str, str]:
    """Of each loaded module outside the standard library: name → "mtime_ns:size:inode:path".

    By name and not by path, so that a release directory swapped behind a
    ``current`` link counts as a change of every module in it.
    """
    paths = sysconfig.get_paths()
    standard = tuple({paths["stdlib"] + os.sep, paths["platstdlib"] + os.sep})
    packages = tuple({paths["purelib"] + os.sep, paths["platlib"] + os.sep})
    found: dict[str, str] = {}
    for name, module in list(sys.modules.items())[:LIMIT]:
        if not issubclass(type(module), ModuleType):
            continue
        # Lazy modules are imported, or raise, when they are asked for anything.
        path = object.__getattribute__(module, "__dict__").get("__file__")
        if not isinstance(path, str) or name.partition(".")[0] == _OURS:
            continue
        if path.startswith(standard) and not path.startswith(packages):
            continue
        mark = of_file(path)
        if mark:
            found[name] = f"{mark}:{path}"
    return found


def changed_since(baseline: dict[str, str]) -> tuple[str, ...]:
    """The files of `baseline` that are others now, or are gone."""
    now = fingerprints()
    changed = []
    for name, value in baseline.items():
        path = value.split(":", 3)[-1]
        # Not loaded here (yet): the file as it is on the disk.
        if now.get(name, f"{of_file(path)}:{path}") != value:
            changed.append(now[name].split(":", 3)[-1] if name in now else path)
    return tuple(sorted(changed))


def to_json() -> bytes:
    """What this process has loaded, to be put into a memfd."""
    return json.dumps(fingerprints()).encode()


def changed_since_json(data: bytes) -> tuple[str, ...]:
    """`changed_since` what another process's `to_json` made, `MOST` of it."""
    return changed_since(json.loads(data))[:MOST]
