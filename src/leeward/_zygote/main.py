"""The life of a zygote.

    Begin ─ load ─ warm ─ audit ─ freeze ─ Loaded ─ (Fork ─ Forked | NotForked)* ─ end of channel
              └─ Failed, status 3             └─ rehearsal: status 0

It ends by `os._exit` wherever it ends: what the application registered with
`atexit` belongs to the workers.  It has no deadline of its own: the supervisor
has one for each state, and its death ends the zygote (PDEATHSIG, and the end of
the channel).  There is no event loop here.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from leeward._core.config import Config
from leeward._core.messages import (
    BadMessage,
    Begin,
    Descriptor,
    Failed,
    Fork,
    Forked,
    Loaded,
    NotForked,
    Renew,
    Renewed,
)
from leeward._sys.channel import Channel
from leeward._sys.mappings import unmap_clean_files
from leeward._sys.posix import set_comm
from leeward._zygote import fork
from leeward._zygote.audit import audit, open_descriptors
from leeward._zygote.warm import warm
from leeward.adapters.loading import compare, last_words, load_in_time, settle
from leeward.adapters.target import Application
from leeward.adapters.tls import Tls
from leeward.errors import ChannelClosed, TargetError

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

#: Seconds without a request after which a zygote gives back, once, what only the
#: import has needed: 9 MiB with numpy and pandas.  It takes 15 ms, which neither
#: the start of an instance nor a roll shall wait for.
_QUIET = 1.0


@dataclass(frozen=True)
class Newborn:
    """A forked worker before it knows how to be one."""

    begin: Begin
    fork: Fork
    config: Config
    channel: Channel
    application: Application
    tls: Tls | None


#: Makes a worker of the process that it is called in.
Become = Callable[[Newborn], NoReturn]


def run(fd: int, import_worker: Callable[[], Become]) -> NoReturn:
    """Be a zygote on the channel `fd`.

    import_worker:  imports what a worker needs; called once, after the application,
                    which may want to be first (patches, policies).
    """
    # A Python handler and not SIG_IGN, which the application's subprocesses would
    # inherit.  TERM and INT come to whole control groups and terminals.
    for signum in _SIGNALS:
        signal.signal(signum, _nothing)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with contextlib.suppress(OSError, ValueError):  # stderr is closed
        faulthandler.enable(file=2)
    try:
        _live(Channel(fd), import_worker)
    except ChannelClosed:
        os._exit(0)


def _nothing(signum: int, frame: FrameType | None) -> None:
    """The end of the channel is what ends a zygote."""


def _live(channel: Channel, import_worker: Callable[[], Become]) -> NoReturn:
    begin = channel.wait(None)
    if not isinstance(begin, Begin):
        raise BadMessage(f"{type(begin).__name__} instead of Begin")
    config = Config.from_json(begin.config)
    settle(begin, config, channel)
    with contextlib.suppress(OSError):  # no /proc: only a name in `ps`
        set_comm("leeward zygote")
    own = open_descriptors()
    started = time.monotonic()
    try:
        application = load_in_time(config, channel)
    except TargetError as error:
        last_words(channel, Failed("import", str(error)))
        fork.flush()
        os._exit(error.exit_code)
    load_ms = int((time.monotonic() - started) * 1000)
    become = import_worker()
    try:
        tls = Tls(begin.tls) if begin.tls else None
    except OSError as error:
        last_words(channel, Failed("tls", str(error)))
        fork.flush()
        os._exit(TargetError.exit_code)
    failure = warm()
    if failure and config.log_level == "debug":
        print(f"zygote gen={begin.generation}: not warmed: {failure}", file=sys.stderr)
    handlers = _take_signals()
    hazards = tuple(hazard.line for hazard in audit(own))
    fork.freeze()
    baseline, changed = compare(begin)
    last_words(
        channel, Loaded(application.kind, application.found, load_ms, hazards, baseline, changed)
    )
    for descriptor in baseline:
        os.close(descriptor)
    if begin.rehearse:
        fork.flush()
        os._exit(0)
    order, end = _fork_on_request(channel, tls)
    channel.close()
    for signum, handler in handlers.items():
        signal.signal(signum, handler)
    fork.reseed()
    become(Newborn(begin, order, config, Channel(end), application, tls))


def _take_signals() -> dict[int, Any]:
    """Put aside what the application has installed while it was imported.

    Those handlers are meant for a process that serves: workers get them back, or
    the default action.
    """
    handlers: dict[int, Any] = {}
    for signum in _SIGNALS:
        handler = signal.getsignal(signum)
        handlers[signum] = signal.SIG_DFL if handler in (_nothing, None) else handler
        signal.signal(signum, _nothing)
    return handlers


def _fork_on_request(channel: Channel, tls: Tls | None) -> tuple[Fork, Descriptor]:
    """Returns once in each worker, with its order; in the zygote never."""
    quiet: float | None = _QUIET
    while True:
        try:
            order = channel.wait(quiet)
        except BadMessage as error:  # no descriptors left: the supervisor's deadline acts
            print(f"zygote: not understood: {error}", file=sys.stderr, flush=True)
            continue
        if order is None:
            quiet = None
            with contextlib.suppress(OSError):  # no /proc: they stay mapped
                unmap_clean_files()
            continue
        if isinstance(order, Renew) and tls is not None:
            try:
                tls.renew(order.tls)
            except OSError as error:
                channel.send(Renewed(str(error)))
            else:
                channel.send(Renewed())
            continue
        if not isinstance(order, Fork) or len(order.channel) != 1:
            print(f"zygote: not for a zygote: {order}", file=sys.stderr, flush=True)
            continue
        (end,) = order.channel
        try:
            pid = fork.fork_twice()
        except OSError as error:
            answer: Forked | NotForked = NotForked(order.worker, str(error))
        else:
            if pid == 0:
                return order, end
            answer = Forked(order.worker, pid)
        os.close(end)
        channel.send(answer)
