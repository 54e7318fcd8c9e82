"""`leeward conns` and `leeward kill`: each worker answers for itself, to the asker's own socket."""

from __future__ import annotations

import json

from leeward._core import messages as m
from leeward._core.messages import Answer
from leeward._core.worker import State
from leeward._supervisor import reloads
from leeward._supervisor.control import Client
from leeward._supervisor.parts import Parts

#: One that has not begun to accept has no connection, and cannot read.
_ASKED = (State.SERVING, State.DRAINING, State.ASIDE)


class Asking:
    """Hands the asker on, and says to whom."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def ask(self, client: Client, request: m.ConnsRequest) -> None:
        # When it is first needed: 150 KiB of the 8 MiB that this process may have.
        from leeward._core.conns import Query

        control, processes = self._parts.control, self._parts.processes
        try:
            query = Query.from_json(request.query)
        except (ValueError, TypeError) as error:
            control.answer(client, Answer(reloads.REFUSED, f"not understood: {error}"))
            return
        workers = [
            it
            for it in self._parts.core.roster.of("worker")
            if request.slot in (-1, it.slot) and it.ready_at is not None and it.state in _ASKED
        ]
        if not workers and request.slot >= 0:
            text = f"no worker serves in slot {request.slot}\nleeward ps shows the slots"
            control.answer(client, Answer(reloads.REFUSED, text))
            return
        what = "kill" if request.kill else "conns"
        asker = m.Descriptor(client.channel.fileno())
        asked = [
            {
                "worker": it.id,
                "slot": it.slot,
                "pid": it.pid,
                "asked": processes.hand(it.id, m.Asked(what, request.query, it.id, asker)),
            }
            for it in sorted(workers, key=lambda it: (it.slot, it.id))
        ]
        if request.kill:
            where = "" if request.slot < 0 else f" in slot {request.slot}"
            text = f"connections are ended{where}, asked for by leeward kill {query.words}"
            self._parts.voice.say(text)
        control.answer(client, Answer(0, "", json.dumps({"workers": asked})))
