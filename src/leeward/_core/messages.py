"""The whole conversation between processes, in one place.

Each message is a `Record` that checks its own types when it is made,
on either side: a message that cannot be sent cannot be built, and bytes from a
confused peer become a `BadMessage` and nothing else.  A field whose type is
`Descriptor` (or a tuple of them) *is* an open file descriptor that travels by
SCM_RIGHTS because of its type; on the wire stands only its place in the list.

`encode` and `decode` know bytes and numbers, never sockets: `leeward._sys.channel`
carries them.

More than 400 lines, because all of them stand in one place.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, TypeVar

from leeward._core.record import Record


class BadMessage(ValueError):
    """Bytes or values that are no message of this conversation."""


class Descriptor(int):
    """An open file descriptor; a field of this type travels by SCM_RIGHTS."""


M = TypeVar("M", bound="Message")

#: Type checks by annotation.  `bool` is an `int` to Python but not to us.
_CHECKS: dict[str, Any] = {
    "str": lambda v: isinstance(v, str),
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "bool": lambda v: isinstance(v, bool),
    "float": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "Descriptor": lambda v: isinstance(v, Descriptor),
    "tuple[str, ...]": lambda v: isinstance(v, tuple) and all(isinstance(i, str) for i in v),
    "tuple[Descriptor, ...]": lambda v: (
        isinstance(v, tuple) and all(isinstance(i, Descriptor) for i in v)
    ),
}


class Message(Record):
    """Base of all messages; knows every subclass by its name on the wire."""

    kinds: ClassVar[dict[str, type[Message]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Message.kinds[cls.__name__] = cls

    def __post_init__(self) -> None:
        for name, expected in self.FIELDS.items():
            value = getattr(self, name)
            if not _CHECKS[expected](value):
                kind = type(self).__name__
                raise BadMessage(f"{kind}.{name} is {value!r:.80}, expected {expected}")


# --- supervisor → zygote, or a worker that was spawned ---------------------------------


class Begin(Message):
    """First message to a fresh process: who it is and what it works with."""

    config: str  # Config.to_json()
    generation: int
    supervisor: int  # pid, the parent every worker must end up with
    page: Descriptor
    listeners: tuple[Descriptor, ...]
    addresses: tuple[str, ...]  # Listener.address of each, same order
    #: Fingerprints of the generation's module files as its first process saw
    #: them (a memfd), empty for that first process itself.
    baseline: tuple[Descriptor, ...] = ()
    #: memfds of the certificate, its key and, where there are any, the CAs.
    tls: tuple[Descriptor, ...] = ()
    #: To be rung by a worker that wakes while the head of the page says that we sleep.
    bell: tuple[Descriptor, ...] = ()
    #: Only load, audit and report: `leeward check`.
    rehearse: bool = False
    #: When the supervisor began, in seconds since the epoch, as the clock told then.
    began: float = 0.0


class Fork(Message):
    """Become (spawned worker) or fork (zygote) this worker.

    A zygote finds in `channel` the worker's end of its own channel, and may hand the order
    on to its spare; a spawned worker speaks on the channel that it already has.
    """

    worker: int  # never used twice in the life of an instance
    slot: int
    ordinal: int  # 1 for the first worker that this slot has had, 2 for the next
    row: int  # in the shared page
    channel: tuple[Descriptor, ...] = ()
    #: No worker of its generation was ever ready: it is to be probed (--probe) first.
    canary: bool = False
    #: Its log ring, and the bell of who empties it.
    ring: tuple[Descriptor, ...] = ()
    #: To be put in the place of descriptors 1 and 2; and the mark that leeward's own lines need
    #: there (`leeward._core.capturing`).
    stdout: tuple[Descriptor, ...] = ()
    stderr: tuple[Descriptor, ...] = ()
    mark: str = ""


# --- zygote or worker → supervisor -----------------------------------------------------


class Watched(Message):
    """My stack will stand in this memfd if my start takes too long.

    From a worker that is ready: when you send me the signal of `leeward._sys.signals.STACK`.
    """

    stack: Descriptor


# --- zygote → supervisor ---------------------------------------------------------------


class Loaded(Message):
    """The application is imported; what was found and what a fork would spoil."""

    kind: str  # "Tornado application"
    found: str  # "factory make_app() in chat.py"
    load_ms: int
    hazards: tuple[str, ...]  # those that call for spawn, one line each; empty: fork
    baseline: tuple[Descriptor, ...] = ()
    changed: tuple[str, ...] = ()  # files that differ from the generation's baseline
    #: Of a rehearsed program: the addresses it would listen on, as --bind writes them; the
    #: processes it would start (0: one per core, -1: it does not say); does it speak TLS?
    wants: tuple[str, ...] = ()
    processes: int = -1
    tls: bool = False
    accelerated: str = ""  # of a rehearsal: which accelerations there would be, and which not
    #: All that the audit found, repaired or ignored or not: Hazard.to_json() of each, and
    #: how many more there are.
    findings: tuple[str, ...] = ()
    more: int = 0
    #: Of a rehearsal: what becomes of each log file that is not left as it is.
    log_files: tuple[str, ...] = ()


class Forked(Message):
    worker: int
    pid: int


class NotForked(Message):
    worker: int
    error: str  # "[Errno 11] Resource temporarily unavailable"


# --- zygote → spare, which answers by Hello or has said Failed --------------------------


class Wanted(Message):
    """Are you there?  The next is your order, a Fork."""


# --- worker → supervisor ---------------------------------------------------------------


class Hello(Message):
    """A worker, or a spare, exists and is the supervisor's own child."""

    pid: int


