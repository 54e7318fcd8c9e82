"""What a fork would spoil, in this process, now: hazards, and who made them.

Once per generation, before the first fork.  It looks at `/proc/self` and, once, at every
object that the garbage collector knows; what the import has done is in a `Watch`.
The codes and what follows from each are in `leeward._core.hazards`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from leeward._core.hazards import CODES, MOST, Hazard, merged
from leeward._core.record import Record
from leeward._zygote import descriptors, repair, shared, threads
from leeward._zygote.descriptors import open_descriptors as open_descriptors
from leeward._zygote.look import Found, Look, named
from leeward._zygote.origins import Origins
from leeward._zygote.repair import Repairs
from leeward._zygote.watch import Watch
from leeward.adapters.blame import words

#: Told only if the application holds them: a library's generator is mended without a
#: word, and a lock of some library says nothing to anybody.
_IF_HELD = ("LW130", "LW171")


class Audited(Record):
    """hazards: the most telling first.  repairs: what is to be done in each child.

    more:  how many hazards there are beside those.
    """

    hazards: tuple[Hazard, ...]
    repairs: Repairs
    more: int = 0


def audit(own: Iterable[int], watch: Watch | None = None) -> Audited:
    """Everything found.  `own`: descriptors that are ours."""
    watch = watch or Watch(Origins())
    look = Look(frozenset(own), watch)
    repairs = Repairs()
    parts = (
        threads.owners_of_threads(look),
        threads.pipes(look),
        repair.log_files(look),
        repair.handlers(look, repairs),
        descriptors.loops(look),
        threads.python_threads(look),
        threads.native_threads(look),
        threads.runtimes(),
        threads.timers(look),
        descriptors.descriptors(look),
        shared.wake_up(look),
        threads.clients(look),
        descriptors.databases(look),
        threads.held_locks(look),
        shared.process_locks(look),
        shared.file_locks(look),
        shared.mapped(look),
        shared.directories(look),
        threads.children(look),
        repair.generators(look, repairs),
        repair.buffers(look),
    )
    everything = named(itertools.chain.from_iterable(map(_told, parts)), look.origins)
    found = merged(it for it in everything if it.code not in _IF_HELD or _is_held(it))
    # What costs the zygote comes first; the order of the table within.
    order = {"isolated": 0, "told": 1, "repaired": 2}
    found.sort(key=lambda it: order[CODES[it.code].verdict])
    return Audited(tuple(found[:MOST]), repairs, max(0, len(found) - MOST))


def log_files(own: Iterable[int], watch: Watch) -> tuple[Hazard, ...]:
    """What spawned workers do to each other as well: for a rehearsal of those."""
    look = Look(frozenset(own), watch)
    return tuple(merged(named(_told(repair.log_files(look)), look.origins)))


def _told(part: Iterator[Found]) -> Iterator[Found]:
    """An object that raises when it is looked at is nothing to end for, nor to fork with."""
    try:
        yield from part
    except Exception as error:
        yield Found("LW100", f"the audit failed: {words(error)}")


def _is_held(hazard: Hazard) -> bool:
    return bool(hazard.who or hazard.where)
