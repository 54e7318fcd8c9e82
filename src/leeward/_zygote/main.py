"""The life of a zygote.

    Begin ─ load ─ warm ─ audit ─ freeze ─ Loaded ─ (Fork ─ Forked | NotForked)* ─ end of channel
              └─ Failed, status 3     └─ rehearsal: Loaded, status 0

Whenever it has rested it forks a worker ahead (`leeward._zygote.spare`).

A program that is adopted is run and not loaded; the same happens inside its first call
by which it would serve (`leeward._zygote.nursery`).

It ends by `os._exit` wherever it ends: what the application registered with
`atexit` belongs to the workers.  It has no deadline of its own: the supervisor
has one for each state, and its death ends the zygote (PDEATHSIG, and the end of
the channel).  There is no event loop here.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from leeward._core.config import Config
from leeward._core.hazards import IGNORE, ISOLATED, REFUSED, refusal, verdict
from leeward._core.messages import (
    BadMessage,
    Begin,
    Descriptor,
    Failed,
    Fork,
    Forked,
    Loaded,
    Message,
    NotForked,
    Renew,
    Renewed,
    Tune,
)
from leeward._core.record import Record, replace
from leeward._sys.channel import Channel
from leeward._sys.mappings import unmap_clean_files
from leeward._sys.parentage import Orphaned, stay_with
from leeward._sys.posix import set_comm
from leeward._zygote import fork, signals
from leeward._zygote.audit import audit, open_descriptors
from leeward._zygote.audit import log_files as audited_log_files
from leeward._zygote.origins import Origins
from leeward._zygote.repair import Repairs
from leeward._zygote.seldom import Seldom
from leeward._zygote.spare import Spare
from leeward._zygote.warm import warm
from leeward._zygote.watch import Watch
from leeward.adapters.loading import compare, last_words, load_in_time, make_tls, settle, starts_now
from leeward.adapters.logfiles import install as logfiles
from leeward.adapters.target import Application
from leeward.adapters.tls import Tls
from leeward.errors import ChannelClosed, TargetError
from leeward.naming import parse

if TYPE_CHECKING:
    from leeward.adapters.program import Program

#: Seconds without a request after which a zygote makes a spare: the worker that was asked for
#: last starts meanwhile, and may want the CPU.  The first time it also gives back what only the
#: import has needed: 9 MiB with numpy and pandas, in 15 ms.
_QUIET = 0.1


class Newborn(Record):
    """A forked worker before it knows how to be one."""

    begin: Begin
    fork: Fork
    config: Config
    channel: Channel
    application: Application
    tls: Tls | None


#: Makes a worker of the process that it is called in.  Returns only for a program, which
#: goes on then: the worker, its next `leeward.adapters.program.Stage`.
Become = Callable[[Newborn], Any]


def run(fd: int, import_worker: Callable[[Config], Become]) -> NoReturn:
    """Be a zygote on the channel `fd`.

    import_worker:  imports what a worker needs; called once, after the application,
                    which may want to be first (patches, policies).
    """
    signals.deafen()
    with contextlib.suppress(OSError, ValueError):  # stderr is closed
        faulthandler.enable(file=2)
    try:
        _live(Channel(fd), import_worker)
    except ChannelClosed:
        os._exit(0)


def _live(channel: Channel, import_worker: Callable[[Config], Become]) -> NoReturn:
    begin = channel.wait(None)
    if not isinstance(begin, Begin):
        raise BadMessage(f"{type(begin).__name__} instead of Begin")
    config = Config.from_json(begin.config)
    settle(begin, config, channel)
    _mark(begin)
    with contextlib.suppress(OSError):  # no /proc: only a name in `ps`
        set_comm("leeward zygote")
    logfiles.before_loading(config, begin.supervisor, begin.began, begin.rehearse)
    zygote = _Zygote(channel, begin, config, import_worker)
    if config.start != "spawn":  # a rehearsal: there would be no zygote
        zygote.seldom.begin()
        zygote.watch.arm()
    if config.kind == "script":
        zygote.run_program()
    try:
        application = load_in_time(config, channel)
    except TargetError as error:
        last_words(channel, Failed("import", str(error)))
        fork.flush()
        os._exit(error.exit_code)
    report = zygote.audit(application)
    if begin.rehearse:
        last_words(channel, report)
        fork.flush()
        os._exit(0)
    zygote.deliver(application, report)
    raise AssertionError("a worker never returns")


def _mark(begin: Begin) -> None:
    """So that what is started by the import lives as long as we do, and not as the first worker
    that ends.  A worker puts its own pid in the place of ours.
    """
    instance = os.environ.get("LEEWARD_INSTANCE", "")
    if instance and not begin.rehearse:
        os.environ["LEEWARD_INSTANCE"] = f"{instance}:{os.getpid()}"


class _Zygote:
    """What a zygote does once an application is loaded, or a program about to serve."""

    def __init__(
        self,
        channel: Channel,
        begin: Begin,
        config: Config,
        import_worker: Callable[[Config], Become],
    ) -> None:
        self.channel = channel
        self.begin = begin
        self.config = config
        self.import_worker = import_worker
        self.own = open_descriptors()
        self.watch = Watch(Origins(_package(config)))
        self.seldom = Seldom()
        self.repairs = Repairs()
        self.started = time.monotonic()
        self.handlers: dict[int, Any] = {}
        self.spare = Spare(self._settle, self._debug)
        self.become: Become
        self.tls: Tls | None = None

    def audit(self, application: Application) -> Loaded:
        """Everything before the first fork, and the report of it."""
        load_ms = int((time.monotonic() - self.started) * 1000)
        self.watch.disarm()
        self.seldom.end()
        # An application that freezes at the end of its import, as Python's documentation advises
        # before a fork, hides all from `gc.get_objects`; `fork.freeze` freezes it again.
        gc.unfreeze()
        self.become = self.import_worker(self.config)
        self.tls = make_tls(self.begin, self.channel)
        failure = warm(self.config)
        if failure:
            self._debug(f"not warmed: {failure}")
        self.handlers = signals.take()
        report = Loaded(application.kind, application.found, load_ms, ())
        if self.config.start != "spawn":
            report = self._judged(report)
        return self._rehearsal_of(report) if self.begin.rehearse else report

    def _rehearsal_of(self, report: Loaded) -> Loaded:
        """With what only a rehearsal tells."""
        from leeward.engine.accelerate.install import survey

        found = report.findings
        if self.config.start == "spawn":
            found = tuple(it.to_json() for it in audited_log_files(self.own, self.watch))
        files = tuple(logfiles.survey())
        return replace(report, accelerated=survey(self.config), findings=found, log_files=files)

    def _judged(self, report: Loaded) -> Loaded:
        """With what a fork would spoil.  Ends the process if that is not allowed."""
        audited = audit(self.own, self.watch)
        self.repairs, config = audited.repairs, self.config
        self.repairs.drop(word.removeprefix(IGNORE) for word in config.hazards)
        found = [(verdict(it, config.hazards, config.start), it) for it in audited.hazards]
        refused = [it for became, it in found if became == REFUSED]
        if refused and not self.begin.rehearse:
            last_words(self.channel, Failed("hazards", refusal(refused)))
            fork.flush()
            os._exit(TargetError.exit_code)
        return replace(
            report,
            hazards=tuple(it.line for became, it in found if became == ISOLATED),
            findings=tuple(it.to_json() for it in audited.hazards),
            more=audited.more,
        )

    def deliver(self, application: Application, report: Loaded) -> Any:
        """Report, and fork on request.  Returns what `become` does, in each worker."""
        fork.freeze()
        baseline, changed = compare(self.begin)
        last_words(self.channel, replace(report, baseline=baseline, changed=changed))
        for descriptor in baseline:
            os.close(descriptor)
        try:
            order, end = self._fork_on_request()
        except ChannelClosed:
            self.spare.end()
            raise
        self.channel.close()
        for signum, handler in self.handlers.items():
            signal.signal(signum, handler)
        newborn = Newborn(self.begin, order, self.config, Channel(end), application, self.tls)
        return self.become(newborn)

    def _fork_on_request(self) -> tuple[Fork, Descriptor]:
        """Returns once in each worker, with its order; in the zygote never."""
        quiet: float | None = _QUIET
        tidy = False
        while True:
            try:
                order = self.channel.wait(quiet)
            except BadMessage as error:  # no descriptors left: the supervisor's deadline acts
                print(f"zygote: not understood: {error}", file=sys.stderr, flush=True)
                continue
            if order is None:
                quiet = None
                if not tidy:
                    tidy = True
                    with contextlib.suppress(OSError):  # no /proc: they stay mapped
                        unmap_clean_files()
                order = self.spare.make(self.channel)
                if order is not None:
                    starts_now()
                    return order, order.channel[0]
                continue
            quiet = _QUIET
            if not isinstance(order, Fork):
                self._obey(order)
            elif len(order.channel) != 1:
                print(f"zygote: not for a zygote: {order}", file=sys.stderr, flush=True)
            elif (forked := self._fork(order)) is None:
                quiet = None  # what cannot be had now is not asked for ahead
            elif forked:
                return order, order.channel[0]

    def _obey(self, order: Message) -> None:
        """What changes the workers to come, and so ends a spare that has the old."""
        if isinstance(order, Tune):
            self.config = Config.from_json(order.config)
        elif isinstance(order, Renew) and self.tls is not None:
            try:
                self.tls.renew(order.tls)
            except OSError as error:
                self.channel.send(Renewed(str(error)))
            else:
                self.channel.send(Renewed())
        else:
            print(f"zygote: not for a zygote: {order}", file=sys.stderr, flush=True)
            return
        self.spare.end()

    def _fork(self, order: Fork) -> bool | None:
        """Have there be this worker.  True in it, if it is forked now; None if it cannot be."""
        answer: Forked | NotForked
        try:
            pid = self.spare.hand(order) or fork.fork_twice()
        except OSError as error:
            answer = NotForked(order.worker, str(error))
        else:
            if pid == 0:
                self._settle()
                return True
            answer = Forked(order.worker, pid)
        for fd in (*order.channel, *order.ring, *order.stdout, *order.stderr):
            os.close(fd)
        self.channel.send(answer)
        return False if isinstance(answer, Forked) else None

    def _debug(self, text: str) -> None:
        if self.config.log_level == "debug":
            with contextlib.suppress(OSError, ValueError):  # nobody reads, or it is closed
                print(f"zygote gen={self.begin.generation}: {text}", file=sys.stderr, flush=True)

    def _settle(self) -> None:
        """In a process just forked: be the supervisor's, and not what each other fork is.

        Ends it if the supervisor has died already.
        """
        os.setsid()  # killing is by group, and the zygote's group is not ours
        try:
            stay_with(self.begin.supervisor)
        except Orphaned:
            os._exit(0)
        fork.reseed()
        self.repairs.mend()

    def run_program(self) -> NoReturn:
        """The same from inside the program: see `leeward._zygote.nursery`."""
        from leeward._zygote.nursery import Nursery, Rehearsal

        begin = self.begin
        listeners: tuple[tuple[int, str], ...] = ()
        if begin.rehearse:
            nursery: Nursery = Rehearsal(self.config, self.channel, self._rehearsed)
        else:
            nursery = Nursery(self.config, self.channel, self._forked)
            listeners = tuple(zip(map(int, begin.listeners), begin.addresses, strict=True))
        nursery.raise_(listeners)

    def _rehearsed(self, program: Program) -> Loaded:
        report = self.audit(program.application)
        for signum, handler in self.handlers.items():
            signal.signal(signum, handler)
        return report

    def _forked(self, program: Program) -> Any:
        application = program.application
        return self.deliver(application, self.audit(application))


def _package(config: Config) -> str:
    """The package that is the application, wherever it is installed; "" for a file."""
    try:
        target = parse(config.target)
    except TargetError:  # loading it says what is wrong
        return ""
    return "" if target.is_file else target.module.partition(".")[0]