class Ready(Message):
    """The worker accepts."""

    kind: str
    found: str
    baseline: tuple[Descriptor, ...] = ()  # only from a spawned worker without one
    changed: tuple[str, ...] = ()


class Failed(Message):
    """Loading or starting failed for a reason that the application's owner can read."""

    stage: str  # "import" | "factory" | "begin" | "probe" | "program" | "usage" | "spare"
    text: str  # at most 8 lines: the application's frames, the guilty, the remedy


class Closed(Message):
    """A draining worker accepts no more."""


class Ailing(Message):
    """A resource fails its check, and why; or it passes again: why is ""."""

    resource: str
    why: str


class Leaving(Message):
    """A worker wants to go: replace it first, then drain it.

    limit:  it has reached one that the settings set, or lost a resource; else a SIGTERM came.
    """

    reason: str
    limit: bool = False


# --- supervisor → worker ---------------------------------------------------------------


class Drain(Message):
    """Stop accepting, finish what is in flight, leave.

    reason:   "reload" (idle connections are told at their next answer, WebSockets
              1012 spread over `window`) or "stop" (idle ones are closed at once,
              WebSockets 1001 at once).
    timeout:  seconds until what is left is cut off.
    refuse:   nobody is to come any more, to none of the processes that hold the listeners.
    """

    reason: str
    timeout: float
    window: float
    refuse: bool = False


class Aside(Message):
    """Accept no more, announce the end of each connection with its next answer, and stay."""


class Withdraw(Message):
    """A stop is near: answer that you are not ready, and go on accepting."""


class Asked(Message):
    """Answer this yourself, by `Piece`s to whoever is at the other end of `asker`.

    Bulk answers do not pass through the supervisor, which has every worker to look after.
    """

    what: str  # "conns" | "kill"
    query: str  # Query.to_json()
    worker: int  # to say whose piece it is
    asker: Descriptor


# --- supervisor → zygote or worker, and back -------------------------------------------


class Tune(Message):
    """These settings from now on.  Only those differ that may change while running."""

    config: str  # Config.to_json()


class Tuned(Message):
    """They are in force."""


class Renew(Message):
    """From the next handshake on, show this certificate.  `tls` as in `Begin`."""

    tls: tuple[Descriptor, ...]


class Renewed(Message):
    """It is in use, or why not: then the one before is kept."""

    error: str = ""


# --- settings, resolved anew for a reload ----------------------------------------------


class Resolved(Message):
    config: str
    #: As in `Begin`, read and checked by the resolver.
    tls: tuple[Descriptor, ...] = ()
    certificate: str = ""  # "chat.example, valid until 2027-01-31"
    warnings: tuple[str, ...] = ()


class Unresolved(Message):
    text: str


# --- control socket: CLI → supervisor, and back ----------------------------------------


class PsRequest(Message):
    pass


