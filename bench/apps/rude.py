"""`light`, served by workers of leeward that take whatever wakes them: plain shared accept.

What politeness costs and brings is measured against this, all else being equal.
"""

from __future__ import annotations

from light import make_app as make_app

from leeward._core.admission import Courtesy

Courtesy.accepts = lambda *_: True  # type: ignore[method-assign,assignment]
