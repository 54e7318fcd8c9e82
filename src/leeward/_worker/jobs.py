"""A worker's part in the instance's periodic jobs (`leeward.on_one_worker`).

Each worker sleeps until a job is due, the later the higher its rank, looks whether somebody
has run it meanwhile, and runs it under the job's lock if not.  Who drains begins no run, and
finishes the one that is going on as it finishes requests: the next worker runs the next one.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import time
from typing import TYPE_CHECKING

from leeward._core.jobs import PATIENCE, Candidate, caught_up, due, rank
from leeward._sys.page import ACCEPTS, BUSY_SINCE, GENERATION, OUT, SLOT
from leeward._sys.schedule import MOST, Entry, Full, entry
from leeward._worker.ending import ending
from leeward.adapters import blame

if TYPE_CHECKING:
    from collections.abc import Callable

    from leeward._sys.page import Page
    from leeward._worker.logs import Log
    from leeward.jobs import Job


class Jobs:
    """row:  the number of our own."""

    def __init__(self, page: Page, row: int, log: Log) -> None:
        self._page = page
        self._row = row
        self._log = log
        self._tasks: list[asyncio.Task[None]] = []
        self._runs: set[asyncio.Future[None]] = set()

    def begin(self) -> None:
        """From now on.  Does nothing where the application declares no job."""
        jobs = sys.modules.get("leeward.jobs")
        for job in [] if jobs is None else jobs.DECLARED.values():
            try:
                where = entry(self._page, job.key)
            except Full:
                self._log.say("error", f"job {job} does not run: an instance has at most {MOST}")
                continue
            self._tasks.append(asyncio.ensure_future(self._keep_running(job, where)))

    def after_runs(self, seconds: float, done: Callable[[], None]) -> None:
        """Call `done` when no job runs here any more, at most `seconds` from now."""
        if not self._runs:
            done()
            return

        async def wait() -> None:
            await asyncio.wait(self._runs, timeout=seconds)
            done()

        self._tasks.append(asyncio.ensure_future(wait()))

    async def _keep_running(self, job: Job, where: Entry) -> None:
        first = time.monotonic()
        # The first run is counted from the first worker that looks: where workers are replaced
        # more often than `every`, none of them would live to see it.
        if where.lock():  # whoever has it does the same
            where.last = where.last or first
            where.unlock()
        while True:
            mine = self._rank()
            # A worker that leaves looks on: it may be the last one for a while.
            at = due(where.last, job.every, first) + PATIENCE * (mine or 0)
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            now = time.monotonic()
            mine = self._rank()
            if mine is None:
                await asyncio.sleep(PATIENCE)
            elif now >= due(where.last, job.every, first) + PATIENCE * mine:
                if where.lock():
                    try:
                        await self._run_if_due(job, where, first)
                    finally:
                        where.unlock()
                else:
                    await asyncio.sleep(min(PATIENCE, job.every))  # a run that takes its time

    async def _run_if_due(self, job: Job, where: Entry, first: float) -> None:
        """With the lock held.  Somebody may have run it between our look and the lock."""
        now, was_due = time.monotonic(), due(where.last, job.every, first)
        if now < was_due:
            return
        if where.by != os.getpid():
            self._log.say("info", f"runs job {job} from now on")
        where.last, where.by = caught_up(was_due, job.every, now), os.getpid()
        run = asyncio.get_running_loop().create_future()
        self._runs.add(run)
        try:
            found = job.function()
            if inspect.isawaitable(found):
                await found
        except (Exception, asyncio.CancelledError) as error:
            # Of something that the job waited for, or the end of this worker?
            if isinstance(error, asyncio.CancelledError) and ending():
                raise
            words = str(blame.tell(error, f"job {job}")).split("\n")
            self._log.say("error", " | ".join(line.strip() for line in words))
        finally:
            self._runs.discard(run)
            run.set_result(None)
        # It may have taken longer than `every`: those that were due meanwhile are missed.
        where.last = caught_up(where.last, job.every, time.monotonic())

    def _rank(self) -> int | None:
        """None: this worker accepts no more, and begins no run."""
        rows = [self._page.row(it).words for it in range(self._page.used)]
        found = {
            number: Candidate(words[SLOT], words[GENERATION], number, words[BUSY_SINCE] / 1e9)
            for number, words in enumerate(rows)
            if words[ACCEPTS] != OUT
        }
        own = found.pop(self._row, None)
        return None if own is None else rank(own, found.values(), time.monotonic())
