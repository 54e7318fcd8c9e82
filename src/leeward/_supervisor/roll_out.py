"""`leeward reload` and SIGHUP: from the request to the news that a generation serves.

    ask ─ Resolve ─ resolver ─ offer ─ (canary, slot by slot) ─ Served ─ the news, the answers
                       └─ refused             └─ RolledBack ─ the answers

The resolver's process and the waiting clients are those of `leeward._supervisor.reloads`.
"""

from __future__ import annotations

from collections.abc import Callable

from leeward._core.config import Config
from leeward._core.messages import Answer, Resolved
from leeward._supervisor import certificates, reloads
from leeward._supervisor.control import Client
from leeward._supervisor.going_back import GoingBack
from leeward._supervisor.parts import Parts
from leeward._supervisor.reloads import Resolver, Waiting
from leeward._supervisor.renewal import Renewal, Start
from leeward._supervisor.report import Facts, plural
from leeward._supervisor.tuning import limits


class RollOut:
    """One at a time.

    waiting:  the clients of `leeward reload`.
    status:   one line for the service manager.
    """

    def __init__(
        self,
        parts: Parts,
        config: Config,
        waiting: Waiting,
        renewal: Renewal,
        going_back: GoingBack,
        start_resolver: Start,
        status: Callable[[], str],
    ) -> None:
        self._config = config
        self._parts = parts
        self._waiting = waiting
        self._renewal = renewal
        self._going_back = going_back
        self._start_resolver = start_resolver
        self._status = status
        self._resolver: Resolver | None = None
        self._resolving_since = 0.0
        self._news: reloads.News | None = None

    @property
    def config(self) -> Config:
        """Of the generation that serves, or of the first one, as it is in force."""
        return self._parts.processes.configs.in_force(self._config)

    def next_deadline(self) -> float | None:
        return None if self._news is None else self._news.by

    def tick(self, now: float, complete: bool) -> None:
        """complete:  is a worker ready in every slot?"""
        if self._news is not None and self._news.due(
            self._parts.processes.accepting, complete, now
        ):
            self.tell_news()

    # --- the request -------------------------------------------------------------------------

    def ask(self, client: Client | None, asked_by: str) -> None:
        core, control = self._parts.core, self._parts.control
        if self._parts.stops:
            if client is not None:
                control.answer(client, Answer(reloads.STOPPING, "it is stopping"))
            return
        if client is not None:
            self._waiting.add(client)
        first = core.reload()
        merged = "" if first else "; one is under way, one more follows for all who ask meanwhile"
        self._parts.voice.say(f"reload asked for by {asked_by}{merged}")

    def resolve(self) -> None:
        self._waiting.begins()
        self._resolving_since = self._parts.monotonic()
        self._parts.notify.reloading(self._resolving_since)
        try:
            self._resolver = self._start_resolver(
                self.config, self._settings, self._no_settings, True
            )
        except OSError as error:
            self._no_settings(f"the settings' resolver could not be started: {error}")

    def stop_resolving(self, why: str) -> None:
        if self._resolver is not None:
            self._resolver.stop()
            self._resolver = None
        if not self._parts.core.stopping:
            self._refuse(why)

    # --- its settings ------------------------------------------------------------------------

    def offer(self, config: Config, tls: tuple[int, ...]) -> None:
        """Roll `config` out, as a new generation."""
        processes = self._parts.processes
        number = self._parts.core.offer(
            limits=limits(processes.configs.in_force(config)),
            start=config.start,
            may_change_mode=config.start_fallback == "allow",
            workers=config.workers,
        )
        processes.configs[number] = config
        processes.certificates.keep(number, tls)
        processes.facts[number] = Facts()

    def _settings(self, config: Config, resolved: Resolved) -> None:
        self._resolver = None
        tls = tuple(map(int, resolved.tls))
        core = self._parts.core
        if core.stopping or core.resolving is None:  # given up while the answer was on its way
            certificates.close(tls)
        else:
            for warning in resolved.warnings:
                self._parts.voice.say(warning, "warning")
                self._waiting.progress(warning)
            if tls and self._renewal.since > self._resolving_since:
                # What this resolver has read is older than what everybody shows by now.
                tls = self._parts.processes.certificates.instead(tls, core.serving or 0)
            self._waiting.progress("settings resolved, loading the new code")
            self.offer(config, tls)

    def _no_settings(self, text: str) -> None:
        self._resolver = None
        self._parts.core.unresolved()
        self._refuse(text)

    def _refuse(self, text: str) -> None:
        self._parts.voice.say(f"reload refused: {text}", "error")
        self._parts.notify.ready(self._status())
        self._waiting.ends(reloads.REFUSED, text)

    # --- its end -----------------------------------------------------------------------------

    def served(self, generation: int) -> None:
        core, processes = self._parts.core, self._parts.processes
        self._config = processes.configs.resolved(generation)
        self._parts.voice.tune(processes.configs.in_force(self._config).log_level)
        self.tell_news()  # of a generation before this one, should it still wait
        more, clients = self._going_back.served(generation)
        self._news = reloads.News(
            f"generation {generation} serves with {plural(core.workers, 'worker')}{more}",
            {it.id for it in core.roster.of("worker") if it.generation != generation},
            self._parts.monotonic() + reloads.NEWS_PATIENCE,
            self._waiting.take() + clients,
        )

    def tell_news(self) -> None:
        news, self._news = self._news, None
        if news is not None:
            self._parts.voice.say(news.text)
            core = self._parts.core
            if core.resolving is None and core.candidate is None:  # else the next one says so
                self._parts.notify.ready(self._status())
            self._waiting.answer(news.clients, reloads.SERVES, news.text)

    def rolled_back(self, generation: int, why: str) -> None:
        serving = self._parts.core.serving
        text = f"generation {generation} {self._parts.processes.explained(why)}"
        self._parts.voice.say(f"{text}\ngeneration {serving} serves on", "error")
        self._parts.notify.ready(self._status())
        self._waiting.ends(
            reloads.FAILED, f"{text}\nNothing has changed: generation {serving} serves on."
        )
        self._going_back.rolled_back(generation, text)
