"""When a WebSocket peer is asked whether it lives, and what its silence means.

                 silent for `interval`
    QUIET ──────────────────────────────► ASKED
      ▲                                     │
      ├──── any byte ───────────────────────┤
      │                                     │ silent for `timeout`
      └──── it never answered: told, once ──┴──► GONE, if it ever answered

While bytes wait here that the peer does not take, a ping would be one more: it is held back
until they are gone, and the time for its answer begins then.  Until then whoever takes
bytes is alive, and who takes none for `timeout`, or for `patience`, is gone as well.

Any byte is life: who sends messages is not asked at all.  A peer that has never answered
a ping is left alone, for there are client libraries that know no pongs.
"""

from __future__ import annotations

import enum

from leeward._core.record import Record

#: A ping may come earlier by this part of the interval.
SOON = 16


class Verdict(enum.Enum):
    WAIT = "wait"  # nothing to do until then
    ASK = "ask"  # send a ping
    DEAF = "deaf"  # the same, and it has not answered the one before, nor any other
    GONE = "gone"  # it has answered once, and does not any more


class Rule(Record):
    """interval:  seconds of silence before a ping; up to a quarter less, drawn for each.
    timeout:   seconds for the answer.
    patience:  seconds for a peer that has stopped reading, and so cannot have seen it.
    """

    interval: float
    timeout: float
    patience: float = 60.0


class Watch:
    """One peer.  Times are seconds on whatever clock the caller has."""

    __slots__ = ("_draw", "_rule", "asked", "left", "out", "owed", "spread", "told")

    def __init__(self, rule: Rule, draw: float) -> None:
        """draw:  0 to 1, by chance: peers that came together are not asked together."""
        self._draw = draw
        self.obey(rule)
        #: When the ping was sent that is not answered yet, or held back; 0.0 for none.
        self.asked = 0.0
        #: Is it sent?
        self.out = False
        #: And behind how many bytes?  A pong comes when all of them have been read.
        self.owed = 0
        #: How many bytes it had taken at the last excuse for that ping, -1 for none.
        self.left = -1
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

    def look(
        self, now: float, heard: float, answers: bool, can_send: bool = True
    ) -> tuple[Verdict, float]:
        """What to do, and when to look again.

        heard:     when its last byte came.
        answers:   has it ever sent a pong?
        can_send:  would a ping be sent, or do bytes wait here?
        """
        rule = self._rule
        if self.asked and heard < self.asked:
            if can_send and not self.out:
                return self._ask(now, Verdict.ASK)
            # A deaf one is still pinged now and then, for proxies that cut idle connections.
            due = self.asked + (max(rule.timeout, self.spread) if self.told else rule.timeout)
            if now < due:
                return Verdict.WAIT, due if self.out else min(due, self._soon(now))
            if answers:
                return Verdict.GONE, now
            if not can_send:
                return self._hold_back(now)  # and it may not have come to the one before
            first, self.told = not self.told, True
            return self._ask(now, Verdict.DEAF if first else Verdict.ASK)
        due = heard + self.spread
        # Who has answered the last ping right after it is asked again at this look: for the
        # moment that its answer took there would be a look more for each ping.
        early = self.spread / SOON if self.asked else 0.0
        self.asked = 0.0
        if now < due - early:
            return Verdict.WAIT, due
        return self._ask(now, Verdict.ASK) if can_send else self._hold_back(now)

    def _ask(self, now: float, verdict: Verdict) -> tuple[Verdict, float]:
        self.asked, self.out, self.left = now, True, -1
        return verdict, self._soon(now)

    def _hold_back(self, now: float) -> tuple[Verdict, float]:
        self.asked, self.out, self.left = now, False, -1
        return Verdict.WAIT, self._soon(now)

    def _soon(self, now: float) -> float:
        """Not only at the timeout: a longer one must not make the interval longer."""
        return now + min(self._rule.timeout, self.spread)

    def excuse(self, now: float, left: int, stuck: bool) -> float | None:
        """It is silent past its timeout: when to look again, None to give it up.

        left:   bytes that it has taken, ever.
        stuck:  do bytes wait that it does not want now (its window is closed)?
        """
        before, self.left = self.left, left
        # How far it had come when it was asked nobody knows: who is behind has moved.
        behind = (left if before < 0 else before) < self.owed
        if before < left and (behind or not self.out):
            # A slow reader gets to our ping when it has read what came before; and who has
            # come to it since the last look may have done so just now.
            self.asked = now
            return self._soon(now)
        if not stuck or now >= self.asked + self._rule.patience:
            return None
        return now + self._rule.timeout
