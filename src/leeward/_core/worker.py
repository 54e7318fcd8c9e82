"""The life of a process that the supervisor starts: a table, and nothing else.

            FORKED             READY            DRAIN              DEADLINE
 SPAWNING ─────────► STARTING ───────► SERVING ───────► DRAINING ────────────► KILLING
     │                   │                │ ASIDE           ▲                     │
     │                   │                └─────► ASIDE ────┘ DRAIN, DEADLINE     │
     └───────────────────┴──────── DIED, from each ───────────────────────────────┴──► GONE

Workers live it, and so do zygotes: for a zygote STARTING is importing the
application, SERVING is forking on request, DRAINING is being retired.

Two rules, held by tests:

* a pair of state and event that is not in `LIFE` raises `IllegalEvent`: a
  message that nobody thought of is a bug to be seen, not a state to be guessed;
* every state but SERVING has a deadline, and following DEADLINE from any state
  ends in GONE: nothing lives for ever because a peer kept silent.

SERVING has none because a healthy worker may serve for years; whether its loop
still turns is asked elsewhere.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    SPAWNING = "spawning"  # asked for; nobody has told its pid yet
    STARTING = "starting"  # exists; imports, opens, has not said READY
    SERVING = "serving"  # said READY, accepts
    ASIDE = "aside"  # accepts no more, and stays for somebody to look at it
    DRAINING = "draining"  # told to finish and leave
    KILLING = "killing"  # got SIGKILL, not reaped yet
    GONE = "gone"  # reaped, or given up as unkillable


class Event(enum.Enum):
    FORKED = "forked"  # its pid became known
    READY = "ready"  # it says that it accepts
    ASIDE = "aside"  # we take it out of accept
    DRAIN = "drain"  # we tell it to leave
    KILL = "kill"  # we end it now
    DEADLINE = "deadline"  # its state lasted too long
    DIED = "died"  # the kernel says that it ended, or it never came to be


class IllegalEvent(Exception):
    """An event that the table does not know in this state."""


S, E = State, Event

LIFE: dict[State, dict[Event, State]] = {
    S.SPAWNING: {
        E.FORKED: S.STARTING,
        # DRAIN before the pid is known: the message waits in its channel.
        E.DRAIN: S.DRAINING,
        E.KILL: S.KILLING,
        # The zygote does not answer.  There is no pid to kill: the closed
        # channel ends the worker if it comes to be after all.
        E.DEADLINE: S.GONE,
        E.DIED: S.GONE,
    },
    S.STARTING: {
        # Told twice, by the zygote and by the worker's own Hello.
        E.FORKED: S.STARTING,
        E.READY: S.SERVING,
        E.DRAIN: S.DRAINING,
        E.KILL: S.KILLING,
        E.DEADLINE: S.KILLING,
        E.DIED: S.GONE,
    },
    S.SERVING: {
        E.FORKED: S.SERVING,
        E.ASIDE: S.ASIDE,
        E.DRAIN: S.DRAINING,
        E.KILL: S.KILLING,
        E.DIED: S.GONE,
    },
    S.ASIDE: {
        E.FORKED: S.ASIDE,
        E.DRAIN: S.DRAINING,
        E.KILL: S.KILLING,
        # Nobody looks for ever: it leaves as for a reload.
        E.DEADLINE: S.DRAINING,
        E.DIED: S.GONE,
    },
    S.DRAINING: {
        # Both were on their way when DRAIN was sent.
        E.FORKED: S.DRAINING,
        E.READY: S.DRAINING,
        E.DRAIN: S.DRAINING,
        E.KILL: S.KILLING,
        E.DEADLINE: S.KILLING,
        E.DIED: S.GONE,
    },
    S.KILLING: {
        E.FORKED: S.KILLING,
        E.READY: S.KILLING,
        E.DRAIN: S.KILLING,
        E.KILL: S.KILLING,
        # Uninterruptible sleep (a dead NFS server): the slot must not wait for it.
        E.DEADLINE: S.GONE,
        E.DIED: S.GONE,
    },
    S.GONE: {},
}

#: States in which a worker fills its slot.
ALIVE = (S.SPAWNING, S.STARTING, S.SERVING)


def step(state: State, event: Event) -> State:
    """The state after `event`.  Raises `IllegalEvent` for a pair not in the table."""
    try:
        return LIFE[state][event]
    except KeyError:
        raise IllegalEvent(f"{event.name} in {state.name}") from None
