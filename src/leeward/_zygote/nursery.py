"""A zygote that runs a program: it forks its workers inside one of the program's calls.

    Begin ─ the program's first lines ─ it reaches listen(), start(n), asyncio.run() …
                                          ├─ zygote: audit ─ Loaded ─ forks on request, for ever
                                          └─ worker: the call returns, the program goes on

In a rehearsal nothing is forked: the program goes on until it runs its loop, to tell
which addresses and how many processes it wants.  It opens no port then, but what else
it does before its loop runs is done.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

from leeward import hosting
from leeward._core.messages import Failed, Loaded
from leeward._core.record import replace
from leeward._sys.parentage import Orphaned
from leeward._zygote import fork
from leeward.adapters import program as programs
from leeward.adapters.loading import last_words, watched
from leeward.adapters.target import prepare
from leeward.errors import ChannelClosed, LeewardError, TargetError, UsageError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from leeward._core.config import Config
    from leeward._sys.channel import Channel
    from leeward.adapters.program import Program, Stage


class Nursery:
    """The `Stage` of a program before there is a worker.

    deliver(program):  what a zygote does once the application is loaded; returns the
                       worker, in the worker.
    """

    def __init__(
        self, config: Config, channel: Channel, deliver: Callable[[Program], Stage]
    ) -> None:
        self.config = config
        self.channel = channel
        self.deliver = deliver
        self.program: Program
        self.loading = ExitStack()

    def raise_(self, listeners: tuple[tuple[int, str], ...], quiet: bool = False) -> NoReturn:
        """Run the program from its first line.  quiet: another process says what is said once."""
        from leeward.adapters.substitutes import install

        self.program = programs.Program(self.config, listeners, self, quiet or not listeners)
        install(self.program)
        try:
            self.loading.enter_context(watched(self.channel, self.config.start_timeout))
            prepare(self.config)
        except TargetError as error:
            self.fail(error)
        self.program.run()

    def reached(self) -> Stage:
        self.loading.close()
        # Nothing may be raised from here: the program would be asked to handle it.
        try:
            return self.deliver(self.program)
        except (ChannelClosed, Orphaned):
            os._exit(0)

    def serve(self, server: Any) -> None:
        """Before `reached` nothing is served."""

    def has_opened(self) -> bool:
        return False

    def stop_accepting(self) -> None:
        """Nothing accepts here."""

    def loop_starts(
        self, loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, Any] | None
    ) -> None:
        """Loops run in workers."""

    def is_over(self) -> bool:
        return False

    def ended(self, error: BaseException | None) -> NoReturn:
        self.fail(programs.of(self.config, error, bool(self.program.servers)))

    def fail(self, error: LeewardError) -> NoReturn:
        stage = "usage" if isinstance(error, UsageError) else "import"
        try:
            last_words(self.channel, Failed(stage, str(error)))
        except ChannelClosed:  # nobody is left to be told
            os._exit(0)
        fork.flush()
        os._exit(TargetError.exit_code)


class Rehearsal(Nursery):
    """Goes on to the loop, and reports there.  audited: what a zygote would report."""

    def __init__(
        self, config: Config, channel: Channel, audited: Callable[[Program], Loaded]
    ) -> None:
        super().__init__(config, channel, self._audit)
        self._audited = audited
        self._report: Loaded | None = None

    def _audit(self, program: Program) -> Stage:
        self._report = self._audited(program)
        # It goes on as a worker does, and may ask for what a worker has open by now.
        hosting.host(hosting.Alone())
        self.loading.enter_context(watched(self.channel, self.config.start_timeout))
        return self

    def serve(self, server: Any) -> None:
        # Where a worker would serve it, in whatever way the program runs that loop.  A program
        # may name its next server in the same turn.
        from tornado.ioloop import IOLoop

        current: Any = IOLoop.current()
        current.asyncio_loop.call_soon(self._tell)

    def loop_starts(
        self, loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, Any] | None
    ) -> None:
        if self.program.servers:
            self._tell()

    def _tell(self) -> None:
        program = self.program
        if not program.turns_here():
            return  # it ends, and not because of us: `ended` tells why
        self.loading.close()
        if (several := program.several()) is not None:
            self.fail(several)
        (served,) = program.servers
        assert self._report is not None  # whoever serves has been through `reached`
        report = self._report
        try:
            last_words(
                self.channel,
                replace(
                    report,
                    wants=tuple(dict.fromkeys(want.address for want in served.wants)),
                    processes=-1 if program.processes is None else program.processes,
                    tls=served.server.ssl_options is not None,
                ),
            )
        except ChannelClosed:
            os._exit(0)
        fork.flush()
        os._exit(0)
