"""Who takes the next connection: this worker now, or one that has fewer?

All workers poll the same listeners, so whoever wakes first would take what comes, and
long-lived connections would pile up on the quickest (of 1000 on four workers the largest
has 1.7 times the mean).  So a worker *declines* while another that could take the
connection has clearly fewer: it looks away for `PAUSE` seconds, and again, and then takes
what is still there.  Nobody is waited for longer than that, whatever the others do.

    woken ─► somebody has fewer? ─ no ─► accept
                  │ yes                    ▲
                  ▼            yes         │
               decline ─ twice already? ───┘   whoever did not even wake is *silent*:
                                               waited for no more for a while

What one *has* is its load: connections that are open, and brief ones that ended within the
last half second (as a rate).  Without the latter a worker that has just started, beside
siblings with 250 WebSockets each, would have to serve every short request alone for ever.

"Clearly" follows how fast they come (`_slack`).  One is right for ten sessions that stay
for hours; under a load of brief connections it would cost five sixths of the throughput,
and there nothing piles up.

Things that do not work: EPOLLEXCLUSIVE together with declining (the kernel wakes one, which
declines, and nobody else is told); declining without a bound; SO_REUSEPORT (who hashes to a
blocked worker waits for it: p99 487 ms where the others have 2); believing that an idle
sibling can take anything (a stopped or killed process looks idle).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from leeward._core.record import Record, Struct, field

#: Seconds for which a worker that declines looks away, and how often it may.
PAUSE = 0.002
MOST = 2
#: Seconds in one turn of its loop after which a worker is not waited for: it would not have
#: the connection before our patience is over.
BUSY = 0.005
#: More for those whose turns are told by a timer (`_core.vitals.BEAT`).
BEATS = 0.15
#: Seconds for which a worker that did not wake is not waited for: so many at first, twice as
#: many each time that it still has not.  Not "until it wakes": if we take everything at once,
#: the kernel finds nothing left to wake it for, and it would get nothing for ever.
SILENCE, LONGEST_SILENCE = 0.02, 1.28
#: Seconds of life up to which a connection is a brief one: one request and its answer.
BRIEF = 0.2
#: Seconds over which accepts and brief ends are counted, at least; at most twice as many.
WINDOW = 0.25
#: A difference that is small beside the mean: four workers within it have at most 1.03 times
#: the mean.
PART = 0.03
#: Accepts a second, of all workers, for each connection that one may have more than another.
PER_RATE = 256.0
#: Brief connections a second of one worker that do not count: they come with every few
#: sessions (pages, health checks), whose spread they would disturb.
FEW_BRIEF = 50.0
#: Under a load of brief connections nobody looks at the others for so many seconds (that
#: costs 7 us with four workers, a fifteenth of a connection), if nobody can come to have too
#: many by those that one can take meanwhile.
HASTE = 0.02
IN_HASTE = 100
#: Connections taken unasked when a queue has lasted through many patiences, at most.
RUN = 64


class Standing(NamedTuple):
    """A worker's row of the shared page.

    brief, accepted, woken:  counted since its start; `woken` by a listener.
    busy_since:              seconds, 0.0 while its loop sleeps.
    beats:                   `busy_since` is told by a timer.
    """

    pid: int
    open: int
    brief: int
    accepted: int
    woken: int
    busy_since: float
    beats: bool


class Streak(Struct):
    """What a listener's queue has cost us: until nobody waits in it."""

    declined: int = 0
    rounds: int = 0
    credit: int = 0
    last: float = 0.0
    #: Those that were waited for, and their `woken` when that began.
    deferred: dict[int, int] = field(default_factory=dict)


class _Sample(Struct):
    at: float
    brief: dict[int, int]
    accepted: dict[int, int]


class _Silence(Struct):
    """Of a worker that did not wake while it was waited for."""

    woken: int
    until: float
    lasts: float


