"""What becomes of a handler whose client has left before it had its answer.

            ABANDON              CANCEL     NOTIFY
  GET HEAD  ended after a while  at once    runs on
  others    run to their end     at once    run on

A handler's own mark beats the policy: cancelling a half-done write corrupts an
application that was not written for it, and only its author knows which are.
"""

from __future__ import annotations

ABANDON, CANCEL, NOTIFY = "abandon", "cancel", "notify"
POLICIES = (ABANDON, CANCEL, NOTIFY)

#: Marks of handlers: `leeward.cancel_on_disconnect`, `leeward.finish_anyway`.
MARK_CANCEL, MARK_FINISH = "cancel", "finish"

#: Methods whose handlers only look (RFC 9110 §9.2.1), of those that long-polls use.
SAFE = frozenset({"GET", "HEAD"})

#: How often a handler is cancelled that catches it and goes on.
TRIES = 3


def patience(policy: str, method: str, mark: str, after: float) -> float | None:
    """Seconds from its client's end until a handler is ended; None: it runs to its own.

    mark:   "" for a handler that has none.
    after:  `--abandon-after`.
    """
    if mark:
        return 0.0 if mark == MARK_CANCEL else None
    if policy == CANCEL:
        return 0.0
    if policy == ABANDON and method in SAFE:
        return after
    return None


def again(tries: int, after: float) -> float | None:
    """Seconds until the next try after `tries` of them; None: it is given up.

    As long as before the first one: clean-up that waits must be given its time.
    """
    return None if tries >= TRIES else max(after, 1.0)
