"""A worker whose loop is run by the program that it adopted.

    born ─ Hello ─ program goes on ─ it runs its loop ─ accept ─ Ready ─ serve ─ Drain
             └── the program ended, status 3 ──┘          then the program's own end ─ leave

Everything is attached to the loop that the program runs, in its first turn after
the server got an address.  When the drain is done the program is let go on as it
would end by itself: it is sent the SIGTERM that it handles; without that, or if it does
not end by it, `IOLoop.start()` returns, the main task of `asyncio.run` is
cancelled as by Ctrl-C, which comes out of a loop's `run_until_complete`.  What it
does then has the time of `leave.BUDGET`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

from leeward._core.messages import Drain, Failed, Hello
from leeward._worker import forks, leave, tasks
from leeward._worker.main import Worker
from leeward._worker.resources import RESERVE
from leeward.adapters import blame
from leeward.adapters import program as programs
from leeward.adapters.loading import last_words, watched
from leeward.errors import ChannelClosed, TargetError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import FrameType

    from tornado.httpserver import HTTPServer

    from leeward._worker.birth import Birth
    from leeward.adapters.program import Program, Stage
    from leeward.errors import LeewardError


#: What stands between a program and its callbacks.
_LOOPS = frozenset({"asyncio", "tornado", "uvloop", "leeward"})
#: Of what leaving may take, the share for a program to end by its own handler of SIGTERM.
OWN_SHARE = 0.5
#: Seconds of an `asyncio.run` behind listen() after which it is no preparation: it is to serve.
PREPARES = 2.0


Place = tuple["FrameType | None", int]


class Adopted(Worker):
    """The last `Stage` of a program: it serves."""

    def __init__(self, birth: Birth, program: Program) -> None:
        super().__init__(birth)
        self.program = program
        self._starting = ExitStack()  # until Ready the supervisor may see where it hangs
        self._main: Coroutine[Any, Any, Any] | None = None
        self._http: HTTPServer | None = None
        self._opening: asyncio.Task[None] | None = None
        self._told_to_end = self._has_ended = False
        self._guessed = False  # served by a loop that its server was not made for

    def begin(self) -> Adopted:
        """Be the supervisor's, before the program goes on."""
        self._settle()
        # What an instance says once, the worker of slot 0 says.
        self.program.quiet = self.program.quiet or self.birth.slot > 0
        self._say_to_supervisor(Hello(self.pid))
        forks.watch(self.abandon)
        self.resources.host(self.birth.config.close_timeout)
        self._starting.enter_context(watched(self.channel, self.birth.config.start_timeout))
        return self

    # --- what the program does ---------------------------------------------------------

    def reached(self) -> Stage:
        return self

    def serve(self, server: Any) -> None:
        if self.over:
            self._begins_anew()
        if (several := self.program.several()) is not None:
            self.fail(several)
        if self._http is None:
            self._http = server
            # The loop that Tornado itself would register the port with.
            from tornado.ioloop import IOLoop

            current: Any = IOLoop.current()
            current.asyncio_loop.call_soon(self._open)

    def loop_starts(
        self, loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, Any] | None
    ) -> None:
        if self.over:
            return  # it cleans up: `leave.guard` sees to its end
        self._main = main
        if self._http is None:
            return
        if self.server is None and main is None:
            loop.call_soon(self._open)
        elif self.server is None:
            # Not the one that was current at listen(): bare Tornado would be deaf by it.  Nor
            # are we, unless all that it does is prepare.
            loop.call_later(PREPARES, self._guess)
        elif self._guessed and self.loop.is_closed() and not self.program.in_run_sync:
            self.fail(
                TargetError(
                    f"{self.program.path} listens, prepares by asyncio.run() for more than "
                    f"{PREPARES:g} s and serves by another loop",
                    "Call listen() behind that asyncio.run(): it served by the loop of it",
                )
            )

    def has_opened(self) -> bool:
        return self._opening is not None and not self.over

    def stop_accepting(self) -> None:
        if self.acceptor is not None:
            self.acceptor.stop()

    def is_over(self) -> bool:
        return self._told_to_end

    def _guess(self) -> None:
        self._guessed = self.server is None
        self._open()

    def _open(self) -> None:
        if self.server is not None or self._http is None or not self.program.turns_here():
            return
        self.loop = asyncio.get_running_loop()
        if self.program.main_loop is not self.loop:
            self._main = None  # that of an earlier loop
        self.loop.add_reader(self.channel.fileno(), self._hear)
        try:
            tasks.check(self.loop)
            self._furnish(self._http)
        except TargetError as error:
            self.fail(error)
        except Exception as error:  # ssl_options that cannot be used
            self.fail(blame.tell(error, f"serving {self.program.path}"))
        # Not awaited by the program, which goes on meanwhile.
        self._opening = self.loop.create_task(self._accept_probed())

    async def _accept_probed(self) -> None:
        try:
            await self._open_resources()
            await self._probe()
        except TargetError as error:
            await self.resources.close(self.resources.patience())
            self.fail(error, self.starts)
        self._starting.close()
        if not self.program.main_is_over:
            self._accept(programs.KIND)

    # --- the end -----------------------------------------------------------------------

    def reserved(self, timeout: float) -> float:
        """What the program has behind its loop has its time also where the drain took all."""
        return max(super().reserved(timeout), min(leave.BUDGET, RESERVE * timeout))

    def _finish(self) -> None:
        """The drain is done: let the program end as it would by itself, but in time."""
        self.over = True
        self.end_turns()
        budget = self.budget()
        leave.guard(budget)
        if _handles_term() and not self._has_ended:
            # Not from here: what it raises is the loop's, and not that of a connection's end.
            self.loop.call_soon(self._end_by_its_own, OWN_SHARE * budget)
        else:
            self._end_program()

    def _end_by_its_own(self, seconds: float) -> None:
        """What it has for its end may stand behind that: `await stop.wait()`, and then the rest."""
        self.loop.call_later(seconds, self._end_if_run_by, _runs_the_loop())
        signal.raise_signal(signal.SIGTERM)

    def _end_if_run_by(self, place: Place) -> None:
        if _runs_the_loop() == place:  # else it cleans up: `run_sync(cleanup)` behind its loop
            self._end_program()

    def _end_program(self) -> None:
        self._told_to_end = True
        if self._main is None:
            if _until_complete():
                # Stopped, it says "Event loop stopped before Future completed", which no
                # program expects.
                self.loop.call_soon(_interrupt)
            else:
                self.loop.stop()
            return
        for task in asyncio.all_tasks(self.loop):
            if task.get_coro() is self._main:
                task.cancel()

    def fail(self, error: LeewardError, stage: str = "program") -> NoReturn:
        if self.over:
            self._begins_anew()
        if not _in_order():
            with contextlib.suppress(ChannelClosed):  # nobody is left to be told
                last_words(self.channel, Failed(stage, str(error)))
            leave.flush()
            self.log.end(leave.READER_PATIENCE)
            os._exit(TargetError.exit_code)
        self._have_loop()
        self._fail(stage, str(error))

    def _begins_anew(self) -> NoReturn:
        """Behind its drain it would serve again, as one that keeps itself up: nobody waits."""
        if _in_order():
            self._leave(0)
        leave.flush()
        self.log.end(leave.READER_PATIENCE)
        os._exit(0)

    def ended(self, error: BaseException | None) -> NoReturn:
        if self.over:
            if isinstance(error, SystemExit):
                leave.exit_status(error)  # says what it says
            elif error is not None and not _is_our_end(error):
                self._tell(error)
            self._leave(0)
        if self.acceptor is None:
            listened = self._http is not None
            self.fail(programs.of(self.birth.config, error, listened))
        if isinstance(error, SystemExit):
            status = leave.exit_status(error)
            self.log.say("warning", f"the application called sys.exit: status {status}")
            self._leave(status)
        if isinstance(error, KeyboardInterrupt):
            self._leave(128 + signal.SIGINT)
        if error is not None:
            self._tell(error)
            self._leave(1)
        self.log.say("warning", "the program stopped its event loop and ended: this worker ends")
        self._has_ended = True
        if not self.loop.is_closed():
            self._drain(Drain("stop", self.birth.config.graceful_timeout, 0.0))
            if not self.over:
                self._main = None  # the loop is ours now
                self.loop.run_forever()
        self._leave(0)

    def _tell(self, error: BaseException) -> None:
        told = programs.of(self.birth.config, error, True).message
        self.log.say("error", told.partition("\n")[0])
        self.log.write(programs.stack(self.birth.config, error))

    def _leave(self, status: int) -> NoReturn:
        self.end_turns()
        self._have_loop()
        super()._leave(status)

    def _have_loop(self) -> None:
        """Leaving needs one: asyncio.run has closed its own, or there never was any."""
        if not hasattr(self, "loop") or self.loop.is_closed():
            self.loop = asyncio.new_event_loop()


