"""A local variable of a frame that stands still, and no trace of having looked at it.

Until Python 3.12 `frame.f_locals` is a dict that the frame keeps (PEP 667): whoever looked
once at a connection's endless loop kept alive for ever what it had served at that moment.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType


def local(frame: FrameType, name: str) -> Any:
    """The value of a variable; None where there is none."""
    seen = frame.f_locals
    found = seen.get(name)
    # A function's own is a copy, made anew at each look: emptying it changes no variable.
    if type(seen) is dict and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        seen.clear()
    return found
