"""A worker from its birth to its end.

    born ─ Hello ─ loop ─ factory ─ accept ─ Ready ─ serve ─ Drain ─ leave
             └──────────── Failed, status 3 ───┘

Signals.  Until it accepts, SIGTERM ends the process at once (it holds nobody's
connection).  From then on SIGTERM and SIGINT only tell the supervisor, which
starts a replacement and sends Drain: service managers send TERM to every
process of a service, and a worker that obeyed would leave a gap.  A handler
that the application installed is left alone.

How it ends, by who asked for it:

* Drain, or the supervisor's end of the channel closed: status 0;
* Drain or the channel's end before Ready: status 0 at once, nothing was accepted;
* the application stops the loop: drained as for a stop, status 0;
* the application calls `sys.exit(n)`: n, in-flight requests are cut as in any
  Tornado program.

More than 400 lines: what a worker may be told, and the parts that obey, stand together.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import importlib
import os
import select
import signal
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import tornado.process

from leeward._core.config import Config
from leeward._core.conns import Identity
from leeward._core.messages import (
    Aside,
    Asked,
    BadMessage,
    Closed,
    Drain,
    Failed,
    Hello,
    Leaving,
    Message,
    Ready,
    Renew,
    Renewed,
    Tune,
    Tuned,
    Withdraw,
)
from leeward._worker import forks, here, leave, logs, loops, probe
from leeward._worker.accept import Acceptor
from leeward._worker.drain import OVERRUN, Drainer
from leeward._worker.factory import make
from leeward._worker.limits import Limits
from leeward._worker.telling import Telling
from leeward._worker.turns import Turns
from leeward.adapters.loading import watched
from leeward.adapters.serving import server
from leeward.adapters.tornado import describe
from leeward.errors import ChannelClosed, TargetError

if TYPE_CHECKING:
    from types import FrameType

    from tornado.httputil import HTTPServerConnectionDelegate

    from leeward._worker.birth import Birth
    from leeward.adapters.tornado import TornadoServer
    from leeward.engine.engine import Engine

#: Seconds in which the last words before an exit must be on their way.
LAST_WORDS = 1.0

#: What a worker imports, or asyncio for it, only when it needs it.
_LATER = (
    "ctypes",
    "leeward._sys.page",
    "leeward._worker.birth",
    "selectors",
    "tornado.platform.asyncio",
    "tornado.websocket",
)


def preload() -> None:
    """Import what a worker will need, so that a zygote's children find it there.

    Most comes with this module; these are imported in functions otherwise, at
    1-4 ms each in every worker.
    """
    for module in _LATER:
        importlib.import_module(module)


def run(birth: Birth) -> NoReturn:
    """Be the worker that `birth` describes.  Sends Hello first; never returns.

    Call it on the main thread, with the application loaded.
    """
    worker = Worker(birth)
    try:
        worker.live()
    except SystemExit as error:
        if os.getpid() != worker.pid:
            leave.leave_child(leave.exit_status(error))
        status = leave.exit_status(error)
        worker.log.say("warning", f"the application called sys.exit: status {status}")
        worker.end_turns()
        leave.leave(worker.loop, status, worker.budget(), worker.log)
    except KeyboardInterrupt:
        if os.getpid() != worker.pid:
            leave.leave_child(128 + signal.SIGINT)
        worker.end_turns()
        leave.leave(worker.loop, 128 + signal.SIGINT, worker.budget(), worker.log)


class _Notify:
    """Our handler of SIGTERM and SIGINT.  `leeward` tells it from the application's."""

    leeward = True

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        # Not from here: the signal may have come in the middle of a send.
        self.worker.loop.call_soon_threadsafe(self.worker.wants_to_leave, signum)


def _leave_child(error: BaseException) -> NoReturn:
    """A process that the application forked comes to its end."""
    if isinstance(error, SystemExit):
        leave.leave_child(leave.exit_status(error))
    leave.leave_child(128 + signal.SIGINT)