def _until_complete() -> bool:
    """Does the program run its loop by asyncio's `run_until_complete`?  uvloop's shows no frame."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is asyncio.BaseEventLoop.run_until_complete.__code__:
            return True
        frame = frame.f_back
    return False


def _handles_term() -> bool:
    """Does the program itself see to SIGTERM, by `signal` or by its loop?"""
    handler = signal.getsignal(signal.SIGTERM)
    return callable(handler) and not getattr(handler, "leeward", False)


def _runs_the_loop() -> Place:
    """The program's call that runs the loop, asked in a callback of it: frame and how far it is."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _package(frame) in _LOOPS:
        frame = frame.f_back
    return frame, -1 if frame is None else frame.f_lasti


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_our_end(error: BaseException) -> bool:
    """Is this how we have ended the loop?  uvloop's `run_until_complete` says it by words."""
    stopped = isinstance(error, RuntimeError) and str(error).startswith("Event loop stopped")
    return stopped or isinstance(error, KeyboardInterrupt | asyncio.CancelledError)


def _interrupt() -> None:
    """As Ctrl-C does; a loop lets it through."""
    raise KeyboardInterrupt


def _in_order() -> bool:
    """Can this process leave from here?  It takes signals, and a loop that stands still."""
    in_main = threading.current_thread() is threading.main_thread()
    return in_main and asyncio._get_running_loop() is None


def adopt(birth: Birth, program: Program) -> Adopted:
    """The worker that `birth` describes, in which `program` goes on."""
    return Adopted(birth, program).begin()
