"""Healthy clients, each in a thread: nothing that others do may disturb them.

One asks by keep-alive, one chats by WebSocket, one listens at a WebSocket that says nothing
and answers its pings, one waits for the answer of a long-poll.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from process.clients import Gate, Http, WebSocket

#: Between two questions of one canary, in seconds.
PACE = 0.1


class Chatter(WebSocket):
    """Answers pings, as browsers do."""

    pings = 0

    def hear(self) -> str:
        while True:
            opcode, payload = self._frame()
            if opcode == 9:
                self.pings += 1
                self._send(10, payload)
                continue
            assert opcode == 1, (opcode, payload)
            return payload.decode()


class Canaries:
    """`answers`: of each kind; `errors`: what disturbed one, in words."""

    def __init__(
        self, http: Callable[[], Http], chatter: Callable[[], Chatter], gate: Gate, pinged: float
    ) -> None:
        """pinged:  seconds in which the silent one must be pinged, or more."""
        self.errors: list[str] = []
        self.answers = {"keep-alive": 0, "chat": 0, "pings": 0}
        self._over = threading.Event()
        self._asker, self._poller, self._chatter, self._listener = (
            http(),
            http(),
            chatter(),
            chatter(),
        )
        self._listener.hear()
        self._chatter.hear()
        self._listener.sock.settimeout(pinged)
        self._held = gate.hold(self._poller)
        self._threads = [
            threading.Thread(target=self._run, args=(it,), daemon=True)
            for it in (self._ask, self._chat, self._listen)
        ]

    def __enter__(self) -> Canaries:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        try:
            for thread in self._threads:
                thread.join(self._listener.sock.gettimeout())
            if kind is None:
                assert not self.errors, self.errors
                assert all(self.answers.values()), self.answers
                assert not any(thread.is_alive() for thread in self._threads), "one hangs"
                # Its answer comes now, on the connection that it asked by.
                self._held.release()
                assert self._poller.answer().status == 200
        finally:
            for it in (self._asker, self._poller, self._chatter, self._listener):
                it.close()

    def _run(self, work: Callable[[], Any]) -> None:
        try:
            while not self._over.wait(PACE):
                work()
        except Exception as error:
            self.errors.append(f"{work.__name__}: {type(error).__name__}: {error}")

    def _ask(self) -> None:
        answer = self._asker.get()
        assert answer.status == 200 and not answer.announces_close, answer
        self.answers["keep-alive"] += 1

    def _chat(self) -> None:
        text = str(self.answers["chat"])
        self._chatter.say(text)
        assert self._chatter.hear() == text
        self.answers["chat"] += 1

    def _listen(self) -> None:
        opcode, payload = self._listener._frame()
        assert opcode == 9, (opcode, payload)
        self._listener._send(10, payload)
        self.answers["pings"] += 1