class ReloadRequest(Message):
    wait: bool
    tls: bool = False  # only the certificate, in the processes that run


class StopRequest(Message):
    now: bool
    delay: float = -1.0  # instead of the settings' drain_delay, unless negative


class ScaleRequest(Message):
    """Exactly `to` workers, or `by` more (less) when `to` is negative."""

    to: int = -1
    by: int = 0


class RecycleRequest(Message):
    """A fresh worker of the present generation in `slot`, or in every slot (-1)."""

    slot: int = -1


class AsideRequest(Message):
    """Replace the worker in `slot`, and keep the old one aside for so many seconds."""

    slot: int
    seconds: float


class RollbackRequest(Message):
    """Back to the generation before, or give up the one that is being rolled out."""


class ConnsRequest(Message):
    """Each worker in `slot`, or in any (-1), is to tell its connections.

    The answer's data says who was asked: {"workers": [{"worker", "slot", "pid", "asked"}]}.
    Their `Piece`s come before and after it.
    """

    query: str  # Query.to_json()
    slot: int = -1
    kill: bool = False  # end them as well


class LogsRequest(Message):
    """The last lines of the log files, and what follows.  The collector answers, by `Piece`s.

    lines:  -1: all that came after what was reached, `after` (`leeward._core.reached`).
    """

    lines: int
    follow: bool
    slot: int = -1
    level: int = 0
    after: str = ""


class SetRequest(Message):
    """Other settings while running, over what files and flags say.

    changes:  JSON, by key; null takes back what was set before.  {} only asks what is set.
    """

    changes: str


class ModulesRequest(Message):
    """Which modules has the supervisor imported?  Asked by the test of its walls."""


class Progress(Message):
    """One line for whoever waits for an answer."""

    text: str


class Answer(Message):
    """The end of a request: an exit code, words for a person, JSON for a program."""

    code: int
    text: str
    data: str = ""


#: The data of an `Answer`: not now, but soon.
AGAIN = '"again"'


class Piece(Message):
    """A part of a worker's own answer: JSON objects, one a line.  worker: as in `Asked`.

    The collector's: lines of the log, and what is reached with them.
    """

    worker: int
    text: str
    last: bool = False
    error: str = ""
    reached: str = ""


#: Where the name of its class stands in an encoded message; no field can be called so.
NAME = "="


def encode(message: Message) -> tuple[bytes, list[int]]:
    """The bytes of `message` and the descriptors that travel beside them."""
    descriptors: list[int] = []
    body: dict[str, Any] = {NAME: type(message).__name__}
    for name, kind in message.FIELDS.items():
        value = getattr(message, name)
        if kind == "Descriptor":
            descriptors.append(value)
            value = len(descriptors) - 1
        elif kind == "tuple[Descriptor, ...]":
            start = len(descriptors)
            descriptors.extend(value)
            value = list(range(start, len(descriptors)))
        body[name] = value
    return json.dumps(body, separators=(",", ":")).encode(), descriptors


def decode(data: bytes, descriptors: list[int]) -> Message:
    """The message in `data`.  Raises `BadMessage` and takes no descriptor on any doubt.

    Each of `descriptors` has its one place in the message, in the order of its
    fields: one that no field names would stay open for ever.
    """
    try:
        body = json.loads(data)
        kind = Message.kinds[body.pop(NAME)]
        values: dict[str, Any] = {}
        places: list[int] = []
        for name, expected in kind.FIELDS.items():
            if name not in body:
                continue  # a default, or __init__ says what is missing
            value = body.pop(name)
            if expected == "Descriptor":
                places.append(value)
                value = Descriptor(descriptors[value])
            elif expected == "tuple[Descriptor, ...]":
                places.extend(value)
                value = tuple(Descriptor(descriptors[place]) for place in value)
            elif isinstance(value, list):
                value = tuple(value)
            values[name] = value
        if body:
            raise BadMessage(f"{kind.__name__} has no field {next(iter(body))!r:.80}")
        if places != list(range(len(descriptors))):
            # Left over, or in two fields, where closing both would close a stranger's.
            raise BadMessage(f"{kind.__name__} does not use each descriptor once, in order")
        return kind(**values)
    except BadMessage:
        raise
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise BadMessage(f"not a message: {data[:80]!r} ({error!s:.80})") from None
