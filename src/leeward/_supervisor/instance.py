"""A running instance: brings events to the decisions, carries the commands out.

Every event (a message, a signal, a death, a request) becomes a call on
`leeward._core.supervisor.Supervisor`; after each turn of the loop `plan` says
what to do, and `_carry_out` does it.  Nothing here decides.

It is where all rooms of the supervisor meet: each event and each command has its few
lines here, and its work elsewhere.  More than 400 lines for that reason.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Mapping
from functools import partial

from leeward import __version__
from leeward._core import commands as c
from leeward._core.config import Handover
from leeward._core.roster import Death
from leeward._core.supervisor import Supervisor
from leeward._supervisor import reloads
from leeward._supervisor.asking import Asking
from leeward._supervisor.children import Children, Reaped
from leeward._supervisor.control import Control
from leeward._supervisor.delay import Delay
from leeward._supervisor.ends import is_past_loading
from leeward._supervisor.going_back import GoingBack
from leeward._supervisor.guard import Guard, told
from leeward._supervisor.loop import Loop
from leeward._supervisor.notify import Notify
from leeward._supervisor.parts import Parts
from leeward._supervisor.processes import Processes
from leeward._supervisor.recycling import Recycling
from leeward._supervisor.reloads import Resolver, Waiting
from leeward._supervisor.renewal import Renewal
from leeward._supervisor.report import View, plural
from leeward._supervisor.requests import Requests
from leeward._supervisor.rings import Rings
from leeward._supervisor.roll_out import RollOut
from leeward._supervisor.say import Voice
from leeward._supervisor.setting_aside import SettingAside
from leeward._supervisor.tuning import Tuning
from leeward._supervisor.watching import Watching
from leeward._sys import socketfiles
from leeward._sys.page import Page
from leeward._sys.posix import Posix
from leeward._sys.signals import Signals

SIGNALS = (
    signal.SIGCHLD,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
)

#: Ctrl-C on a terminal: somebody sits there and waits.
_INTERRUPT_TIMEOUT = 3.0
#: The banner waits this long for the workers behind the first one.
_BANNER_PATIENCE = 2.0
#: epoll tells when the log's reader has room again; of a terminal not each time.
_VOICE_RETRY = 0.5
#: The log's last lines wait this long for a reader that lags.
_LAST_LINES = 0.3
#: Rounds of deciding and doing per turn.  Doing may make new facts (a process
#: that could not be started), but each takes a process out of the plan.
_ROUNDS = 1000


class Instance:
    """One instance from its boot to its end.  `run` returns the exit code."""

    def __init__(
        self, handover: Handover, posix: Posix, voice: Voice, environ: Mapping[str, str]
    ) -> None:
        self._handover = handover
        self._posix = posix
        self._voice = voice
        self._started = posix.monotonic()
        self._guard = Guard(voice, posix.monotonic)
        self._loop = Loop(self._guard)
        self._page = Page.create()
        self._core = Supervisor(workers=handover.config.workers)
        self._children = Children(posix, environ, handover.control_path)
        self._rings = Rings(self._children, self._loop, posix, voice, lambda: self._roll_out.config)
        self._processes = Processes(
            self._core,
            posix,
            self._loop,
            self._children,
            self._page,
            handover.listeners,
            voice,
            self._rings,
        )
        self._watching = Watching(
            self._core, posix, self._loop, self._children, self._page, self._processes, voice
        )
        self._notify = Notify(environ, posix.getpid(), partial(voice.say, level="warning"))
        sock = socket.socket(fileno=handover.control_fd)
        self._control = Control(
            sock,
            self._loop,
            lambda client, message: self._requests.take(client, message),
            posix.monotonic,
        )
        self._furnish()
        self._banner_by: float | None = None
        self._interrupts = 0
        self._delay = Delay()
        self._reader_watched = False
        self._exit: c.Exit | None = None
        self._listeners = list(handover.listeners)

    def _furnish(self) -> None:
        """The rooms of the verbs."""
        self._parts = parts = Parts(
            core=self._core,
            processes=self._processes,
            control=self._control,
            voice=self._voice,
            notify=self._notify,
            monotonic=self._posix.monotonic,
        )
        start_resolver = partial(Resolver, self._children, self._loop)
        self._waiting = Waiting(self._control)
        self._going_back = GoingBack(parts, self._waiting)
        self._recycling = Recycling(parts)
        self._setting_aside = SettingAside(parts)
        self._tuning = Tuning(parts)
        self._renewal = Renewal(
            self._processes, self._control, self._voice, self._posix.monotonic, start_resolver
        )
        self._roll_out = RollOut(
            parts,
            self._handover.config,
            self._waiting,
            self._renewal,
            self._going_back,
            start_resolver,
            lambda: self._view().status(),
        )
        self._requests = Requests(
            parts=parts,
            roll_out=self._roll_out,
            renewal=self._renewal,
            going_back=self._going_back,
            recycling=self._recycling,
            setting_aside=self._setting_aside,
            asking=Asking(parts),
            tuning=self._tuning,
            rings=self._rings,
            ps=lambda: self._view().ps(self._posix.monotonic()),
            scale=self._scale,
            stop=self._stop,
        )

    def run(self) -> int:
        with contextlib.closing(Signals(SIGNALS)) as signals:
            self._loop.watch(signals.fileno(), lambda events: self._on_signals(signals.read()))
            self._rings.open_log()
            self._roll_out.offer(self._handover.config, self._handover.tls)
            while self._exit is None:
                self._guard.run(self._advance)
                if self._exit is None:
                    self._loop.turn(self._sleep())
            # The next descriptor gets its number.
            self._loop.unwatch(signals.fileno())
        return self._end(self._exit)

    # --- one turn ---------------------------------------------------------------------

    def _advance(self) -> None:
        """Decides and does until there is nothing left to do."""
        if self._delay.is_over(self._posix.monotonic()):
            self._stop(self._delay.asked_by, self._delay.timeout)
        # Each by itself: one that fails each time must not keep the others from their work.
        guarded = self._guard.run
        guarded(self._watching.tick)
        for _ in range(_ROUNDS):
            guarded(self._processes.search_strays)
            commands = self._core.plan(self._posix.monotonic())
            for command in commands:
                self._do(command)
            if not commands:
                break
        if self._core.stopping and self._processes.none_accepts():
            guarded(self._close_listeners)
        guarded(self._recycling.look)
        guarded(self._setting_aside.look)
        now = self._posix.monotonic()
        guarded(self._processes.keep_only, self._core.generations)
        for tick in (
            *(self._control.expire, self._renewal.tick, self._tuning.tick, self._rings.tick),
            *(self._notify.tick, self._banner, self._report),
        ):
            guarded(tick, now)
        self._voice.flush()
        self._watch_reader()

    def _report(self, now: float) -> None:
        self._roll_out.tick(now, self._view().ready_workers() >= self._core.workers)
        if self._core.serving is not None and not self._parts.stops:
            self._notify.status(self._view().status())

    def _do(self, command: c.Command) -> None:
        """Carries it out.  A start that fails is a death; the others have deadlines."""
        try:
            self._carry_out(command)
        except Exception as error:
            self._guard.tell(error)
            if isinstance(command, c.StartZygote | c.StartWorker):
                death = Death(f"could not be started: {told(error)}", unborn=True)
                self._core.died(command.process, death, self._posix.monotonic())

    def _sleep(self) -> float | None:
        """Seconds until something is due by itself, None to sleep until something happens."""
        now = self._posix.monotonic()
        due = [self._core.next_deadline(), self._control.next_deadline(), self._banner_by]
        due += [self._roll_out.next_deadline(), self._renewal.next_deadline()]
        due += [self._delay.due, self._watching.next_deadline(), self._tuning.next_deadline()]
        due += [self._rings.next_deadline(), self._notify.next_deadline()]
        if self._voice.waits:
            due.append(now + _VOICE_RETRY)
        times = [it for it in due if it is not None]
        return min(times) - now if times else None

    def _watch_reader(self) -> None:
        """Wakes up when the log's reader has room again, while there is something to tell it."""
        # Not while another's line is torn: the terminal may have room, and say so for ever.
        if self._voice.lacks_room == self._reader_watched:
            return
        self._reader_watched = self._voice.lacks_room
        if self._reader_watched:
            # Never for reading: it may be a terminal, and what is typed is not for us.
            self._loop.watch(self._voice.fileno(), lambda events: None, read=False, write=True)
        else:
            self._loop.unwatch(self._voice.fileno())

    def _carry_out(self, command: c.Command) -> None:
        match command:
            case c.StartZygote():
                self._processes.start_zygote(command)
            case c.StartWorker():
                self._processes.start_worker(command)
            case c.Drain():
                self._processes.drain(command)
            case c.Aside():
                self._processes.aside(command)
            case c.Hurried(generation, workers, timeout):
                self._voice.say(
                    f"generation {generation} lingers, and newer ones too (--max-lingering): "
                    f"{plural(workers, 'worker')} of it must finish within {timeout:g} s",
                    "warning",
                )
            case c.Kill():
                self._processes.kill(command)
            case c.Forget():
                self._processes.forget(command)
            case c.Resolve():
                self._roll_out.resolve()
            case c.StopResolving(why):
                self._roll_out.stop_resolving(why)
            case c.ModeChosen(generation, mode, why):
                self._processes.facts[generation].why_mode = why
                if mode == "spawn":
                    self._voice.say(f"generation {generation} runs in spawn mode: {why}")
            case c.Up():
                self._up()
            case c.Served(generation):
                self._roll_out.served(generation)
            case c.RolledBack(generation, why):
                self._roll_out.rolled_back(generation, why)
            case c.GoesBack(generation, to, why):
                self._going_back.begins(generation, to, why)
            case c.BackedOff(generation, delay, strikes, why):
                first, end, rest = self._processes.explained(why).partition("\n")
                pause = f"; pausing {delay:g} s ({strikes} in a row)"
                # Nobody else tells the rest: this failure ends neither a start nor a reload.
                self._voice.say(f"generation {generation}: {first}{pause}{end}{rest}", "warning")
            case c.Rests(generation, delay, why):
                text = f"generation {generation}: a worker {why} when it was hardly ready"
                self._voice.say(f"{text}; the next one is replaced in {delay:g} s", "warning")
            case c.Exit():
                self._exit = command

    def _up(self) -> None:
        self._banner_by = self._posix.monotonic() + _BANNER_PATIENCE
        self._notify.ready(self._view().status())

    # --- signals, and the verbs that are signals too -------------------------------------

    def _on_signals(self, numbers: list[int]) -> None:
        if signal.SIGCHLD in numbers:
            for reaped in self._children.reap():
                self._guard.run(self._on_reaped, reaped)
        for number in numbers:
            self._guard.run(self._on_signal, number)

    def _on_reaped(self, reaped: Reaped) -> None:
        if not (self._rings.reaped(reaped) or self._watching.stopped_or_continued(reaped)):
            self._processes.ended(reaped)

    def _on_signal(self, number: int) -> None:
        graceful = self._roll_out.config.graceful_timeout
        if number == signal.SIGTERM:
            self._stop("SIGTERM", graceful, delay=self._roll_out.config.drain_delay)
        elif number == signal.SIGINT:
            self._interrupts += 1
            timeout = _INTERRUPT_TIMEOUT if self._handover.terminal else graceful
            self._stop("Ctrl-C", min(timeout, graceful), kill=self._interrupts > 1)
        elif number == signal.SIGQUIT:
            self._stop("SIGQUIT", 0.0, kill=True)
        elif number == signal.SIGHUP and self._terminal_gone():
            self._stop("the end of its terminal", graceful)
        elif number == signal.SIGHUP:
            self._roll_out.ask(None, "SIGHUP")
        elif number in (signal.SIGTTIN, signal.SIGTTOU):
            self._scale(self._core.workers + (1 if number == signal.SIGTTIN else -1))
        elif number == signal.SIGUSR1:
            if self._rings.reopen():
                self._voice.say("SIGUSR1: log files are reopened")
            else:
                self._voice.say(
                    "SIGUSR1: there are no log files to reopen, everything goes to stderr"
                )
        elif number == signal.SIGUSR2:
            self._voice.say("SIGUSR2: has no meaning yet", "warning")

    def _terminal_gone(self) -> bool:
        """A closed terminal sends HUP too, and means the opposite of a reload."""
        return self._handover.terminal and not os.isatty(2)  # EIO once it has hung up

    def _stop(self, asked_by: str, timeout: float, kill: bool = False, delay: float = 0.0) -> None:
        now = self._posix.monotonic()
        if not (kill or self._core.stopping) and self._delay.begins(now, delay, asked_by, timeout):
            self._voice.say(
                f"stopping in {delay:g} s, asked for by {asked_by}: not ready, still accepting"
            )
            self._notify.stopping()
            self._processes.withdraw()
            return
        self._delay.due = None
        self._processes.withdrawn = True
        if not self._core.stop(self._posix.monotonic(), timeout, kill):
            return  # it stops already, and no later
        self._roll_out.tell_news()
        how = "now" if kill else f"within {timeout:g} s"
        self._voice.say(f"stopping {how}, asked for by {asked_by}")
        self._notify.stopping()
        self._waiting.all_end(reloads.STOPPING, "it is stopping; nothing was reloaded")
        self._going_back.stop()
        self._recycling.all_end(reloads.STOPPING, "it is stopping; the others were not recycled")
        self._setting_aside.stop()
        self._tuning.all_end(reloads.STOPPING, "it is stopping")
        self._renewal.stop()

    def _close_listeners(self) -> None:
        """Nobody accepts any more: refuse new clients, and leave the addresses to a successor.

        Behind the workers, which take what waits before they close their own (the zygotes end
        as soon as a stop begins).  Those who came while the last requests were finished waited
        all that time, to be reset; a socket that somebody else hands in is still open there.
        """
        while self._listeners:
            it = self._listeners.pop()
            try:
                # First: as soon as it is closed another instance may take its path.
                if it.path:
                    with contextlib.suppress(OSError):  # the next start clears what is left
                        socketfiles.remove(it.path)
            finally:
                os.close(it.fd)

    def _scale(self, workers: int) -> str:
        before = self._core.workers
        most = self._core.roster.rows // 4
        self._core.scale(min(workers, most))
        text = f"{plural(self._core.workers, 'worker')} wanted, {before} before"
        if self._core.workers != workers:
            text += f" (the {'most' if workers > most else 'least'} there can be)"
        self._voice.say(f"scaled: {text}")
        return text

    # --- telling -------------------------------------------------------------------------

    def _view(self) -> View:
        return View(
            core=self._core,
            config=self._roll_out.config,
            listeners=self._handover.listeners,
            control_path=self._handover.control_path,
            version=__version__,
            pid=self._posix.getpid(),
            page=self._page,
            started=self._started,
            facts=self._processes.facts,
            ends=self._processes.ends,
            ailing=self._processes.ailing,
            went_back=self._going_back.went_back,
            withdrawn=self._processes.withdrawn,
        )

    def _banner(self, now: float) -> None:
        """Once: when all workers are ready, or when those behind the first take long."""
        if self._core.stopping:
            self._banner_by = None  # nobody is to be woken for it: 100 % of a core while it drains
        if self._banner_by is None:
            return
        view = self._view()
        if view.ready_workers() >= self._core.workers or now >= self._banner_by:
            self._banner_by = None
            self._voice.banner(view.banner(now))

    def _end(self, end: c.Exit) -> int:
        """Nothing is left of the instance when this returns."""
        self._guard.run(self._rings.last_words, self._posix.monotonic() + _LAST_LINES)
        if end.code:
            config, target = self._roll_out.config, self._roll_out.config.target
            why = self._processes.explained(end.why)
            loaded = any(it.ever_loaded for it in self._core.generations.values())
            remedy = f"Try it alone: leeward check {target}"
            if loaded or is_past_loading(end.why):
                remedy = f"It can be loaded (leeward check {target}): its workers do not come up"
            elif why != end.why and target.endswith(".py") and config.kind != "script":
                remedy += "; if it serves by itself, it is a program: --kind script"
            self._voice.fail(f"{target} {why}\n{remedy}")
            self._notify.status(f"failed: {end.why.splitlines()[0]}")
        else:
            self._voice.say("stopped")
        self._notify.close()
        self._waiting.all_end(reloads.STOPPING, "it has stopped")
        self._guard.run(self._rings.finish)
        self._control.close()
        self._guard.run(self._close_listeners)
        # Gone, or its directory may not be written to any more: the next start clears it.
        with contextlib.suppress(OSError):
            os.unlink(self._handover.control_path)
        self._loop.close()
        self._watching.close()
        self._page.close()
        self._voice.finish(_LAST_LINES)
        return end.code
