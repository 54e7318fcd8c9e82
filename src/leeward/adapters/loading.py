"""Loading as a process of ours does it: in time, compared, and with last words.

The zygote and the spawned worker share this; `leeward.adapters.target` knows
applications only.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import select
import sys
import time
from collections.abc import Iterator

from leeward._core.config import Config
from leeward._core.messages import Begin, Descriptor, Failed, Message, Watched
from leeward._sys import privileges, procfs
from leeward._sys.channel import Channel
from leeward._sys.parentage import Orphaned, stay_with
from leeward._sys.posix import memfd, memfd_create, read_memfd
from leeward.adapters import fingerprints
from leeward.adapters.keeping import kept
from leeward.adapters.target import Application, load, prepare
from leeward.adapters.tls import Tls
from leeward.errors import TargetError

#: Seconds in which the last words before an exit must be on their way.
LAST_WORDS = 1.0
#: Seconds before the end of the start time-out when the stack is written.
STACK_BEFORE = 0.5


def settle(begin: Begin, config: Config, channel: Channel) -> None:
    """Become whom the settings say, for good.  Ends the process if it cannot."""
    if config.uid == config.gid == -1:
        return
    try:
        privileges.drop(config.uid, config.gid, config.groups)
        stay_with(begin.supervisor)  # once more: the kernel has cleared PDEATHSIG
        who = config.user or f"group {config.group}"
        for path in (os.__file__, __file__):
            if not os.access(path, os.R_OK):
                raise PermissionError(
                    f"{who} may not read {path}\n"
                    "Install Python and leeward where every user can read them (ls -ld each of its "
                    "directories)"
                )
    except Orphaned:
        os._exit(0)
    except (OSError, RuntimeError) as error:
        last_words(channel, Failed("user", str(error)))
        os._exit(TargetError.exit_code)


def make_tls(begin: Begin, channel: Channel) -> Tls | None:
    """What connections are encrypted by, None for nothing.  Ends the process if it cannot."""
    if not begin.tls:
        return None
    try:
        return Tls(begin.tls)
    except OSError as error:
        last_words(channel, Failed("tls", str(error)))
        for stream in (sys.stdout, sys.stderr):  # what the application has said
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(TargetError.exit_code)


@contextlib.contextmanager
def watched(channel: Channel, start_timeout: float) -> Iterator[None]:
    """What runs in the `with` block is seen by the supervisor if it takes too long, and does not
    close what is ours.

    The supervisor kills a start that lasts longer than the start time-out.
    Shortly before, faulthandler's own native thread writes the stack into a memfd
    that the supervisor has: that works while C code holds the interpreter lock,
    where no handler of a signal and no message would.  The time-out counts from
    the order: a spawned worker's import is over when its factory runs.
    """
    left = start_timeout - STACK_BEFORE - _age()
    stack = memfd_create("leeward-stack")
    try:
        channel.send(Watched(Descriptor(stack)))
        # No thread is to be had (a limit of processes counts them): only the place is not told.
        with contextlib.suppress(RuntimeError):
            faulthandler.dump_traceback_later(max(0.05, left), file=stack)
        with kept():
            yield
    finally:
        faulthandler.cancel_dump_traceback_later()  # and waits for that thread to end
        os.close(stack)


def time_to_wait(start_timeout: float) -> float:
    """Seconds from now after which whoever waits for something in a start gives up by himself.

    So long before the stack is written that we do not wake up in that very moment: faulthandler
    reads frames that are half made then, and the process was "killed by SIGSEGV".
    """
    early = STACK_BEFORE + min(STACK_BEFORE, 0.2 * start_timeout)
    return max(0.05, start_timeout - early - _age())


def last_moment(start_timeout: float) -> float:
    """Seconds from now after which a factory that still awaits is given up.

    Between the writing of the stack and the end: as early as by `time_to_wait`, one that takes
    1.2 s was refused by --start-timeout 2s.
    """
    early = min(STACK_BEFORE / 2, 0.2 * start_timeout)
    return max(0.05, start_timeout - early - _age())


def starts_now() -> None:
    """There is an order, for which a process may have waited (`leeward._zygote.spare`)."""
    global _ordered
    _ordered = time.monotonic()


#: When this process had its order; None: with its birth.
_ordered: float | None = None


def _age() -> float:
    """Seconds that this start has lasted so far."""
    if _ordered is not None:
        return time.monotonic() - _ordered
    return procfs.age(os.getpid()) or 0.0


def load_in_time(config: Config, channel: Channel) -> Application:
    """`prepare` and `load`, watched.  Raises TargetError as they do."""
    with watched(channel, config.start_timeout):
        prepare(config)
        return load(config)


def compare(begin: Begin) -> tuple[tuple[Descriptor, ...], tuple[str, ...]]:
    """(a new baseline, ()) in a generation's first process, ((), files that differ) later."""
    if not begin.baseline:
        return (Descriptor(memfd("leeward-baseline", fingerprints.to_json())),), ()
    (old,) = begin.baseline
    try:
        return (), fingerprints.changed_since_json(read_memfd(old))
    finally:
        os.close(old)


def last_words(channel: Channel, message: Message) -> None:
    """Send, and wait until it is on its way, at most `LAST_WORDS`.  Raises ChannelClosed."""
    channel.send(message)
    deadline = time.monotonic() + LAST_WORDS
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLOUT)
    while channel.wants_write and time.monotonic() < deadline:
        poll.poll(100)
        channel.flush()