class Courtesy(Struct):
    """One worker's memory of the others.

    haste_until:  until then it accepts without asking.
    """

    haste_until: float = 0.0
    _older: _Sample | None = None
    _newer: _Sample | None = None
    _silent: dict[int, _Silence] = field(default_factory=dict)

    def accepts(
        self, streak: Streak, own: Standing, others: Sequence[Standing], now: float
    ) -> bool:
        """Take a connection of this queue now?  False: look away for `PAUSE`, then ask again."""
        fewer = self._fewer(own, others, now) if others else []
        if not fewer:
            _begin_anew(streak)
            return True
        if streak.credit and now - streak.last <= PAUSE:
            streak.credit -= 1
            streak.last = now
            return True
        if streak.declined < MOST:
            streak.declined += 1
            for it in fewer:
                streak.deferred.setdefault(it.pid, it.woken)
            return False
        self._note_silence(streak, fewer, now)
        # Whoever was waited for does not keep up with this queue.  Each time we take twice
        # as many before we look again: a storm must not fall on the one that has just begun.
        streak.credit = min((1 << streak.rounds) - 1, RUN)
        streak.rounds = min(streak.rounds + 1, RUN)
        streak.declined, streak.last = 0, now
        streak.deferred.clear()
        return True

    def nobody_waits(self, streak: Streak, others: Sequence[Standing], now: float) -> None:
        """The queue is empty: somebody has taken what we declined."""
        if streak.declined >= MOST:
            self._note_silence(streak, others, now)
        _begin_anew(streak)

    def _note_silence(self, streak: Streak, others: Iterable[Standing], now: float) -> None:
        for it in others:
            if streak.deferred.get(it.pid) == it.woken:
                before = self._silent.get(it.pid)
                lasts = SILENCE if before is None else min(2 * before.lasts, LONGEST_SILENCE)
                self._silent[it.pid] = _Silence(it.woken, now + lasts, lasts)

    # --- comparing -----------------------------------------------------------------------

    def _fewer(self, own: Standing, others: Sequence[Standing], now: float) -> list[Standing]:
        """Those that have clearly fewer than we, and could take a connection at once."""
        everybody = (own, *others)
        self._remember(everybody, now)
        able = [it for it in others if self._able(it, now)]
        if not able:
            return []
        older = self._older
        assert older is not None
        span = max(now - older.at, WINDOW)
        brief = {
            it.pid: max(0.0, _since(it.brief, it.pid, older.brief) / span - FEW_BRIEF)
            for it in everybody
        }
        accepts = sum(_since(it.accepted, it.pid, older.accepted) for it in everybody) / span
        count = len(able) + 1
        mean_open = (own.open + sum(it.open for it in able)) / count
        all_brief = brief[own.pid] + sum(brief[it.pid] for it in able)
        most = own.open + brief[own.pid] - _slack(mean_open, accepts, all_brief)
        if most < -IN_HASTE:
            self.haste_until = now + HASTE
        return [it for it in able if it.open + brief[it.pid] <= most]

    def _able(self, it: Standing, now: float) -> bool:
        if self._silent:
            silence = self._silent.get(it.pid)
            if silence is not None and silence.woken != it.woken:
                del self._silent[it.pid]
            elif silence is not None and now < silence.until:
                return False
        return turns(it, now)

    def _remember(self, everybody: Sequence[Standing], now: float) -> None:
        older = self._newer
        if older is not None and now - older.at < WINDOW:
            return
        # Of a longer time nobody knows when in it they ended.  As a rate over all of it, the
        # thousand that left a second ago made the next thousand a load of brief ones, which
        # whoever woke took: 18 to 487 each.
        if older is not None and now - older.at > 2 * WINDOW:
            older = None
        self._newer = _Sample(
            now, {it.pid: it.brief for it in everybody}, {it.pid: it.accepted for it in everybody}
        )
        self._older = older or self._newer
        alive = self._newer.brief
        self._silent = {pid: it for pid, it in self._silent.items() if pid in alive}


def turns(it: Standing, now: float) -> bool:
    """Does its loop turn, or sleep?  Who is stopped may look as if it slept."""
    if not it.busy_since:
        return True
    return now - it.busy_since <= (BEATS if it.beats else BUSY)


def _begin_anew(streak: Streak) -> None:
    streak.declined = streak.rounds = streak.credit = 0
    streak.deferred.clear()


def _since(count: int, pid: int, before: dict[int, int]) -> int:
    """What was counted since; of a worker that was not there, since it is first seen.

    Not since 0: it may come back from having been full, and all that it ever did, as a rate
    over half a second, had nobody polite.
    """
    return count - before.setdefault(pid, count)


