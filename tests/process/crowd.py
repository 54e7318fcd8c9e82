"""Clients that never stop asking, and forgive nothing.

`Crowd` is keep-alive clients and clients with a new connection for each request,
each a thread with a blocking socket: whatever the kernel or the server does to a
connection is seen as it is.  A keep-alive client opens another connection only
when an answer has announced the end of this one.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any

from process.clients import Address, Http
from process.support import PATIENCE

#: Between two requests of one client: real clients pause, and two cores have to
#: run the service as well.  Three hundred a second from a crowd of five.
PACE = 0.015
#: The same where all that serves is to go on serving, and no worker hands over to another:
#: what fails there is not over within milliseconds.  Eighty a second, for a sixth of a core less.
CALM = 0.06


class Crowd:
    """Asks `address` from the `with` block's beginning to its end.

    pace:     seconds between two requests of each client.
    errors:   every request that was not answered by 200, in words.
    seen:     how often each release answered.
    slowest:  the longest time from asking to the whole answer, in seconds.
    """

    def __init__(
        self, address: Address, keepers: int = 3, comers: int = 2, pace: float = PACE
    ) -> None:
        self.errors: list[str] = []
        self.seen: Counter[str] = Counter()
        self.slowest = 0.0
        self._address = address
        self._pace = pace
        self._over = threading.Event()
        self._news = threading.Condition()
        self._rounds = [0] * (keepers + comers)
        self._threads = [
            threading.Thread(target=self._ask, args=(number, number < keepers), daemon=True)
            for number in range(keepers + comers)
        ]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self.all_answered()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        if kind is None:
            assert not any(thread.is_alive() for thread in self._threads), "a client hangs"
            assert not self.errors, self.errors[:20]

    def answered_anew(self) -> Crowd:
        """The same; `seen` are then answers to questions from behind this call alone."""
        # A client that has its answer may not have counted it yet.
        self.all_answered()
        self.seen.clear()
        return self.all_answered()

    def all_answered(self) -> Crowd:
        """Returns once each client has been answered a question that it asks from now on.

        Raises AssertionError when one is not, or when any request has failed.
        """
        with self._news:
            # The answer that comes next may have been asked for before.
            wanted = [rounds + 2 for rounds in self._rounds]
            self._news.wait_for(
                lambda: self.errors or all(map(int.__ge__, self._rounds, wanted)), PATIENCE
            )
            assert not self.errors, self.errors[:20]
            behind = [i for i, rounds in enumerate(self._rounds) if rounds < wanted[i]]
            assert not behind, f"clients {behind} are not answered"
        return self

    @property
    def answers(self) -> int:
        return sum(self._rounds)

    def _ask(self, number: int, keeps: bool) -> None:
        client: Http | None = None
        while not self._over.wait(self._pace):
            asked = time.monotonic()
            try:
                if client is None:
                    client = Http(self._address)
                answer = client.get("/", *([] if keeps else ["Connection: close"]))
                assert answer.status == 200, answer
                release = answer.json["release"]
            except Exception as error:
                what = "keep-alive" if keeps else "new connection"
                self._tell(number, f"{what}: {type(error).__name__}: {error}")
                return
            if answer.announces_close:
                client.close()
                client = None
            self._tell(number, "", release, time.monotonic() - asked)
        if client is not None:
            client.close()

    def _tell(self, number: int, error: str, release: Any = "", took: float = 0.0) -> None:
        with self._news:
            if error:
                self.errors.append(error)
            else:
                self._rounds[number] += 1
                self.seen[release] += 1
                self.slowest = max(self.slowest, took)
            self._news.notify_all()
