"""Modules that are imported when somebody looks into them, and not where they are named.

`importlib.util.LazyLoader` does not do here: the second `import` of such a module asks for its
`__spec__` (CPython's `import_ensure_initialized`), and that loads it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def import_lazily(name: str) -> None:
    """From now on `import NAME` costs nothing, and the first look at what is in it all.

    For a short-lived process of ours alone: whoever imports it has the same stand-in.
    """
    sys.modules.setdefault(name, _Later(name))


class _Later(ModuleType):
    def __getattr__(self, attribute: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        vars(self).update(vars(import_module(self.__name__)))
        return getattr(import_module(self.__name__), attribute)
