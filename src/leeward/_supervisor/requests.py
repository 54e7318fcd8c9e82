"""What was asked for at the control socket, and whose it is to answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from leeward._core import messages as m
from leeward._core.messages import Answer
from leeward._core.record import Record
from leeward._supervisor import reloads
from leeward._supervisor.asking import Asking
from leeward._supervisor.control import Client
from leeward._supervisor.going_back import GoingBack
from leeward._supervisor.parts import Parts
from leeward._supervisor.recycling import Recycling
from leeward._supervisor.renewal import Renewal
from leeward._supervisor.rings import Rings
from leeward._supervisor.roll_out import RollOut
from leeward._supervisor.setting_aside import SettingAside
from leeward._supervisor.tuning import Tuning
from leeward._sys.channel import discard


class Requests(Record):
    """The rooms of the verbs.

    ps:     the answer to `leeward ps`, as JSON.
    scale:  called with the number of workers; returns what became of it.
    stop:   called with (asked by, timeout, kill, delay).
    """

    parts: Parts
    roll_out: RollOut
    renewal: Renewal
    going_back: GoingBack
    recycling: Recycling
    setting_aside: SettingAside
    asking: Asking
    tuning: Tuning
    rings: Rings
    ps: Callable[[], str]
    scale: Callable[[int], str]
    stop: Callable[[str, float, bool, float], None]

    def take(self, client: Client, message: m.Message) -> None:
        control, config = self.parts.control, self.roll_out.config
        match message:
            case m.PsRequest():
                control.answer(client, Answer(0, "", self.ps()))
            case m.ReloadRequest(wait, tls=True):
                self.renewal.ask(client, wait, self.parts.core, config)
            case m.ReloadRequest(wait):
                self.roll_out.ask(client if wait else None, "leeward reload")
                if not wait:
                    control.answer(client, Answer(0, "reload asked for"))
            case m.StopRequest(now, delay):
                control.answer(client, Answer(0, "stopping"))
                delay = config.drain_delay if delay < 0 else delay
                self.stop("leeward stop", config.graceful_timeout, now, delay)
            case m.ScaleRequest(to, by):
                text = self.scale(to if to >= 0 else self.parts.core.workers + by)
                control.answer(client, Answer(0, text))
            case m.RollbackRequest():
                self.going_back.ask(client)
            case m.RecycleRequest(slot):
                self.recycling.ask(client, None if slot < 0 else slot)
            case m.AsideRequest(slot, seconds):
                self.setting_aside.ask(client, slot, seconds)
            case m.ConnsRequest():
                self.asking.ask(client, message)
            case m.LogsRequest():
                self.rings.tail(client, message, control)
            case m.SetRequest(changes):
                self.tuning.ask(client, changes)
            case m.ModulesRequest():
                control.answer(client, Answer(0, "", json.dumps(sorted(sys.modules))))
            case _:
                discard([message])
                text = f"{type(message).__name__} is no request"
                control.answer(client, Answer(reloads.REFUSED, text))
