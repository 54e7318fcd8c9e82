"""`leeward.run(app)`: the one thing that leeward will not do, and what to write instead.

Serving an object would mean that this process, which is about to become the
supervisor, has imported the application: its threads, sockets and locks would
be shared with every worker.  A name can be imported where it is safe.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import NoReturn

from leeward.errors import UsageError


def run(app: object) -> NoReturn:
    """Raises `UsageError` that shows the command which serves `app`."""
    raise UsageError(
        "leeward.run() was given an object; an application is named by a string, "
        "so that only its workers load it",
        f"write: leeward serve {name_of(app)}",
    )


def name_of(app: object) -> str:
    """The TARGET that names `app`: exact if it can be found by name, a pattern if not."""
    if isinstance(app, str):
        return app
    name = getattr(app, "__qualname__", "")
    home = getattr(app, "__module__", None) if name else None
    if home and "<" not in name:
        return f"{_spelled(home)}:{name}"
    # An instance does not know its name; a module that holds it does.  The
    # program that calls us is looked at first: others may merely have imported it.
    modules = sorted(sys.modules.items(), key=lambda item: item[0] != "__main__")
    for module_name, module in modules:
        if not issubclass(type(module), ModuleType):
            continue
        # Lazy modules are imported, or raise, when they are asked for anything.
        names = object.__getattribute__(module, "__dict__")
        for attribute, value in list(names.items()):
            if value is app:
                return f"{_spelled(module_name)}:{attribute}"
    return f"{_spelled('__main__')}:NAME"


def _spelled(module: str) -> str:
    if module != "__main__":
        return module
    path = getattr(sys.modules["__main__"], "__file__", None)
    return os.path.relpath(path) if path else "MODULE"
