"""Puts the accelerations in place, each where all is as it knows it.

Installed when the server is made, after the application was imported, so that what
instruments the application has done its patching; looked at again (`recheck`) when the
worker is ready.  What is patched later than that is noticed by the accelerations
themselves, or wraps them.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tornado

from leeward._core.record import Record
from leeward.engine.accelerate import finish, handler, headers, messages, write
from leeward.engine.accelerate.pristine import find, pristine
from leeward.engine.execute import REPLACED

if TYPE_CHECKING:
    from leeward._core.config import Config

_log = logging.getLogger("leeward")

#: Not in the class, as opposed to any value.
_INHERITED = object()


class Acceleration(Record):
    """One function that is replaced.

    place:      ``module:Class.function``
    make:       called with the original; returns what takes its place.
    needs:      what the replacement skips or takes for granted.
    inherited:  the original where the class has it from a base; None where it has its own.
    """

    name: str
    place: str
    make: Callable[[Any], Any]
    needs: tuple[str, ...] = ()
    inherited: Any = None

    @property
    def holder(self) -> type:
        module, _, qualified = self.place.partition(":")
        found: type = getattr(importlib.import_module(module), qualified.partition(".")[0])
        return found

    @property
    def attribute(self) -> str:
        return self.place.rpartition(".")[2]


#: In the order in which they are installed.
ACCELERATIONS = (
    Acceleration(
        "header lookup",
        "tornado.httputil:HTTPHeaders.__getitem__",
        headers.getitem,
        headers.NEEDS,
    ),
    Acceleration(
        "header default",
        "tornado.httputil:HTTPHeaders.get",
        headers.get,
        headers.NEEDS,
        headers.INHERITED,
    ),
    Acceleration(
        "handler init", "tornado.web:RequestHandler.__init__", handler.init, handler.INIT_NEEDS
    ),
    Acceleration(
        "handler clear", "tornado.web:RequestHandler.clear", handler.clear, handler.CLEAR_NEEDS
    ),
    Acceleration("write", "tornado.web:RequestHandler.write", write.write, write.NEEDS),
    Acceleration("finish", "tornado.web:RequestHandler.finish", finish.finish, finish.NEEDS),
    Acceleration(
        "message read",
        "tornado.websocket:WebSocketProtocol13._receive_frame",
        messages.read,
        messages.READ_NEEDS,
    ),
    Acceleration(
        "message write",
        "tornado.websocket:WebSocketProtocol13.write_message",
        messages.write,
        messages.WRITE_NEEDS,
    ),
)


class Accelerations:
    """What is installed in this process: one object, `installed`, as classes are there once."""

    def __init__(self) -> None:
        self._ours: dict[str, tuple[Acceleration, Any, Any]] = {}
        self._said = False

    def install(self, wanted: tuple[Acceleration, ...] = ACCELERATIONS) -> None:
        """Install what is not yet; where something is not as it should be, all stays as it is."""
        refused: dict[str, str] = {}
        for each in wanted:
            if each.place in self._ours:
                continue
            why = self.objection(each)
            if why:
                refused[each.name] = why
            else:
                self._put(each)
        self._say(refused)

    def recheck(self) -> None:
        """Take out what no longer finds what it needs."""
        refused: dict[str, str] = {}
        for each, _, ours in tuple(self._ours.values()):
            if vars(each.holder).get(each.attribute) is not ours:
                continue  # somebody has wrapped it: who unwraps it puts it back
            why = next(filter(None, map(self._fault, each.needs)), "")
            if why:
                refused[each.name] = why
                self.remove(each)
        self._say(refused)

    def active(self) -> tuple[str, ...]:
        return tuple(each.name for each, _, _ in self._ours.values())

    def remove(self, *which: Acceleration) -> None:
        """Put the originals back, of all if none are named."""
        for each in which or tuple(it for it, _, _ in self._ours.values()):
            found = self._ours.pop(each.place, None)
            if found is None:
                continue
            _, before, ours = found
            if vars(each.holder).get(each.attribute) is not ours:
                continue
            if before is _INHERITED:
                delattr(each.holder, each.attribute)
            else:
                setattr(each.holder, each.attribute, before)

    def objection(self, each: Acceleration) -> str:
        """Why it cannot be installed; "" if it can."""
        if each.inherited is not None:
            here = vars(each.holder)
            if each.attribute in here or getattr(each.holder, each.attribute) is not each.inherited:
                return f"{each.place} was replaced"
        return next(filter(None, map(self._fault, self._asked(each))), "")

    def _asked(self, each: Acceleration) -> tuple[str, ...]:
        return each.needs if each.inherited is not None else (each.place, *each.needs)

    def _fault(self, path: str) -> str:
        found = self._ours.get(path)
        if found is not None:
            each, _, ours = found
            same = vars(each.holder).get(each.attribute) is ours
            return "" if same else f"{path} was replaced"
        if pristine(path):
            return ""
        return f"{path} was replaced" if find(path) is None else f"{path} is not known"

    def _put(self, each: Acceleration) -> None:
        before = vars(each.holder).get(each.attribute, _INHERITED)
        original = each.inherited if before is _INHERITED else before
        ours = each.make(original)
        if ours is original:
            return
        ours.__doc__ = original.__doc__
        ours.__module__, ours.__qualname__ = __name__, each.place.partition(":")[2]
        setattr(each.holder, each.attribute, ours)
        self._ours[each.place] = each, before, ours

    def _say(self, refused: dict[str, str]) -> None:
        if not refused or self._said:
            return
        self._said = True  # once a process: each worker says it once a generation
        names = ", ".join(refused)
        why = max(refused.values(), key=lambda it: it.endswith("not known"))
        running = f"Tornado {tornado.version} on Python {sys.version_info[0]}.{sys.version_info[1]}"
        # Patched by the application or its instruments: that is as they want it.
        level = logging.WARNING if why.endswith("not known") else logging.INFO
        _log.log(level, "not accelerated: %s (%s; %s)", names, why, running)


installed = Accelerations()


def survey(config: Config) -> str:
    """Which accelerations a worker would have, and why not the others: a line for people."""
    if config.engine != "leeward":
        return "nothing (--engine tornado)"
    if not config.accelerate:
        return "nothing (--no-accelerate)"
    found = objections()
    there = [name for name, why in found.items() if not why]
    missing = [f"not {name}: {why}" for name, why in found.items() if why]
    return "; ".join([", ".join(there) or "nothing", *missing])


def objections() -> dict[str, str]:
    """Of each acceleration why it cannot be had, "" where it can; nothing is installed."""
    fresh = Accelerations()
    found = {each.name: fresh.objection(each) for each in ACCELERATIONS}
    fault = next((path for path in REPLACED if not pristine(path)), "")
    return {**found, "dispatch": f"{fault} is not Tornado's" if fault else ""}
