"""What a worker does when its supervisor speaks, or a signal.

    Drain, Aside, Withdraw    leave, in one of three ways       `leeward._worker.drain`
    Renew                     another certificate
    Tune                      other settings, at once           `leeward set`
    Asked                     tell of connections, or end some  `leeward._worker.telling`

The end of the channel is an order to stop.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

from leeward._core.config import Config
from leeward._core.messages import (
    Aside,
    Asked,
    BadMessage,
    Closed,
    Drain,
    Leaving,
    Message,
    Renew,
    Renewed,
    Tune,
    Tuned,
    Withdraw,
)
from leeward._core.record import replace
from leeward._worker import leave, logs
from leeward._worker.drain import OVERRUN
from leeward._worker.resources import Resources
from leeward._worker.turns import Turns
from leeward.errors import ChannelClosed

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

    from leeward._worker.accept import Acceptor
    from leeward._worker.birth import Birth
    from leeward._worker.drain import Drainer
    from leeward._worker.limits import Limits
    from leeward._worker.outward import Outward
    from leeward._worker.telling import Telling
    from leeward.adapters.tornado import TornadoServer
    from leeward.engine.engine import Engine


class _Notify:
    """Our handler of SIGTERM and SIGINT.  `leeward` tells it from the application's."""

    leeward = True

    def __init__(self, worker: Obedient) -> None:
        self.worker = worker

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        # Not from here: the signal may have come in the middle of a send.
        with contextlib.suppress(RuntimeError):  # the loop is closed: it leaves already
            self.worker.loop.call_soon_threadsafe(self.worker.wants_to_leave, signum)


class Obedient:
    """The base of `leeward._worker.main.Worker`: its parts, as far as orders concern them."""

    loop: asyncio.AbstractEventLoop
    row: Any

    def __init__(self, birth: Birth, log: logs.Log) -> None:
        self.birth = birth
        self.channel = birth.channel
        self.log = log
        self.server: Engine | TornadoServer | None = None
        self.acceptor: Acceptor | None = None
        self.drainer: Drainer | None = None
        self.turns: Turns | None = None
        self.limits: Limits | None = None
        self.telling: Telling | None = None
        self.resources = Resources(log, self._say_to_supervisor, self.budget, lambda: self.over)
        self.reserve = 0.0  # seconds between the drain's deadline and that of leaving
        self.outward: Outward | None = None
        self.over = False

    def budget(self) -> float:
        """Seconds that leaving may take: less when the drain has used them up."""
        most = leave.BUDGET + (self.resources.close_timeout if self.resources.any else 0.0)
        if self.drainer is None or not self.drainer.reason:
            return most
        left = self.drainer.deadline + self.reserve + OVERRUN - self.loop.time()
        return min(most, max(left, OVERRUN / 2))

    def reserved(self, timeout: float) -> float:
        """Seconds of a drain's `timeout` for what comes behind it."""
        return self.resources.reserve(timeout)

    # --- the channel -----------------------------------------------------------------

    def _hear(self) -> None:
        try:
            messages = self.channel.receive()
        except BadMessage as error:
            self.log.say("error", f"not understood: {error}")
            return
        except ChannelClosed:
            self.loop.remove_reader(self.channel.fileno())
            messages = [Drain("stop", self.birth.config.graceful_timeout, 0.0)]
        for message in messages:
            if isinstance(message, Drain):
                self._drain(message)
            elif isinstance(message, Aside):
                self._set_aside()
            elif isinstance(message, Withdraw):
                self._withdraw()
            elif isinstance(message, Renew):
                self._renew(message)
            elif isinstance(message, Tune):
                self._tune(Config.from_json(message.config))
            elif isinstance(message, Asked):
                self._asked(message)
            else:
                self.log.say("error", f"not for a worker: {type(message).__name__}")

    def _drain(self, order: Drain) -> None:
        if self.drainer is None:
            os._exit(0)  # still starting: nothing was accepted
        first = not self.drainer.reason
        self.reserve = self.reserved(order.timeout)
        self.drainer.begin(replace(order, timeout=order.timeout - self.reserve))
        if first:
            self._say_to_supervisor(Closed())

    def _set_aside(self) -> None:
        if self.drainer is not None and self.drainer.set_aside():
            self._say_to_supervisor(Closed())

    def _withdraw(self) -> None:
        # One that is not ready yet is told again when it has said that it is.
        if self.server is not None:
            self.server.withdrawn = True

    def _renew(self, order: Renew) -> None:
        error = ""
        try:
            if self.birth.tls is not None:
                self.birth.tls.renew(order.tls)
        except OSError as problem:
            error = str(problem)
        self._say_to_supervisor(Renewed(error))

    def _tune(self, config: Config) -> None:
        # Whoever is told before it is ready begins with them.
        self.birth = replace(self.birth, config=config)
        logs.tune(self.log, config.log_level)
        if self.acceptor is not None:
            self.acceptor.tune(config)
        if self.server is not None:
            # Behind what the kernel is told for all connections: some have deadlines of their own.
            self.server.tune(config)
        if self.acceptor is not None and self.server is not None and self.limits is not None:
            self.limits.tune(config)
            self.server.most = self.limits.most
            if 0 < self.limits.most <= self.row.requests:
                self.limits.answered()
            if not self.over:
                self._tell_turns()
        self._say_to_supervisor(Tuned())

    def _tell_turns(self) -> None:
        """From now on, if somebody wants to know."""
        birth, server = self.birth, self.server
        if self.turns is None and server and (birth.config.stall_warn or birth.config.stall_kill):
            self.turns = Turns(self.loop, birth.page, self.row, birth.bell)
            self.turns.begin(self._say_to_supervisor)
            server.active = self.turns.active

    def end_turns(self) -> None:
        """What comes now has a guard of its own, and is no stall."""
        if self.turns is not None:
            self.turns.end()
        if self.server is not None:
            self.server.active = None

    def _asked(self, order: Asked) -> None:
        if self.telling is None:
            os.close(order.asker)  # nobody asks one that is not ready
        else:
            self.telling.ask(order, self.server)

    def _say_to_supervisor(self, message: Message) -> None:
        try:
            self.channel.send(message)
        except ChannelClosed:
            return  # its end is seen where the channel is read
        if self.channel.wants_write:
            self.loop.add_writer(self.channel.fileno(), self._flush_channel)

    def _flush_channel(self) -> None:
        try:
            self.channel.flush()
        except ChannelClosed:
            self.loop.remove_writer(self.channel.fileno())
            return
        if not self.channel.wants_write:
            self.loop.remove_writer(self.channel.fileno())

    # --- signals ---------------------------------------------------------------------

    def _take_signals(self) -> None:
        """Have TERM and INT ask the supervisor, unless the application handles them."""
        notify = _Notify(self)
        for signum in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(signum) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(signum, notify)

    def wants_to_leave(self, signum: int) -> None:
        self._say_to_supervisor(Leaving(signal.Signals(signum).name))
