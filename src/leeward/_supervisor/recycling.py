"""Who waits for workers to be replaced, and how far that has come.

`leeward._core.supervisor` holds the queue; here stands only who has asked for
which workers, so that each hears of its own.
"""

from __future__ import annotations

from leeward._core.messages import Answer
from leeward._core.record import Struct
from leeward._supervisor import reloads
from leeward._supervisor.control import Client
from leeward._supervisor.parts import Parts
from leeward._supervisor.report import plural


class _Asker(Struct):
    client: Client
    generation: int | None  # that served when it asked
    count: int
    left: list[int]


class Recycling:
    """The clients of `leeward recycle`."""

    def __init__(self, parts: Parts) -> None:
        self._core = parts.core
        self._control = parts.control
        self._voice = parts.voice
        self._askers: list[_Asker] = []

    def ask(self, client: Client, slot: int | None) -> None:
        """slot:  None for every one."""
        if self._core.stopping:
            self._control.answer(client, Answer(reloads.STOPPING, "it is stopping"))
            return
        found = self._core.recycle(slot)
        if found:
            text = f"recycling {plural(len(found), 'worker')}, one after the other"
            self._voice.say(f"{text}, asked for by leeward recycle")
            self._askers.append(_Asker(client, self._core.serving, len(found), found))
        else:
            where = "" if slot is None else f" in slot {slot}"
            text = f"no worker serves{where}: nothing to recycle\nleeward ps shows the slots"
            self._control.answer(client, Answer(reloads.REFUSED, text))

    def look(self) -> None:
        """Tells what has changed since the last look."""
        for asker in list(self._askers):
            left = [it for it in asker.left if self._stays(it)]
            if left == asker.left:
                continue
            asker.left = left
            if left:
                text = f"{asker.count - len(left)} of {asker.count} replaced"
                self._control.progress(asker.client, text)
                continue
            self._askers.remove(asker)
            text = f"{plural(asker.count, 'worker')} replaced"
            if asker.generation != self._core.serving:
                text += f", generation {self._core.serving} has taken over meanwhile"
            self._control.answer(asker.client, Answer(0, text))

    def all_end(self, code: int, text: str) -> None:
        askers, self._askers = self._askers, []
        for asker in askers:
            self._control.answer(asker.client, Answer(code, text))

    def _stays(self, worker: int) -> bool:
        it = self._core.roster.get(worker)
        return it is not None and it.alive
