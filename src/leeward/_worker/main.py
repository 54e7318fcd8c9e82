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

What it does when the channel or a signal speaks is in `leeward._worker.obey`.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import importlib
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

import tornado.process

from leeward._core.config import Config
from leeward._core.conns import Identity
from leeward._core.messages import (
    Drain,
    Failed,
    Hello,
    Ready,
)
from leeward._worker import forks, here, leave, logs, loops, probe, ringed, tasks
from leeward._worker.accept import Acceptor
from leeward._worker.access.start import start, tell
from leeward._worker.drain import Drainer
from leeward._worker.factory import make
from leeward._worker.jobs import Jobs
from leeward._worker.limits import Limits
from leeward._worker.obey import Obedient
from leeward._worker.outward import Outward
from leeward._worker.telling import Telling
from leeward.adapters import subprocesses
from leeward.adapters.loading import last_words, watched
from leeward.adapters.logfiles import install as logfiles
from leeward.adapters.serving import server
from leeward.adapters.tornado import describe
from leeward.errors import ChannelClosed, TargetError

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerConnectionDelegate

    from leeward._core.config import Config
    from leeward._worker.birth import Birth

#: Seconds in which the last words before an exit must be on their way.
LAST_WORDS = 1.0

#: What a worker imports, or asyncio for it, only when it needs it.
_LATER = (
    "ctypes",
    "leeward._core.capturing",
    "leeward._sys.page",
    "leeward._worker.birth",
    "leeward._worker.printing",
    "selectors",
    "tornado.platform.asyncio",
    "tornado.websocket",
)


def preload(config: Config) -> None:
    """Import what a worker will need, so that a zygote's children find it there.

    Most comes with this module; these are imported in functions otherwise, at
    1-4 ms each in every worker.
    """
    for module in _LATER:
        importlib.import_module(module)
    loops.preload(config.loop)


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
        worker._leave(status)
    except KeyboardInterrupt:
        if os.getpid() != worker.pid:
            leave.leave_child(128 + signal.SIGINT)
        worker.end_turns()
        worker._leave(128 + signal.SIGINT)


def _leave_child(error: BaseException) -> NoReturn:
    """A process that the application forked comes to its end."""
    if isinstance(error, SystemExit):
        leave.leave_child(leave.exit_status(error))
    leave.leave_child(128 + signal.SIGINT)


class _Nowhere:
    """Counters of a process that is no worker any more."""

    open = accepted = requests = in_flight = new = upgraded = closing = brief = evicted = shed = 0
    ping_no_answer = ping_reset = ping_deaf = stubborn = in_threads = refused = 0


