"""What a worker is born with: all that `leeward._worker.main.run` needs to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leeward._core.record import Record

if TYPE_CHECKING:
    from leeward._core.config import Config
    from leeward._core.messages import Descriptor
    from leeward._sys.channel import Channel
    from leeward._sys.page import Page
    from leeward.adapters.target import Application
    from leeward.adapters.tls import Tls


class Birth(Record):
    """One worker's identity and the descriptors that it owns from now on.

    Whoever makes it has already: become the supervisor's own child with
    PDEATHSIG armed, given SIGTERM and SIGINT their default actions, closed every
    descriptor that is not named here, set ``LEEWARD_SLOT`` and
    ``LEEWARD_GENERATION``, and loaded the application.

    worker:     never used twice in the life of an instance.
    ordinal:    of the workers of its slot: the names of its connections begin with it.
    row_index:  of this worker's row in the shared page.
    supervisor: pid of the parent.
    listeners:  (descriptor, address as in `Listener.address`) of each socket.
    bell:       rung when the loop wakes and the head of the page asks for it; -1: nobody.
    tls:        None to serve plain http.
    spawned:    loaded the application itself instead of being forked.
    baseline, changed:  passed on in `Ready` as they are (spawned workers only).
    ring:       of its log lines, and the bell of who empties it; () without one.
    terminal:   stderr leads to one, through a pipe.
    mark:       in front of each line of ours that goes there.
    canary:     no worker of its generation was ever ready.
    """

    config: Config
    generation: int
    slot: int
    ordinal: int
    row_index: int
    worker: int
    supervisor: int
    channel: Channel
    page: Page
    listeners: tuple[tuple[int, str], ...]
    application: Application
    tls: Tls | None = None
    bell: int = -1
    spawned: bool = False
    baseline: tuple[Descriptor, ...] = ()
    changed: tuple[str, ...] = ()
    canary: bool = False
    ring: tuple[int, ...] = ()
    terminal: bool = False
    mark: str = ""
