"""`leeward rollback`, and the generation that goes back by itself.

    ask ─ GoesBack ─ (slot by slot) ─ Served ─ the answer
           └─ a crash loop              └─ RolledBack: the old generation failed as well

`leeward._core.supervisor` decides whether there is something to go back to and rolls
it out like any candidate; here stands who has asked, and what they are told.
"""

from __future__ import annotations

from leeward._core.messages import Answer
from leeward._supervisor import reloads
from leeward._supervisor.control import Client
from leeward._supervisor.parts import Parts
from leeward._supervisor.reloads import Waiting
from leeward._supervisor.report import WentBack


class GoingBack:
    """The clients of `leeward rollback`, and what serves instead of what.

    reloading:  who waits for a reload, which a rollback gives up.
    """

    def __init__(self, parts: Parts, reloading: Waiting) -> None:
        self._parts = parts
        self._reloading = reloading
        self._waiting = Waiting(parts.control)
        self.went_back: WentBack | None = None

    def ask(self, client: Client) -> None:
        """The waiting ends in `served` or `rolled_back`."""
        core, control = self._parts.core, self._parts.control
        if self._parts.stops:
            control.answer(client, Answer(reloads.STOPPING, "it is stopping"))
            return
        on_trial = core.candidate is not None
        to = core.rollback(self._parts.monotonic())
        if to is None:
            control.answer(client, Answer(reloads.REFUSED, self._nothing_to_go_back_to()))
            return
        # Who asked for what nobody wants any more must not wait for it.
        self._reloading.all_end(reloads.FAILED, f"given up: leeward rollback asked for {to}")
        if on_trial or to != core.serving:
            self._waiting.add(client)
        else:
            text = f"the reload is given up, generation {to} serves on"
            control.answer(client, Answer(reloads.SERVES, text))

    def begins(self, generation: int, to: int, why: str) -> None:
        """`generation` is left for `to`, which is rolled out from now on."""
        self._parts.processes.hand_on_certificate(generation, to)
        now = self._parts.monotonic()
        first = why.splitlines()[0]
        self.went_back = WentBack(generation, to, first, now)
        text = f"going back from generation {generation} to {to}: {first}"
        self._parts.voice.say(text, "warning")
        self._parts.notify.reloading(now)

    def served(self, generation: int) -> tuple[str, list[Client]]:
        """`generation` is everywhere.  What to add to that news, and who waits for it."""
        text = ""
        back = self.went_back
        if back is not None and back.to == generation:
            text = f"; generation {back.generation} is gone"
        else:
            self.went_back = None  # newer code serves
        self._waiting.begins()
        return text, self._waiting.take()

    def rolled_back(self, generation: int, text: str) -> None:
        """The roll-out of `generation` has ended in what `text` says."""
        serving = self._parts.core.serving
        back = self.went_back
        if back is not None and back.to == generation:
            self.went_back = None
            failed = f"{text}\ngeneration {serving} serves on"
            self._waiting.all_end(reloads.FAILED, failed)
        else:
            given_up = f"generation {generation} is given up, {serving} serves on"
            self._waiting.all_end(reloads.SERVES, given_up)

    def stop(self) -> None:
        self._waiting.all_end(reloads.STOPPING, "it is stopping")

    def _nothing_to_go_back_to(self) -> str:
        remedy = "Put the old code in its place and: leeward reload"
        return f"nothing to go back to: {self._why_not()}\n{remedy}"

    def _why_not(self) -> str:
        core = self._parts.core
        serving = core.serving
        if serving is None:
            return "no generation serves yet"
        settle = self._parts.processes.configs[serving].settle
        if core.lost == "zygote":
            return "the zygote that was kept has ended, and nothing else holds the old code"
        if core.lost == "failed":
            return "the generation before has failed as well"
        if core.lost == "spawn":
            return "in spawn mode no process keeps the old code"
        if core.lost == "settled":
            kept = f"generation {serving} has settled ({settle:g} s, --settle)"
            return kept if settle else "--settle 0s keeps nothing"
        if self.went_back is not None:
            return f"it has gone back to generation {serving} already"
        return f"generation {serving} is the first"
