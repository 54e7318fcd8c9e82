"""Pretended workers that poll one queue, in pretended time; and what must be true of them.

`live(seed, admission)` is for `mutants.py`: one scenario by the seed, an exception if what
the module decides is bad for it.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from leeward._core import admission as real

#: Seconds that a worker needs to take a connection and get back to its loop.
WORK = 0.00015
#: And to be woken for nothing.
GLANCE = 0.00002
CORES = 2


@dataclass
class Pretended:
    pid: int
    courtesy: Any
    streak: Any
    open: int = 0
    accepted: int = 0
    brief: int = 0
    woken: int = 0
    busy_since: float = 0.0
    polls: bool = True
    works: bool = True  # not stopped or killed
    _words: tuple[Any, ...] = ()
    _told: Any = None

    def told(self, standing: Callable[..., Any]) -> Any:
        """What its page says; made anew only when that has changed."""
        words = self.pid, self.open, self.brief, self.accepted, self.woken, self.busy_since, False
        if words != self._words:
            self._words, self._told = words, standing(*words)
        return self._told


class Crew:
    """Workers that poll one queue, level-triggered; two of them run at a time."""

    def __init__(self, workers: int = 4, seed: int = 1, admission: ModuleType = real) -> None:
        self.random = random.Random(seed)
        self.a = a = admission
        self.workers = [Pretended(pid, a.Courtesy(), a.Streak()) for pid in range(1, workers + 1)]
        self.queue: list[float] = []
        self.waited: list[float] = []
        self.now = 1000.0
        self.lasts: Callable[[], float] | None = None  # a connection's life
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._cores = [0.0] * CORES

    def at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._number), call))

    def arrive(self) -> None:
        self.queue.append(self.now)
        self._rouse()

    def run(self, arrivals: Iterator[float]) -> None:
        for when in arrivals:
            self.at(self.now + when, self.arrive)
        while self._events:
            self.now, _, call = heapq.heappop(self._events)
            call()
            assert not self.queue or self.now - self.queue[0] < 2, "one waits for ever"
        assert not self.queue, "somebody was never accepted"

    def _rouse(self) -> None:
        """Everybody who sleeps in epoll_wait is woken, in some order."""
        idle = [it for it in self.workers if it.polls and it.works and not it.busy_since]
        for it in self.random.sample(idle, len(idle)):
            self._begin(it)

    def _begin(self, it: Pretended) -> None:
        """It gets a core, sooner or later, and looks."""
        it.busy_since = self.now
        core = min(range(len(self._cores)), key=self._cores.__getitem__)
        start = max(self.now, self._cores[core]) + self.random.uniform(1e-5, 5e-5)
        self._cores[core] = start + GLANCE
        self.at(start, lambda: self._look(it, core))

    def _look(self, it: Pretended, core: int) -> None:
        it.woken += 1
        it.polls = True
        others = [o.told(self.a.Standing) for o in self.workers if o is not it]
        if not self.queue:
            it.courtesy.nobody_waits(it.streak, others, self.now)
        elif self.now < it.courtesy.haste_until or it.courtesy.accepts(
            it.streak, it.told(self.a.Standing), others, self.now
        ):
            self._cores[core] += WORK * self.random.uniform(0.7, 1.5)
            self.waited.append(self.now - self.queue.pop(0))
            it.open += 1
            it.accepted += 1
            if self.lasts is not None:
                self.at(self.now + self.lasts(), lambda: self._end(it))
        else:
            it.polls = False
            it.busy_since = 0.0
            self.at(self.now + self.a.PAUSE, lambda: self._begin(it))
            return
        self.at(max(self._cores[core], self.now), lambda: self._sleep(it))

    def _sleep(self, it: Pretended) -> None:
        it.busy_since = 0.0
        if self.queue and it.polls and it.works:
            self._begin(it)

    def _end(self, it: Pretended) -> None:
        it.open -= 1
        it.brief += 1

    @property
    def counts(self) -> list[int]:
        return [it.open for it in self.workers]


def rudely(crew: Crew) -> Crew:
    """Whoever wakes takes what there is."""
    for it in crew.workers:
        it.courtesy.accepts = lambda *_: True  # type: ignore[method-assign,assignment]
    return crew


def paced(count: int, every: float = 0.005) -> Iterator[float]:
    return (number * every for number in range(count))


def burst(count: int) -> Iterator[float]:
    return (number * 2e-6 for number in range(count))


# --- for mutants -----------------------------------------------------------------------------


def _few(crew: Crew, a: ModuleType) -> None:
    crew.run(crew.random.choice([paced, burst])(120))
    assert max(crew.counts) - min(crew.counts) <= 4


def _many(crew: Crew, a: ModuleType) -> None:
    polite = Crew(admission=a)
    polite.run(burst(1000))
    rude = rudely(Crew(admission=a))
    rude.run(burst(1000))
    assert max(polite.counts) <= 262
    assert polite.now - 1000 < 1.5 * (rude.now - 1000)


def _dead(crew: Crew, a: ModuleType) -> None:
    for it in crew.workers:
        it.open = 10
    for it in crew.workers[: crew.random.choice([1, 3])]:
        it.works, it.open = False, 0
    crew.run(paced(200))
    assert max(crew.waited) < 0.006
    assert sum(wait > 0.001 for wait in crew.waited) <= 21


def _blocked(crew: Crew, a: ModuleType) -> None:
    for it in crew.workers:
        it.open = 10
    blocked = crew.workers[0]
    blocked.works, blocked.open, blocked.busy_since = False, 0, crew.now - 0.1
    crew.run(paced(20))
    assert max(crew.waited) < 0.001


def _fresh(crew: Crew, a: ModuleType) -> None:
    for it in crew.workers[1:]:
        it.open = 250
    crew.run(paced(200))
    assert crew.workers[0].accepted >= 190


def _storm(crew: Crew, a: ModuleType) -> None:
    for it in crew.workers[1:]:
        it.open = 5000
    crew.run(burst(1000))
    assert 250 < crew.workers[0].accepted < 850


def _brief(crew: Crew, a: ModuleType) -> None:
    for it in crew.workers[1:]:
        it.open = 250
    crew.lasts = lambda: crew.random.uniform(0.001, 0.01)
    crew.run(paced(4000, 0.0005))
    assert 0.2 < crew.workers[0].accepted / 4000 < 0.6


def _load(crew: Crew, a: ModuleType) -> None:
    late = []
    for each in (crew, rudely(Crew(admission=a))):
        each.lasts = lambda each=each: each.random.uniform(0.001, 0.02)  # type: ignore[misc]
        each.run(paced(2000, 0.0002))
        late.append(sorted(each.waited[500:])[1480])
    assert late[0] < 1.1 * late[1] + 0.0001
    assert any(it.courtesy.haste_until for it in crew.workers)


def _shortage(crew: Crew, a: ModuleType) -> None:
    it, step = a.Shortage(), a.Step
    seen = [it.look(0.0, waiting=False, others=False), it.look(1.0, waiting=True, others=True)]
    seen += [it.look(1.9, waiting=True, others=True), it.look(2.0, waiting=True, others=True)]
    it.evicted(0, 2.0)
    seen += [it.look(now, waiting=True, others=False) for now in (2.7, 3.4)]
    seen += [it.look(3.5, waiting=True, others=False)]
    it.evicted(1, 3.5)
    seen += [it.look(3.6, waiting=True, others=False)]
    assert seen == [step.REST] * 3 + [step.EVICT] * 3 + [step.SHED, step.EVICT]
    it.evicted(0, 3.6)
    assert it.look(9.0, waiting=True, others=True) is step.REST


def _caps(crew: Crew, a: ModuleType) -> None:
    assert [a.Caps(n).kept_back for n in (16, 64, 1 << 20)] == [4, 8, 32]
    assert not a.why_full(9, 55, a.Caps(64, 10)) and a.why_full(9, 56, a.Caps(64, 10))
    assert a.why_full(10, 20, a.Caps(64, 10))
    assert [a.batch(n, silent=False) for n in (4, 80, 999)] == [1, 10, 32]
    assert [a.batch(n, silent=True) for n in (4, 12, 80)] == [4, 8, 10]


_SCENARIOS = (_few, _many, _dead, _blocked, _fresh, _storm, _brief, _load, _shortage, _caps)


def live(seed: int, admission: ModuleType = real) -> None:
    crew = Crew(seed=seed, admission=admission)
    _SCENARIOS[seed % len(_SCENARIOS)](crew, admission)
