"""When a WebSocket peer is asked whether it lives, and what its silence means.

                 silent for `interval`
    QUIET ──────────────────────────────► ASKED
      ▲                                     │
      ├──── any byte ───────────────────────┤
      │                                     │ silent for `timeout`
      └──── it never answered: told, once ──┴──► GONE, if it ever answered

Any byte is life: who sends messages is not asked at all.  A peer that has never answered
a ping is left alone, for there are client libraries that know no pongs.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

#: A ping may come earlier by this part of the interval.
SOON = 16


class Verdict(enum.Enum):
    WAIT = "wait"  # nothing to do until then
    ASK = "ask"  # send a ping
    DEAF = "deaf"  # the same, and it has not answered the one before, nor any other
    GONE = "gone"  # it has answered once, and does not any more


@dataclass(frozen=True)
class Rule:
    """interval:  seconds of silence before a ping; up to a quarter less, drawn for each.
    timeout:   seconds for the answer.
    patience:  seconds for a peer that has stopped reading, and so cannot have seen it.
    """

    interval: float
    timeout: float
    patience: float = 60.0


class Watch:
    """One peer.  Times are seconds on whatever clock the caller has."""

    __slots__ = ("_draw", "_rule", "asked", "spread", "told")

    def __init__(self, rule: Rule, draw: float) -> None:
        """draw:  0 to 1, by chance: peers that came together are not asked together."""
        self._draw = draw
        self.obey(rule)
        #: When the ping was sent that is not answered yet, 0.0 for none.
        self.asked = 0.0
        self.told = False

    def obey(self, rule: Rule) -> None:
        """From now on this rule."""
        self._rule = rule
        self.spread = rule.interval * (1 - self._draw / 4)

    def again(self, now: float, heard: float) -> float:
        """When to look at a peer under a rule that it was not under before.

        Those that have been silent for longer than that are not all asked at once.
        """
        due = max(self.asked, heard) + (self._rule.timeout if self.asked else self.spread)
        return due if due > now else now + self._draw * min(self._rule.timeout, self.spread)

    def look(self, now: float, heard: float, answers: bool) -> tuple[Verdict, float]:
        """What to do, and when to look again.

        heard:    when its last byte came.
        answers:  has it ever sent a pong?
        """
        rule = self._rule
        if self.asked and heard < self.asked:
            # A deaf one is still pinged now and then, for proxies that cut idle connections.
            due = self.asked + (max(rule.timeout, self.spread) if self.told else rule.timeout)
            if now < due:
                return Verdict.WAIT, due
            if answers:
                return Verdict.GONE, now
            first, self.told = not self.told, True
            return self._ask(now, Verdict.DEAF if first else Verdict.ASK)
        due = heard + self.spread
        # Who has answered the last ping right after it is asked again at this look: for the
        # moment that its answer took there would be a look more for each ping.
        early = self.spread / SOON if self.asked else 0.0
        self.asked = 0.0
        return (Verdict.WAIT, due) if now < due - early else self._ask(now, Verdict.ASK)

    def _ask(self, now: float, verdict: Verdict) -> tuple[Verdict, float]:
        self.asked = now
        # Not only at the timeout: a longer one must not make the interval longer.
        return verdict, now + min(self._rule.timeout, self.spread)

    def excuse(self, now: float, moves: bool, stuck: bool) -> float | None:
        """It is silent past its timeout: when to look again, None to give it up.

        moves:  has it taken bytes since the last look?
        stuck:  do bytes wait that it does not want now (its window is closed)?
        """
        if moves:
            self.asked = now  # a slow reader gets to our ping when it has read what came before
        elif not stuck or now >= self.asked + self._rule.patience:
            return None
        return now + self._rule.timeout
