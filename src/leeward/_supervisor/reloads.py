"""A reload from the asker's side: the resolver's process, and who waits for the outcome.

The settings are resolved again by a fresh interpreter that runs the command
line's own code with the command line as it was typed (`Config.argv`), so HUP
and `leeward reload` read flags, files and environment files the same way as
`serve` did.  The supervisor itself can neither parse TOML nor wants to.
"""

from __future__ import annotations

from collections.abc import Callable

from leeward._core.config import Config, changed_keys
from leeward._core.messages import Answer, BadMessage, Resolved, Unresolved
from leeward._core.record import Struct, replace
from leeward._supervisor import certificates
from leeward._supervisor.children import Children
from leeward._supervisor.control import Client, Control
from leeward._supervisor.loop import Loop
from leeward._sys.channel import discard
from leeward.errors import ChannelClosed

#: Exit codes of `leeward reload` (docs/reference/exit-codes.md).
SERVES, REFUSED, FAILED, STOPPING = 0, 2, 3, 1


class Resolver:
    """One run of the settings' resolver.

    whole:  False if it is not all of them that will be applied.

    `on_settings(config, resolved)` or `on_failure(text)` is called once; never after `stop`.
    """

    def __init__(
        self,
        children: Children,
        loop: Loop,
        config: Config,
        on_settings: Callable[[Config, Resolved], None],
        on_failure: Callable[[str], None],
        whole: bool = True,
    ) -> None:
        self._children = children
        self._loop = loop
        self._config = config
        self._on_settings = on_settings
        self._on_failure = on_failure
        self._whole = whole
        self.pid, self._channel = children.start_resolver(config)
        loop.watch(self._channel.fileno(), self._receive)

    def stop(self) -> None:
        self._children.kill_group(self.pid)
        self._close()

    def _receive(self, events: int) -> None:
        try:
            messages = self._channel.receive()
        except (ChannelClosed, BadMessage) as error:
            self._close()
            self._on_failure(f"the settings could not be resolved: the resolver ended ({error})")
            return
        if not messages:
            return
        self._close()
        message, *more = messages
        discard(more)
        if isinstance(message, Resolved):
            self._judge(message)
        elif isinstance(message, Unresolved):
            self._on_failure(message.text)
        else:
            discard([message])

    def _judge(self, resolved: Resolved) -> None:
        try:
            new = Config.from_json(resolved.config)
        except (TypeError, ValueError) as error:
            certificates.close(tuple(map(int, resolved.tls)))
            self._on_failure(
                f"another version of leeward is installed in {self._config.root} ({error}); "
                "nothing was applied.\nRestart: leeward stop, then leeward serve"
            )
            return
        changed = changed_keys(self._config, new) if self._whole else ()
        if not changed:
            whole = new if new.workers else replace(new, workers=self._config.workers)
            self._on_settings(whole, resolved)
            return
        certificates.close(tuple(map(int, resolved.tls)))
        key = changed[0]
        old_value, new_value = getattr(self._config, key), getattr(new, key)
        self._on_failure(
            f"{', '.join(changed)} cannot change while running "
            f"({key}: {_shown(old_value)} -> {_shown(new_value)}); nothing was applied.\n"
            "Change it back, or restart: leeward stop, then leeward serve"
        )

    def _close(self) -> None:
        self._loop.unwatch(self._channel.fileno())
        self._channel.close()


#: Seconds that the news of a new generation waits for old workers to stop
#: accepting and for slots that the new settings add.  The former need a
#: millisecond; one whose loop is blocked, or which spawns, takes longer.
NEWS_PATIENCE = 2.0


class News(Struct):
    """A generation that serves, to be told once it serves alone and in every slot.

    Said at once it was too early: `leeward reload && curl` could still reach the
    old code, for the millisecond that a worker needs to hear that it is to drain.
    """

    text: str
    old: set[int]
    by: float
    clients: list[Client]

    def due(self, accepting: set[int], complete: bool, now: float) -> bool:
        return now >= self.by or (complete and not self.old & accepting)


class Waiting:
    """The clients that wait for the outcome of a reload.

    Who asks while one is under way waits for the one after it: only that one
    surely sees what the asker has deployed.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._for_this: list[Client] = []
        self._for_next: list[Client] = []

    def add(self, client: Client) -> None:
        self._for_next.append(client)

    def begins(self) -> None:
        self._for_this, self._for_next = self._for_this + self._for_next, []

    def progress(self, text: str) -> None:
        for client in self._for_this:
            self._control.progress(client, text)

    def take(self) -> list[Client]:
        """Who waits for the reload that has just come to its end; the caller answers them."""
        clients, self._for_this = self._for_this, []
        return clients

    def ends(self, code: int, text: str) -> None:
        self.answer(self.take(), code, text)

    def answer(self, clients: list[Client], code: int, text: str) -> None:
        for client in clients:
            self._control.answer(client, Answer(code, text))

    def all_end(self, code: int, text: str) -> None:
        self.begins()
        self.ends(code, text)


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value) or "none"
