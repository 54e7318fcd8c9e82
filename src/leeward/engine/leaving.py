"""Clients that leave before they have their answer, and what becomes of their handlers.

Told by the connections of a worker, whichever server they belong to.  `leeward._core.leaving`
decides, `leeward.engine.interrupt` ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from tornado.web import RequestHandler

from leeward._core import leaving as decisions
from leeward.disconnect import mark_of
from leeward.engine import onward, unanswered, unclosed, waits
from leeward.engine.interrupt import interrupt
from leeward.engine.orphans import Orphan, behind_answers, handlers_at_work
from leeward.engine.taking import end_prepare, taking_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from leeward._core.config import Config

#: A handler and what runs it, where that is known.
Working = tuple[RequestHandler, asyncio.Future[Any] | None]

#: Seconds that a handler has to end by itself once it was told.
_TOLD = 0.01
#: More than a WebSocket's handler has, for `on_close` to come by itself.
_CLOSES = 0.05
#: Log lines at most so often, and executors' work is looked at as often, in seconds.
_SAY = 1.0

_log = logging.getLogger("leeward")


class Leaving:
    """All of a worker's handlers whose client has left.

    closed:  called after the end of each of them.
    tells:   called with a word of the shared page, and its new value.

    Made and used on the thread of the running loop.
    """

    def __init__(
        self, config: Config, closed: Callable[[], None], tells: Callable[[str, int], None]
    ) -> None:
        self._policy, self._after = config.on_disconnect, config.abandon_after
        self._closed = closed
        self._tells = tells
        self._hurried = False
        self._loop = asyncio.get_running_loop()
        self._told: list[Working] = []
        self._orphans: dict[asyncio.Future[Any], Orphan] = {}
        self._threads: list[Orphan] = []
        self._timer: asyncio.TimerHandle | None = None
        self._due = float("inf")
        self._ended: Counter[str] = Counter()
        self._saying = False
        #: Handlers that were ended, that would not end, and executors' work that could not.
        self.ended = self.stubborn = self.in_threads = 0
        waits.install()
        onward.install()

    # --- what is told ----------------------------------------------------------------------------

    def left(self, handler: RequestHandler, task: asyncio.Future[Any] | None = None) -> None:
        """The client of `handler` has left, or was cut, and has no whole answer.

        task:  what runs the handler, where that is known.
        """
        if not self._told:
            self._loop.call_later(_TOLD, self._take_in)
        self._told.append((handler, task))

    def end(self, working: list[Working]) -> None:
        """End these at once, whatever the policy: the worker leaves."""
        self._interrupt([it for it in self._adopt(working) if not it.tries])

    def end_all(self) -> None:
        """End all whose client has left, also those that were to run to their end: left to the
        end of the process, Tornado since 6.6 answers and logs them by 500."""
        told, self._told = self._told, []
        self._adopt(told)
        self._interrupt([it for it in self._orphans.values() if not it.tries])

    def hurry(self) -> None:
        """The worker is to leave: who would be ended later is ended now."""
        self._hurried = True
        for orphan in self._orphans.values():
            if orphan.due < float("inf"):
                orphan.due = 0.0
        self._look()

    def tune(self, config: Config) -> None:
        """Another policy, for those whose client has left already too."""
        if (self._policy, self._after) == (config.on_disconnect, config.abandon_after):
            return
        self._policy, self._after = config.on_disconnect, config.abandon_after
        for orphan in self._orphans.values():
            if not orphan.tries:
                self._give_time(orphan)
        self._look()

    def _give_time(self, orphan: Orphan) -> None:
        handler = orphan.handler
        is_open = unclosed.is_open(handler)
        mark = (is_open and mark_of(handler, "on_message")) or mark_of(handler, orphan.method)
        wait = decisions.patience(self._policy, orphan.method, mark, self._after)
        if wait is None:
            orphan.due = float("inf")
        else:
            orphan.due = 0.0 if self._hurried else orphan.since + wait
        if is_open:
            # As a rule Tornado calls it, when what hangs has been ended.
            ends = self._after if wait is None and not self._hurried else wait or 0.0
            orphan.closes = orphan.since + ends + _CLOSES

    # --- what is asked ---------------------------------------------------------------------------

    def orphans(self) -> list[dict[str, Any]]:
        """Handlers that work for nobody, the oldest first; `age` in seconds."""
        now = self._loop.time()
        return [it.told(now) for it in self.every()]

    def every(self) -> list[Orphan]:
        """The same, as they are."""
        self._look_at_threads()
        return sorted((*self._orphans.values(), *self._threads), key=lambda it: it.since)

    def unfinished(self) -> int:
        """How many of them are to run to their end, or were told to end a moment ago; and how
        many have answered, and work on."""
        behind = sum(1 for task in behind_answers(self._loop) if task not in self._orphans)
        if self._policy == decisions.NOTIFY:
            # Nothing is expected of the others: a long-poll may wait for ever.
            return behind + sum(1 for it in self._orphans.values() if it.tries)
        return behind + len(self._told) + len(self._orphans)

    # --- what is done ----------------------------------------------------------------------------

    def _take_in(self) -> None:
        told, self._told = self._told, []
        for orphan in self._adopt(told):
            self._give_time(orphan)
        self._look()
        if not self._orphans:
            self._closed()  # a drain waits for those that were told

    def _adopt(self, working: list[Working]) -> list[Orphan]:
        """Those of `working` that do."""
        unknown = [handler for handler, task in working if task is None and unclosed.works(handler)]
        found = handlers_at_work(unknown) if unknown else {}
        orphans = []
        for handler, known in working:
            task = known if known is not None else found.get(id(handler))
            if task is None or task.done() or not unclosed.works(handler):
                continue
            orphan = self._orphans.get(task)
            if orphan is None:
                orphan = self._orphans[task] = Orphan(handler, task, self._loop.time())
                task.add_done_callback(self._is_over)
            orphans.append(orphan)
        return orphans

    def _look(self) -> None:
        """End what has had its time; come back for the next."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, float("inf")
        now = self._loop.time()
        ready = [it for it in self._orphans.values() if min(it.due, it.closes) <= now]
        for orphan in ready:
            if self._works_on(orphan, now):
                self._give_time(orphan)
        self._interrupt([it for it in ready if it.due <= now])
        for orphan in list(self._orphans.values()):
            if orphan.closes <= now:
                orphan.closes = float("inf")
                unclosed.close(orphan.handler)
            self._due = min(self._due, orphan.due, orphan.closes)
        if self._due < float("inf"):
            # 0.05: what is due at almost the same time is ended together.
            self._timer = self._loop.call_at(max(self._due, now + 0.05), self._look)

    def _works_on(self, orphan: Orphan, now: float) -> bool:
        """Has it taken frames meanwhile that had come before its client left?"""
        before, orphan.read = orphan.read, unclosed.read(orphan.handler)
        if orphan.read <= before or orphan.tries or self._hurried:
            return False
        orphan.since = now
        return True

    def _interrupt(self, orphans: list[Orphan]) -> None:
        found = unclosed.messages([it.handler for it in orphans])
        for orphan in orphans:
            self._end(orphan, found.get(id(orphan.handler), orphan.task))

    def _end(self, orphan: Orphan, work: asyncio.Future[Any]) -> None:
        """work:  what it waits in: itself, or the `on_message` that it waits for.

        Amid an upload it is the `data_received` that is ended: the handler waits for its body,
        and would be over while a piece of it is being written.
        """
        orphan.tries += 1
        wait = decisions.again(orphan.tries, self._after)
        if wait is None:
            orphan.due = float("inf")
            self.stubborn += 1
            self._tells("stubborn", self.stubborn)
        else:
            orphan.due = self._loop.time() + wait
        unanswered.prepare(orphan.handler)
        unclosed.hush(orphan.handler)
        unanswered.unlog(orphan.task)
        taking = taking_of(orphan.handler)
        try:
            if taking is not None:
                taking.end(orphan.threads)
            else:
                interrupt(work, orphan.threads)
        except Exception:
            _log.exception("%s cannot be ended", orphan.name)

    def _is_over(self, task: asyncio.Future[Any]) -> None:
        orphan = self._orphans.pop(task, None)
        if orphan is None:
            return
        unclosed.close(orphan.handler)  # Tornado before 6.5 forgets it when it is cancelled
        if orphan.tries:
            end_prepare(orphan.handler)
            unanswered.close_books(orphan.handler)
            self.ended += 1
            self._ended[orphan.name] += 1
            if not self._saying:
                self._saying = True
                self._loop.call_later(_SAY / 10, self._say)
        if any(not it.done() for it in orphan.threads):
            self.in_threads += 1
            self._tells("in_threads", self.in_threads)
            self._threads.append(orphan)
            if len(self._threads) == 1:
                self._loop.call_later(_SAY, self._look_at_threads, True)
        self._closed()

    def _look_at_threads(self, again: bool = False) -> None:
        self._threads = [it for it in self._threads if any(not by.done() for by in it.threads)]
        if again and self._threads:
            self._loop.call_later(_SAY, self._look_at_threads, True)

    def _say(self) -> None:
        """One line for all that was ended since the last."""
        ended, self._ended = self._ended, Counter()
        if not ended:
            self._saying = False
            return
        names = ", ".join(f"{name} {count}" for name, count in ended.most_common(5))
        more = "" if len(ended) <= 5 else f" and {len(ended) - 5} more"
        left = len(self._orphans) + len(self._threads)
        runs_on = f"; {left} work on for nobody" if left else ""
        what = "1 handler" if ended.total() == 1 else f"{ended.total()} handlers"
        _log.info("clients left: ended %s (%s%s)%s", what, names, more, runs_on)
        self._loop.call_later(_SAY, self._say)
