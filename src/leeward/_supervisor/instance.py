"""A running instance: brings events to the decisions, carries the commands out.

Every event (a message, a signal, a death, a request) becomes a call on
`leeward._core.supervisor.Supervisor`; after each turn of the loop `plan` says
what to do, and `_carry_out` does it.  Nothing here decides.

More than 400 lines, because it is the one place where all rooms of the supervisor
meet: each event and each command has its few lines here, and its work elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from functools import partial

from leeward import __version__
from leeward._core import commands as c
from leeward._core import messages as m
from leeward._core.config import Config, Handover
from leeward._core.generation import Limits
from leeward._core.supervisor import Supervisor
from leeward._supervisor import certificates, reloads
from leeward._supervisor.children import Children
from leeward._supervisor.control import Client, Control
from leeward._supervisor.delay import Delay
from leeward._supervisor.loop import Loop
from leeward._supervisor.notify import Notify
from leeward._supervisor.processes import Processes
from leeward._supervisor.recycling import Recycling
from leeward._supervisor.reloads import Resolver, Waiting
from leeward._supervisor.renewal import Renewal
from leeward._supervisor.report import Facts, View, WentBack, plural
from leeward._supervisor.say import Voice
from leeward._supervisor.watching import Watching
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
#: Lines that could not be written are tried again this often.
_VOICE_RETRY = 1.0
#: Rounds of deciding and doing per turn.  Doing may make new facts (a process
#: that could not be started), but each takes a process out of the plan.
_ROUNDS = 1000


class Instance:
    """One instance from its boot to its end.  `run` returns the exit code."""

    def __init__(
        self, handover: Handover, posix: Posix, voice: Voice, environ: Mapping[str, str]
    ) -> None:
        config = handover.config
        self._handover = handover
        self._config = config
        self._posix = posix
        self._voice = voice
        self._started = posix.monotonic()
        self._loop = Loop()
        self._page = Page.create()
        self._core = Supervisor(workers=config.workers)
        self._children = Children(posix, environ, handover.control_path)
        self._processes = Processes(
            self._core, posix, self._loop, self._children, self._page, handover.listeners, voice
        )
        self._watching = Watching(
            self._core, posix, self._loop, self._children, self._page, self._processes, voice
        )
        self._notify = Notify(environ, posix.getpid())
        sock = socket.socket(fileno=handover.control_fd)
        self._control = Control(sock, self._loop, self._on_request, posix.monotonic)
        self._waiting = Waiting(self._control)
        self._recycling = Recycling(self._core, self._control)
        self._back = Waiting(self._control)
        self._went_back: WentBack | None = None
        self._resolver: Resolver | None = None
        self._news: reloads.News | None = None
        self._resolving_since = 0.0
        self._start_resolver = partial(Resolver, self._children, self._loop)
        self._renewal = Renewal(
            self._processes, self._control, voice, posix.monotonic, self._start_resolver
        )
        self._banner_by: float | None = None
        self._interrupts = 0
        self._delay = Delay()
        self._voice_waits = False
        self._exit: c.Exit | None = None

    def run(self) -> int:
        with contextlib.closing(Signals(SIGNALS)) as signals:
            self._loop.watch(signals.fileno(), lambda events: self._on_signals(signals.read()))
            self._offer(self._config, self._handover.tls)
            while self._exit is None:
                self._advance()
                if self._exit is None:
                    self._loop.turn(self._sleep())
        return self._end(self._exit)

    # --- one turn ---------------------------------------------------------------------

    def _advance(self) -> None:
        """Decides and does until there is nothing left to do."""
        if self._delay.is_over(self._posix.monotonic()):
            self._stop(self._delay.asked_by, self._delay.timeout)
        self._watching.tick()
        for _ in range(_ROUNDS):
            self._processes.search_strays()
            commands = self._core.plan(self._posix.monotonic())
            for command in commands:
                self._carry_out(command)
            if not commands:
                break
        self._recycling.look()
        now = self._posix.monotonic()
        self._processes.keep_only(self._core.generations)
        self._control.expire(now)
        self._renewal.tick(now)
        self._notify.tick(now)
        self._banner(now)
        if self._news is not None:
            complete = self._view().ready_workers() >= self._core.workers
            if self._news.due(self._processes.accepting, complete, now):
                self._tell_news()
        stops = self._core.stopping or self._processes.withdrawn
        if self._core.serving is not None and not stops:
            self._notify.status(self._view().status())
        self._voice_waits = not self._voice.flush()

    def _sleep(self) -> float | None:
        """Seconds until something is due by itself, None to sleep until something happens."""
        now = self._posix.monotonic()
        due = [self._core.next_deadline(now), self._control.next_deadline(), self._banner_by]
        if self._news is not None:
            due.append(self._news.by)
        due += [self._renewal.next_deadline(), self._delay.due, self._watching.next_deadline()]
        if self._notify.interval is not None:
            due.append(self._notify.due)
        if self._voice_waits:
            due.append(now + _VOICE_RETRY)
        times = [it for it in due if it is not None]
        return min(times) - now if times else None

    def _carry_out(self, command: c.Command) -> None:
        match command:
            case c.StartZygote():
                self._processes.start_zygote(command)
            case c.StartWorker():
                self._processes.start_worker(command)
            case c.Drain():
                self._processes.drain(command)
            case c.Kill():
                self._processes.kill(command)
            case c.Forget():
                self._processes.forget(command)
            case c.Resolve():
                self._resolve()
            case c.StopResolving(why):
                self._stop_resolving(why)
            case c.ModeChosen(generation, mode, why):
                self._processes.facts[generation].why_mode = why
                if mode == "spawn":
                    self._voice.say(f"generation {generation} runs in spawn mode: {why}")
            case c.Up():
                self._up()
            case c.Served(generation):
                self._served(generation)
            case c.RolledBack(generation, why):
                self._rolled_back(generation, why)
            case c.GoesBack(generation, to, why):
                self._goes_back(generation, to, why)
            case c.BackedOff(generation, delay, strikes, why):
                first = why.splitlines()[0]
                self._voice.say(
                    f"generation {generation}: {first}; pausing {delay:g} s ({strikes} in a row)",
                    "warning",
                )
            case c.Rests(generation, delay, why):
                text = f"generation {generation}: a worker {why} when it was hardly ready"
                self._voice.say(f"{text}; the next one is replaced in {delay:g} s", "warning")
            case c.Exit():
                self._exit = command

    # --- generations ---------------------------------------------------------------------

    def _offer(self, config: Config, tls: tuple[int, ...]) -> None:
        limits = Limits(
            start=config.start_timeout, graceful=config.graceful_timeout, settle=config.settle
        )
        number = self._core.offer(
            limits=limits,
            start=config.start,
            may_change_mode=config.start_fallback == "allow",
            workers=config.workers,
        )
        self._processes.configs[number] = config
        self._processes.certificates.keep(number, tls)
        self._processes.facts[number] = Facts()

    def _up(self) -> None:
        self._banner_by = self._posix.monotonic() + _BANNER_PATIENCE
        self._notify.ready(self._view().status())

    def _served(self, generation: int) -> None:
        self._config = self._processes.configs[generation]
        self._tell_news()  # of a generation before this one, should it still wait
        text = f"generation {generation} serves with {plural(self._core.workers, 'worker')}"
        back = self._went_back
        if back is not None and back.to == generation:
            text += f"; generation {back.generation} is gone"
        else:
            self._went_back = None  # newer code serves
        self._back.begins()
        self._news = reloads.News(
            text,
            {it.id for it in self._core.roster.of("worker") if it.generation != generation},
            self._posix.monotonic() + reloads.NEWS_PATIENCE,
            self._waiting.take() + self._back.take(),
        )

    def _tell_news(self) -> None:
        news, self._news = self._news, None
        if news is not None:
            self._voice.say(news.text)
            self._notify.ready(self._view().status())
            self._waiting.answer(news.clients, reloads.SERVES, news.text)

    def _rolled_back(self, generation: int, why: str) -> None:
        text = f"generation {generation} {self._processes.explained(why)}"
        self._voice.say(f"{text}\ngeneration {self._core.serving} serves on", "error")
        self._notify.ready(self._view().status())
        self._waiting.ends(
            reloads.FAILED,
            f"{text}\nNothing has changed: generation {self._core.serving} serves on.",
        )
        back = self._went_back
        if back is not None and back.to == generation:
            self._went_back = None
            self._back.all_end(reloads.FAILED, f"{text}\ngeneration {self._core.serving} serves on")
        else:
            given_up = f"generation {generation} is given up, {self._core.serving} serves on"
            self._back.all_end(reloads.SERVES, given_up)

    def _goes_back(self, generation: int, to: int, why: str) -> None:
        now = self._posix.monotonic()
        first = why.splitlines()[0]
        self._went_back = WentBack(generation, to, first, now)
        self._voice.say(f"going back from generation {generation} to {to}: {first}", "warning")
        self._notify.reloading(now)

    def _rollback(self, client: Client) -> None:
        """The waiting ends in `_served` or `_rolled_back`."""
        core = self._core
        if core.stopping or self._processes.withdrawn:
            self._control.answer(client, m.Answer(reloads.STOPPING, "it is stopping"))
            return
        on_trial = core.candidate is not None
        to = core.rollback(self._posix.monotonic())
        if to is None:
            self._control.answer(client, m.Answer(reloads.REFUSED, self._nothing_to_go_back_to()))
        elif to == core.serving:
            # Who asked for what nobody wants any more must not wait for it.
            self._waiting.all_end(reloads.FAILED, f"given up: leeward rollback asked for {to}")
            if on_trial:
                self._back.add(client)
            else:
                text = f"the reload is given up, generation {to} serves on"
                self._control.answer(client, m.Answer(reloads.SERVES, text))
        else:
            self._back.add(client)

    def _nothing_to_go_back_to(self) -> str:
        serving = self._core.serving
        text = "nothing to go back to: "
        if serving is None:
            text += "no generation serves yet"
        elif self._core.mode == "spawn":
            text += "in spawn mode no process keeps the old code"
        elif self._config.settle == 0:
            text += "--settle 0s keeps nothing"
        elif self._went_back is not None:
            text += f"it has gone back to generation {serving} already"
        elif serving == 1:
            text += "generation 1 is the first"
        else:
            text += f"generation {serving} has settled ({self._config.settle:g} s, --settle)"
        return f"{text}\nPut the old code in its place and: leeward reload"

    def _reload(self, client: Client | None, asked_by: str) -> None:
        if self._core.stopping or self._processes.withdrawn:
            if client is not None:
                self._control.answer(client, m.Answer(reloads.STOPPING, "it is stopping"))
            return
        if client is not None:
            self._waiting.add(client)
        first = self._core.reload()
        merged = "" if first else "; one is under way, one more follows for all who ask meanwhile"
        self._voice.say(f"reload asked for by {asked_by}{merged}")

    def _resolve(self) -> None:
        self._waiting.begins()
        self._resolving_since = self._posix.monotonic()
        self._notify.reloading(self._resolving_since)
        try:
            self._resolver = self._start_resolver(self._config, self._settings, self._no_settings)
        except OSError as error:
            self._no_settings(f"the settings' resolver could not be started: {error}")

    def _stop_resolving(self, why: str) -> None:
        if self._resolver is not None:
            self._resolver.stop()
            self._resolver = None
        if not self._core.stopping:
            self._refuse_reload(why)

    def _settings(self, config: Config, resolved: m.Resolved) -> None:
        self._resolver = None
        tls = tuple(map(int, resolved.tls))
        if self._core.stopping:
            certificates.close(tls)
        else:
            for warning in resolved.warnings:
                self._voice.say(warning, "warning")
                self._waiting.progress(warning)
            in_force = self._processes.certificates
            if self._renewal.since > self._resolving_since and in_force.fits(tls):
                # What this resolver has read is older than what everybody shows by now.
                certificates.close(tls)
                tls = in_force.of(self._core.serving or 0)
            self._waiting.progress("settings resolved, loading the new code")
            self._offer(config, tls)

    def _no_settings(self, text: str) -> None:
        self._resolver = None
        self._core.unresolved()
        self._refuse_reload(text)

    def _refuse_reload(self, text: str) -> None:
        self._voice.say(f"reload refused: {text}", "error")
        self._notify.ready(self._view().status())
        self._waiting.ends(reloads.REFUSED, text)

    # --- signals and requests -----------------------------------------------------------

    def _on_signals(self, numbers: list[int]) -> None:
        if signal.SIGCHLD in numbers:
            for reaped in self._children.reap():
                if not self._watching.stopped_or_continued(reaped):
                    self._processes.ended(reaped)
        for number in numbers:
            self._on_signal(number)

    def _on_signal(self, number: int) -> None:
        graceful = self._config.graceful_timeout
        if number == signal.SIGTERM:
            self._stop("SIGTERM", graceful, delay=self._config.drain_delay)
        elif number == signal.SIGINT:
            self._interrupts += 1
            timeout = _INTERRUPT_TIMEOUT if self._handover.terminal else graceful
            self._stop("Ctrl-C", min(timeout, graceful), kill=self._interrupts > 1)
        elif number == signal.SIGQUIT:
            self._stop("SIGQUIT", 0.0, kill=True)
        elif number == signal.SIGHUP and self._terminal_gone():
            self._stop("the end of its terminal", graceful)
        elif number == signal.SIGHUP:
            self._reload(None, "SIGHUP")
        elif number in (signal.SIGTTIN, signal.SIGTTOU):
            self._scale(self._core.workers + (1 if number == signal.SIGTTIN else -1))
        elif number == signal.SIGUSR1:
            self._voice.say("SIGUSR1: there are no log files to reopen, everything goes to stderr")
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
        self._tell_news()
        how = "now" if kill else f"within {timeout:g} s"
        self._voice.say(f"stopping {how}, asked for by {asked_by}")
        self._notify.stopping()
        self._waiting.all_end(reloads.STOPPING, "it is stopping; nothing was reloaded")
        self._back.all_end(reloads.STOPPING, "it is stopping")
        self._recycling.all_end(reloads.STOPPING, "it is stopping; the others were not recycled")
        self._renewal.stop()

    def _scale(self, workers: int) -> str:
        before = self._core.workers
        most = self._core.roster.rows // 4
        self._core.scale(min(workers, most))
        text = f"{plural(self._core.workers, 'worker')} wanted, {before} before"
        if self._core.workers != workers:
            text += f" (the {'most' if workers > most else 'least'} there can be)"
        self._voice.say(f"scaled: {text}")
        return text

    def _recycle(self, client: Client, slot: int) -> None:
        if self._core.stopping:
            self._control.answer(client, m.Answer(reloads.STOPPING, "it is stopping"))
            return
        found = self._core.recycle(None if slot < 0 else slot)
        if found:
            text = f"recycling {plural(len(found), 'worker')}, one after the other"
            self._voice.say(f"{text}, asked for by leeward recycle")
            self._recycling.add(client, found)
        else:
            where = "" if slot < 0 else f" in slot {slot}"
            text = f"no worker serves{where}: nothing to recycle\nleeward ps shows the slots"
            self._control.answer(client, m.Answer(reloads.REFUSED, text))

    def _on_request(self, client: Client, message: m.Message) -> None:
        match message:
            case m.PsRequest():
                data = self._view().ps(self._posix.monotonic())
                self._control.answer(client, m.Answer(0, "", data))
            case m.ReloadRequest(wait, tls=True):
                self._renewal.ask(client, wait, self._core, self._config)
            case m.ReloadRequest(wait):
                self._reload(client if wait else None, "leeward reload")
                if not wait and not client.answered:
                    self._control.answer(client, m.Answer(0, "reload asked for"))
            case m.StopRequest(now, delay):
                self._control.answer(client, m.Answer(0, "stopping"))
                delay = self._config.drain_delay if delay < 0 else delay
                self._stop("leeward stop", self._config.graceful_timeout, now, delay)
            case m.ScaleRequest(to, by):
                text = self._scale(to if to >= 0 else self._core.workers + by)
                self._control.answer(client, m.Answer(0, text))
            case m.RollbackRequest():
                self._rollback(client)
            case m.RecycleRequest(slot):
                self._recycle(client, slot)
            case m.ModulesRequest():
                data = json.dumps(sorted(sys.modules))
                self._control.answer(client, m.Answer(0, "", data))
            case _:
                text = f"{type(message).__name__} is no request"
                self._control.answer(client, m.Answer(reloads.REFUSED, text))

    # --- telling -------------------------------------------------------------------------

    def _view(self) -> View:
        return View(
            core=self._core,
            config=self._config,
            listeners=self._handover.listeners,
            control_path=self._handover.control_path,
            version=__version__,
            pid=self._posix.getpid(),
            page=self._page,
            started=self._started,
            facts=self._processes.facts,
            ends=self._processes.ends,
            went_back=self._went_back,
            withdrawn=self._processes.withdrawn,
        )

    def _banner(self, now: float) -> None:
        """Once: when all workers are ready, or when those behind the first take long."""
        if self._banner_by is None or self._core.stopping:
            return
        view = self._view()
        if view.ready_workers() >= self._core.workers or now >= self._banner_by:
            self._banner_by = None
            self._voice.banner(view.banner(now))

    def _end(self, end: c.Exit) -> int:
        """Nothing is left of the instance when this returns."""
        if end.code:
            target = self._config.target
            why = self._processes.explained(end.why)
            self._voice.fail(f"{target} {why}\nTry it alone: leeward check {target}")
            self._notify.status(f"failed: {end.why.splitlines()[0]}")
        else:
            self._voice.say("stopped")
        self._waiting.all_end(reloads.STOPPING, "it has stopped")
        self._control.close()
        paths = [self._handover.control_path, *(it.path for it in self._handover.listeners)]
        for path in filter(None, paths):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self._loop.close()
        self._watching.close()
        self._page.close()
        return end.code