class Worker(Obedient):
    """One worker's parts, and what they tell each other."""

    def __init__(self, birth: Birth) -> None:
        config = birth.config
        self.ring = ringed.Ring(birth)
        self._lines_go = ringed.spec(config, birth.slot, birth.generation)
        log = logs.Log(
            birth.slot,
            birth.generation,
            config.log_level,
            config.log_format,
            outlet=ringed.outlet(self.ring, self._lines_go),
            terminal=birth.terminal,
            mark=birth.mark,
        )
        super().__init__(birth, log)
        self.pid = os.getpid()
        self.born = time.monotonic()
        self.row: Any = birth.page.row(birth.row_index)
        self.starts = "factory"  # what its start is at
        self.accepted = 0
        self.jobs = Jobs(birth.page, birth.row_index, self.log)

    # --- life ------------------------------------------------------------------------

    def live(self) -> NoReturn:
        """All of it, but for the application's own `sys.exit`."""
        self._settle()
        try:
            self.loop = self._left_loop() or loops.new(self.birth.config.loop)
        except TargetError as error:
            self.loop = asyncio.new_event_loop()
            self._fail("loop", str(error))
        except OSError as error:
            self._refused(error)
        asyncio.set_event_loop(self.loop)
        self._say_to_supervisor(Hello(self.pid))
        self.loop.add_reader(self.channel.fileno(), self._hear)
        forks.watch(self.abandon)
        try:
            tasks.check(self.loop)  # the import may have left it with a factory
            self.loop.run_until_complete(self._begin())
        except TargetError as error:
            self._fail(self.starts, str(error))
        except RuntimeError as error:
            # "Event loop stopped before Future completed", by asyncio or uvloop.
            self._fail(self.starts, f"the {self.starts} stopped the event loop ({error})")
        except OSError as error:
            self._refused(error)
        if not self.over:  # a Drain may come in the very turn that said Ready
            self.loop.run_forever()
        if not self.over:
            self.log.say("warning", "the application stopped the event loop: this worker ends")
            self._drain(Drain("stop", self.birth.config.graceful_timeout, 0.0))
            self.loop.run_forever()
        self._leave(0)

    def _left_loop(self) -> asyncio.AbstractEventLoop | None:
        """That of the import, which goes before --loop: in a worker that imported for itself.

        A forked one has nothing but a copy, and its epoll set is the zygote's.
        """
        loop = loops.left() if self.birth.spawned else None
        if loop is not None and self.birth.config.loop not in ("auto", loops.kind(loop)):
            self.log.say(
                "warning",
                f"--loop {self.birth.config.loop}: the import made a loop of {loops.kind(loop)} "
                "the current one, which runs",
            )
        return loop

    def _settle(self) -> None:
        """What can be done before there is a loop."""
        subprocesses.install()
        logfiles.in_worker(self.birth.slot, self._lines_go, self.ring.writer)
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
            application = await self._make()
            self._furnish(application)
            await self._probe()
        self._accept(describe(application))

    async def _make(self) -> HTTPServerConnectionDelegate:
        try:
            await self._open_resources()
            application = await make(self.birth.application, self.birth.config.start_timeout)
            # A factory that stopped the loop stops it here, before anything is accepted;
            # uvloop stops a turn later than asyncio.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await self._open_resources()  # those that the factory has declared
        except Exception:
            tasks.check(self.loop)  # what failed may have failed by it
            raise
        tasks.check(self.loop)
        return application

    async def _open_resources(self) -> None:
        """Raises TargetError if one does not open."""
        before, self.starts = self.starts, "resource"
        config = self.birth.config
        await self.resources.open(config.start_timeout, config.close_timeout)
        self.starts = before

    async def _probe(self) -> None:
        """Raises `probe.Failure` if the canary does not answer its probe."""
        if self.birth.canary and self.birth.config.probe and self.server is not None:
            self.starts = "probe"
            await probe.ask(self.server, self.birth.config)

    def _furnish(self, application: HTTPServerConnectionDelegate) -> None:
        """Make what connections will be served by.  The loop runs."""
        birth = self.birth
        self.access = start(self.log, birth.config)
        tls, closed = birth.tls.context if birth.tls else None, self._connection_closed
        self.server = server(application, birth.config, self.row, closed, tls)
        mine = Identity(birth.slot, birth.generation, self.pid, birth.ordinal)
        self.telling = Telling(mine, self.loop)
        here.serve(self.server, mine)

    def _accept(self, kind: str) -> None:
        """Accept, and say so."""
        birth = self.birth
        assert self.server is not None
        self.acceptor = Acceptor(birth, self.server, self._accepted, self.log)
        self.drainer = Drainer(self.acceptor, self.server, self.log, self._drained)
        self.limits = limits = Limits(birth.config, self._say_to_supervisor)
        self.server.most, self.server.at_most = limits.most, limits.answered
        self.outward = Outward(self.server, self.row, self.channel.fileno(), self.log)
        self.outward.begin()
        self._take_signals()
        self.server.ready()
        if birth.canary:
            tell(self.access, self.log, birth.config)
        say = functools.partial(self.log.say, "info" if birth.canary else "debug")
        logfiles.say(say, self.log.say)
        self.acceptor.start()
        self._say_to_supervisor(Ready(kind, birth.application.found, birth.baseline, birth.changed))
        self._tell_turns()
        self.resources.watch()
        self.jobs.begin()
        self.log.say("debug", f"ready in {(time.monotonic() - self.born) * 1000:.1f} ms")

    def _fail(self, stage: str, text: str) -> NoReturn:
        """Tell the supervisor why there will be no worker, and end."""
        if os.getpid() != self.pid:  # a process that the factory forked
            print(text, file=sys.stderr, flush=True)
            leave.leave_child(1)
        leave.guard(self.budget())
        self._say_to_supervisor(Failed(stage, text))
        deadline = time.monotonic() + LAST_WORDS
        with contextlib.suppress(ChannelClosed):  # nobody is left to be told
            while self.channel.wants_write and time.monotonic() < deadline:
                poll = select.poll()
                poll.register(self.channel.fileno(), select.POLLOUT)
                poll.poll(100)
                self.channel.flush()
        self._leave(TargetError.exit_code)

    def _refused(self, error: OSError) -> NoReturn:
        """The system gives no descriptor, or no memory, for what is ours: tell it, and end.

        What the application raises is a TargetError by then.  Without a loop: it may be what
        cannot be had, or cannot turn (uvloop opens a socket pair each time that it is run).
        """
        if os.getpid() != self.pid:
            raise error
        what = f"{error.strerror or error}\nSee what is allowed: ulimit -a"
        with contextlib.suppress(ChannelClosed):  # nobody is left to be told
            last_words(self.channel, Failed("begin", what))
        leave.flush()
        os._exit(TargetError.exit_code)

    def _leave(self, status: int) -> NoReturn:
        leave.leave(self.loop, status, self.budget(), self.log, self.resources)

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
        logfiles.in_child()
        self.row = _Nowhere()
        if self.server is not None:
            self.server.counters = self.row
            # The loop is the parent's: nothing must turn it here.
            self.server.exits = _leave_child
        self.log.abandon()
        self.ring.abandon()
        self.channel.close()
        self.birth.page.close()
        if hasattr(self, "loop"):  # a program's worker has one once it listens
            forks.end_with_turn(self.loop)

    # --- what the server and the acceptor tell ---------------------------------------

    def _accepted(self) -> None:
        self.accepted += 1
        self.row.accepted = self.accepted
        if self.outward is not None:
            self.outward.begin()
        if self.server is not None and self.server.active is not None:
            self.server.active()

    def _connection_closed(self) -> None:
        if self.acceptor is not None:
            self.acceptor.gone()
        if self.drainer is not None:
            self.drainer.look()

    def _drained(self) -> None:
        """Nobody is connected any more.  A job that runs is work in flight too."""
        assert self.drainer is not None
        self.jobs.after_runs(max(0.0, self.drainer.deadline - self.loop.time()), self._finish)

    def _finish(self) -> None:
        self.over = True
        self.end_turns()
        if self.outward is not None:
            self.outward.end()
        self.loop.stop()
