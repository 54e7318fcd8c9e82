"""`leeward reload --tls`: the certificate is read anew and told to every process.

    ask ─ resolver ─ Renew to each zygote and worker ─ Renewed from each ─ answer

Nothing else changes: no generation, no drain.  The resolver is that of a reload, so
files are found, read and checked in one way only.  Whoever asks meanwhile waits for
the renewal after this one, which surely sees the file that the asker has put there.
"""

from __future__ import annotations

from collections.abc import Callable

from leeward._core.config import Config
from leeward._core.messages import Answer, Resolved
from leeward._core.supervisor import RESOLVE_TIMEOUT, Supervisor
from leeward._supervisor import certificates, reloads
from leeward._supervisor.control import Client, Control
from leeward._supervisor.processes import Processes
from leeward._supervisor.report import plural
from leeward._supervisor.say import Voice

#: Seconds for a process to say that it shows the new certificate: one turn of its loop.
_TOLD_TIMEOUT = 5.0

#: `reloads.Resolver`, but for its first two arguments.
Start = Callable[
    [Config, Callable[[Config, Resolved], None], Callable[[str], None], bool], reloads.Resolver
]


class Renewal:
    """One at a time.  `since`: when the resolver of the last one that worked was started."""

    def __init__(
        self,
        processes: Processes,
        control: Control,
        voice: Voice,
        monotonic: Callable[[], float],
        start: Start,
    ) -> None:
        self.since = float("-inf")
        self._processes = processes
        self._control = control
        self._voice = voice
        self._monotonic = monotonic
        self._start = start
        self._waiting = reloads.Waiting(control)
        self._resolver: reloads.Resolver | None = None
        self._deadline: float | None = None
        self._started = 0.0
        self._again = False
        self._config: Config
        self._about = ""
        #: Processes whose word is awaited, and what those said that could not.
        self._open: set[int] = set()
        self._told = 0
        self._troubles: list[str] = []
        processes.on_renewed = self._renewed

    def ask(self, client: Client, wait: bool, core: Supervisor, config: Config) -> None:
        refused = ""
        if core.stopping or core.serving is None:
            refused = "it is stopping" if core.stopping else "it does not serve yet"
        elif not config.ssl_certfile:
            refused = "this instance serves without TLS\nleeward serve --ssl-certfile FILE"
        if refused or not wait:
            code = reloads.REFUSED if refused else reloads.SERVES
            self._control.answer(client, Answer(code, refused or "renewal asked for"))
        if refused:
            return
        if wait:
            self._waiting.add(client)
        self._config = config
        self._again = True
        if self._deadline is None:
            self._begin()

    def next_deadline(self) -> float | None:
        return self._deadline

    def tick(self, now: float) -> None:
        """After each turn: has somebody died whose word was awaited, or has it taken too long?"""
        if self._deadline is None:
            return
        if self._resolver is not None:
            if now >= self._deadline:
                self._resolver.stop()
                self._refuse("the settings could not be resolved in time")
            return
        self._open = {it for it in self._open if self._processes.may_answer(it)}
        if self._open and now >= self._deadline:
            self._troubles += [
                f"{self._processes.called(it)} has not answered within {_TOLD_TIMEOUT:g} s; "
                "it shows the new one when its loop turns again"
                for it in sorted(self._open)
            ]
            self._open.clear()
        if not self._open:
            self._finish()

    def stop(self) -> None:
        """The instance ends: nothing more is renewed."""
        if self._resolver is not None:
            self._resolver.stop()
            self._resolver = None
        self._again, self._deadline = False, None
        self._waiting.all_end(reloads.STOPPING, "it is stopping")

    def _begin(self) -> None:
        self._again = False
        self._waiting.begins()
        self._started = self._monotonic()
        self._deadline = self._started + RESOLVE_TIMEOUT
        try:
            self._resolver = self._start(self._config, self._read, self._refuse, False)
        except OSError as error:
            self._refuse(f"the settings' resolver could not be started: {error}")

    def _read(self, config: Config, resolved: Resolved) -> None:
        self._resolver = None
        fds = tuple(map(int, resolved.tls))
        if not self._processes.fits(fds):
            certificates.close(fds)
            self._refuse(
                "--ssl-ca-certs or --ssl-certfile came or went: CAs take leeward reload, "
                "TLS itself takes leeward stop and leeward serve"
            )
            return
        self.since = self._started
        self._about = resolved.certificate
        for warning in resolved.warnings:
            self._voice.say(warning, "warning")
            self._waiting.progress(warning)
        self._open = self._processes.renew(fds)
        self._told = len(self._open)
        self._troubles = []
        self._deadline = self._monotonic() + _TOLD_TIMEOUT

    def _renewed(self, process: int, error: str) -> None:
        if process in self._open:
            self._open.discard(process)
            if error:
                called = self._processes.called(process)
                self._troubles.append(f"{called} keeps the old one: {error}")

    def _finish(self) -> None:
        if self._troubles:
            first = f"certificate renewed, but not everywhere: {self._about}"
            self._end(reloads.FAILED, "\n".join([first, *self._troubles[:5]]), "error")
        else:
            workers = plural(self._told, "worker")
            self._end(reloads.SERVES, f"certificate renewed in {workers}: {self._about}", "info")

    def _refuse(self, text: str) -> None:
        self._resolver = None
        self._end(reloads.REFUSED, f"certificate not renewed, the old one stays: {text}", "error")

    def _end(self, code: int, text: str, level: str) -> None:
        self._deadline = None
        self._voice.say(text, level)
        self._waiting.ends(code, text)
        if self._again:
            self._begin()