def _slack(mean_open: float, accepts: float, brief: float) -> float:
    """By how many somebody must have fewer to be waited for.

    accepts:  a second, of all workers.
    brief:    brief connections a second that count, of all workers: where there are no
              others, whoever wakes takes what there is, however uneven that is.  (With a
              quarter of them, connections/s fell to 0.5 of plain shared accept on one core.)
    """
    return max(1.0, PART * mean_open, accepts / PER_RATE) + 2 * brief


# --- full -------------------------------------------------------------------------------------

#: Descriptors kept back for the application (Redis keeps 32): an eighth of few.
KEPT_BACK = 32
#: Seconds between two looks of a worker that is full.
LOOK = 0.1
#: Seconds that clients may wait while another worker accepts, before a full one makes room.
YIELD = 1.0
#: Seconds that clients may wait while there is nobody to evict, before they are told 503: for
#: longer than those are left alone that have not sent a byte yet (`engine.eviction.GRACE`).
SHED_AFTER = 1.5
#: Seconds without a look after which it is another shortage.  There is none while a worker has
#: room: if that lasts for a moment only, as with clients that come and go, it is the same one.
FORGOTTEN = 1.0
#: Connections evicted in one look: an eighth of those that may be, and not more, as in nginx.
EVICT_PART, EVICT_MOST = 8, 32
#: And of the silent not fewer, if there are so many: they have lost nothing, and each look
#: costs those a tenth of a second who wait behind them.  (By eighths alone, a visitor behind
#: 52 silent clients in a backlog waited 2.25 s for a worker of 56; now 1.13.)
EVICT_SILENT = 8
#: Clients that are answered 503 in one look: at 0.1 ms each 0.8 % of a core.
SHED_MOST = 8


class Caps(Record):
    """files: RLIMIT_NOFILE in force.  conns: --max-conns, 0 for none."""

    files: int
    conns: int = 0

    @property
    def kept_back(self) -> int:
        return max(4, min(KEPT_BACK, self.files // 8))


def why_full(connections: int, descriptor: int, caps: Caps) -> str:
    """Why no more connections are to be taken, "" if they are.

    descriptor:  the number that the kernel would give next: always the lowest that is free,
                 so that all below it are taken, by whomever.
    """
    if caps.conns and connections >= caps.conns:
        return f"{connections} connections (--max-conns {caps.conns})"
    # One at least, whatever is kept back: with a limit of 20 nothing else would be left.
    if connections and descriptor >= caps.files - caps.kept_back:
        return (
            f"{connections} connections, {caps.files} descriptors allowed (ulimit -n), "
            f"{caps.kept_back} of them kept back"
        )
    return ""


def room_after(connections: int) -> int:
    """How many must have gone from a full worker before it polls again: not for each one."""
    return max(1, connections // 64)


class Step(enum.Enum):
    REST = "rest"
    EVICT = "evict"
    SHED = "shed"  # and evict, should somebody have become idle


class Shortage(Struct):
    """What a full worker does about clients that wait, look by look."""

    _waits_since: float | None = None
    _helpless_since: float | None = None
    _looked: float = 0.0

    def look(self, now: float, *, waiting: bool, others: bool) -> Step:
        """waiting: clients do.  others: another worker accepts."""
        before, self._looked = self._looked, now
        if not waiting or now - before > FORGOTTEN:
            self._waits_since = self._helpless_since = None
        if not waiting:
            return Step.REST
        if self._waits_since is None:
            self._waits_since = now
        if others and now - self._waits_since < YIELD:
            return Step.REST
        if self._helpless_since is not None and now - self._helpless_since >= SHED_AFTER:
            return Step.SHED
        return Step.EVICT

    def evicted(self, count: int, now: float) -> None:
        """So many could be."""
        if count:
            self._helpless_since = None
        elif self._helpless_since is None:
            self._helpless_since = now


def batch(evictable: int, *, silent: bool) -> int:
    """How many of them to evict in one look.  silent: they have never sent a byte."""
    least = EVICT_SILENT if silent else 1
    return min(evictable, max(least, min(EVICT_MOST, evictable // EVICT_PART)))