class _Nowhere:
    """Counters of a process that is no worker any more."""

    open = accepted = requests = in_flight = new = upgraded = closing = 0


class Worker:
    """One worker's parts and what it does when the channel or a signal speaks."""

    loop: asyncio.AbstractEventLoop

    def __init__(self, birth: Birth) -> None:
        self.birth = birth
        self.pid = os.getpid()
        self.born = time.monotonic()
        self.channel = birth.channel
        self.log = logs.Log(
            birth.slot, birth.generation, birth.config.log_level, birth.config.log_format
        )
        self.row: Any = birth.page.row(birth.row_index)
        self.server: Engine | TornadoServer | None = None
        self.acceptor: Acceptor | None = None
        self.drainer: Drainer | None = None
        self.starts = "factory"  # what its start is at
        self.turns: Turns | None = None
        self.limits: Limits | None = None
        self.telling: Telling | None = None
        self.accepted = 0
        self.over = False

    # --- life ------------------------------------------------------------------------

    def live(self) -> NoReturn:
        """All of it, but for the application's own `sys.exit`."""
        self._settle()
        try:
            self.loop = loops.new(self.birth.config.loop)
        except TargetError as error:
            self.loop = asyncio.new_event_loop()
            self._fail("loop", str(error))
        asyncio.set_event_loop(self.loop)
        self._say_to_supervisor(Hello(self.pid))
        self.loop.add_reader(self.channel.fileno(), self._hear)
        forks.watch(self.abandon)
        try:
            self.loop.run_until_complete(self._begin())
        except TargetError as error:
            self._fail(self.starts, str(error))
        except RuntimeError as error:
            # "Event loop stopped before Future completed", by asyncio or uvloop.
            self._fail(self.starts, f"the {self.starts} stopped the event loop ({error})")
        if not self.over:  # a Drain may come in the very turn that said Ready
            self.loop.run_forever()
        if not self.over:
            self.log.say("warning", "the application stopped the event loop: this worker ends")
            self._drain(Drain("stop", self.birth.config.graceful_timeout, 0.0))
            self.loop.run_forever()
        leave.leave(self.loop, 0, self.budget(), self.log)

    def _settle(self) -> None:
        """What can be done before there is a loop."""
        row, birth = self.row, self.birth
        row.open = row.accepted = row.requests = row.in_flight = 0
        row.new = row.upgraded = row.closing = 0
        row.slot, row.generation, row.pid = birth.slot, birth.generation, self.pid
        if not faulthandler.is_enabled():
            with contextlib.suppress(OSError, ValueError):  # stderr closed
                faulthandler.enable(file=2)
        # tornado.process.task_id() is how Tornado programs ask which of n they are.
        # It also keeps `debug=True` from executing sys.argv anew when a file changes:
        # autoreload leaves processes alone that have a task id.
        vars(tornado.process)["_task_id"] = birth.slot

    async def _begin(self) -> None:
        birth = self.birth
        with watched(self.channel, birth.config.start_timeout):
            application = await make(birth.application)
            # A factory that stopped the loop stops it here, before anything is accepted;
            # uvloop stops a turn later than asyncio.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self._furnish(application)
            await self._probe()
        self._accept(describe(application))

    async def _probe(self) -> None:
        """Raises `probe.Failure` if the canary does not answer its probe."""
        if self.birth.canary and self.birth.config.probe and self.server is not None:
            self.starts = "probe"
            await probe.ask(self.server, self.birth.config)

    def _furnish(self, application: HTTPServerConnectionDelegate) -> None:
        """Make what connections will be served by.  The loop runs."""
        birth = self.birth
        logs.install(self.log)
        self.server = server(
            application,
            birth.config,
            self.row,
            self._connection_closed,
            birth.tls.context if birth.tls else None,
        )
        mine = Identity(birth.slot, birth.generation, self.pid)
        self.telling = Telling(mine, self.loop)
        here.serve(self.server, mine)

    def _accept(self, kind: str) -> None:
        """Accept, and say so."""
        birth = self.birth
        assert self.server is not None
        self.acceptor = Acceptor(birth.listeners, self.server.accept, self._accepted, self.log)
        self.drainer = Drainer(self.acceptor, self.server, self.log, self._finish)
        self.limits = limits = Limits(birth.config, self._say_to_supervisor)
        self.server.most, self.server.at_most = limits.most, limits.answered
        self._take_signals()
        self.server.ready()
        self.acceptor.start()
        self._say_to_supervisor(Ready(kind, birth.application.found, birth.baseline, birth.changed))
        self._tell_turns()
        self.log.say("debug", f"ready in {(time.monotonic() - self.born) * 1000:.1f} ms")

    def _tell_turns(self) -> None:
        """From now on, if somebody wants to know."""
        birth, server = self.birth, self.server
        if self.turns is None and server and (birth.config.stall_warn or birth.config.stall_kill):
            self.turns = Turns(self.loop, birth.page, self.row, birth.bell)
            self.turns.begin(self._say_to_supervisor)
            server.active = self.turns.active

    def _fail(self, stage: str, text: str) -> NoReturn:
        """Tell the supervisor why there will be no worker, and end."""
        if os.getpid() != self.pid:  # a process that the factory forked
            print(text, file=sys.stderr, flush=True)
            leave.leave_child(1)
        leave.guard(leave.BUDGET)
        self._say_to_supervisor(Failed(stage, text))
        deadline = time.monotonic() + LAST_WORDS
        with contextlib.suppress(ChannelClosed):  # nobody is left to be told
            while self.channel.wants_write and time.monotonic() < deadline:
                poll = select.poll()
                poll.register(self.channel.fileno(), select.POLLOUT)
                poll.poll(100)
                self.channel.flush()
        leave.leave(self.loop, TargetError.exit_code, leave.BUDGET, self.log)

    def budget(self) -> float:
        """Seconds that leaving may take: less when the drain has used them up."""
        if self.drainer is None or not self.drainer.reason:
            return leave.BUDGET
        left = self.drainer.deadline + OVERRUN - self.loop.time()
        return min(leave.BUDGET, max(left, OVERRUN / 2))

    def abandon(self) -> None:
        """In a process that the application forked: be no worker."""
        if self.acceptor is not None:
            self.acceptor.abandon()
        else:
            for fd, _ in self.birth.listeners:
                with contextlib.suppress(OSError):
                    os.close(fd)
        if self.turns is not None:
            self.turns.abandon()
        if self.telling is not None:
            self.telling.abandon()
        here.serve(None)
        self.row = _Nowhere()
        if self.server is not None:
            self.server.counters = self.row
            # The loop is the parent's: nothing must turn it here.
            self.server.exits = _leave_child
        self.channel.close()
        self.birth.page.close()

    # --- what the server and the acceptor tell ---------------------------------------

    def _accepted(self) -> None:
        self.accepted += 1
        self.row.accepted = self.accepted
        if self.server is not None and self.server.active is not None:
            self.server.active()

    def _connection_closed(self) -> None:
        if self.drainer is not None:
            self.drainer.look()

    def _finish(self) -> None:
        self.over = True
        self.end_turns()
        self.loop.stop()

    def end_turns(self) -> None:
        """What comes now has a guard of its own, and is no stall."""
        if self.turns is not None:
            self.turns.end()
        if self.server is not None:
            self.server.active = None

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
        self.drainer.begin(order)
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
        if self.acceptor is not None and self.server is not None and self.limits is not None:
            self.acceptor.tune(config)
            self.server.tune(config)
            self.limits.tune(config)
            self.server.most = self.limits.most
            if 0 < self.limits.most <= self.row.requests:
                self.limits.answered()
            if not self.over:
                self._tell_turns()
        self._say_to_supervisor(Tuned())

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
