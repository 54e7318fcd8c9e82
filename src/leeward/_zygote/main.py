"""The life of a zygote, and the birth of a spawned worker, which begins the same way.

    begin ─ load ─ warm ─ audit ─ Loaded ─ freeze ─ fork … fork ─ EOF: exit
      └──── load ─ become the worker (spawned)

Everything is single-threaded and synchronous: there is no event loop here, and
whatever the application left running at its import is for the audit to find.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from leeward._core.config import Config
from leeward._core.messages import Begin, Descriptor, Failed, Fork, Forked, Loaded, NotForked
from leeward._sys import posix, prctl
from leeward._sys.channel import Channel
from leeward._sys.page import Page
from leeward._worker.birth import Birth
from leeward._zygote import audit, fork, warm
from leeward.adapters import target
from leeward.errors import ChannelClosed, TargetError

#: Exit code of a process whose application could not be loaded.
LOAD_FAILED = 3
#: The supervisor speaks first, and at once.
_GREETING = 10.0
#: Before the supervisor's start time-out kills an import that hangs, its stack
#: is written to stderr; from outside the interpreter lock, so also out of C.
_STACK_BEFORE = 0.5

Serve = Callable[[Birth], NoReturn]


def run(fd: int, serve: Serve, spawned: bool) -> NoReturn:
    """Be the zygote, or the spawned worker, at the channel `fd`.

    serve:  what a worker does with its life.
    """
    channel = Channel(fd)
    begin = _greeting(channel)
    _settle(begin, spawned)
    config = Config.from_json(begin.config)
    page = Page.attach(begin.page)
    order = _next_fork(channel) if spawned else None
    started = time.monotonic()
    application = _load(config, channel, begin)
    if order is not None:
        baseline, changed = _compare(begin)
        birth = _birth(begin, config, page, order, channel, application)
        serve(_spawned(birth, baseline, changed))
    baseline, changed = _compare(begin)
    warm.warm()
    ours = {channel.fileno(), page.fd, *begin.listeners}
    hazards = tuple(hazard.line for hazard in audit.audit(ours))
    channel.send(
        Loaded(
            kind=application.kind,
            found=application.found,
            load_ms=int((time.monotonic() - started) * 1000),
            hazards=hazards,
            baseline=baseline,
            changed=changed,
        )
    )
    for descriptor in baseline:
        os.close(descriptor)
    if begin.rehearse:
        os._exit(0)
    # What the import left behind is collected once, here, and what stays is put
    # out of the collector's sight: else each worker's first full collection
    # would touch, and so copy, every page that it shares with its siblings.
    gc.collect()
    gc.freeze()
    serve(_birth(begin, config, page, *_fork_on_request(channel), application))


def _greeting(channel: Channel) -> Begin:
    try:
        begin = channel.wait(_GREETING)
    except ChannelClosed:
        os._exit(0)
    if not isinstance(begin, Begin):
        os._exit(1)
    return begin


def _settle(begin: Begin, spawned: bool) -> None:
    """What a process of ours needs before it runs a line of the application."""
    with contextlib.suppress(OSError, ValueError):  # stderr is closed
        faulthandler.enable(file=2)
    # TERM and INT come to whole control groups and terminals.  The zygote leaves
    # by its channel; a worker that still starts dies of TERM, having accepted
    # nothing.  (SIG_IGN would be inherited by whatever the application executes.)
    if not spawned:
        signal.signal(signal.SIGTERM, _noop)
        signal.signal(signal.SIGINT, _noop)
    prctl.set_pdeathsig(signal.SIGKILL)
    if os.getppid() != begin.supervisor:
        os._exit(0)  # it died before we had armed it
    with contextlib.suppress(OSError):
        posix.set_comm(f"leeward w gen={begin.generation}" if spawned else "leeward zygote")


def _noop(signum: int, frame: FrameType | None) -> None:
    """Catches; a handler, unlike SIG_IGN, is not inherited across an exec."""


def _load(config: Config, channel: Channel, begin: Begin) -> target.Application:
    """The application; or the end of this process, with the reason told."""
    _arm_stack(config.start_timeout)
    try:
        target.prepare(config)
        return target.load(config)
    except TargetError as error:
        with contextlib.suppress(ChannelClosed):
            channel.send(Failed("import", str(error)))
        _flush_stdio()
        os._exit(LOAD_FAILED)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _arm_stack(start_timeout: float) -> None:
    with contextlib.suppress(OSError, ValueError):  # stderr is closed
        faulthandler.dump_traceback_later(max(0.05, start_timeout - _STACK_BEFORE), file=2)


def _flush_stdio() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed, None
            stream.flush()


def _compare(begin: Begin) -> tuple[tuple[Descriptor, ...], tuple[str, ...]]:
    """(a new baseline, ()) for a generation's first process, ((), what differs) later."""
    if begin.baseline:
        baseline = json.loads(posix.read_memfd(begin.baseline[0]))
        os.close(begin.baseline[0])
        return (), target.changed_since(baseline)
    data = json.dumps(target.fingerprints()).encode()
    return (Descriptor(posix.memfd("leeward-baseline", data)),), ()


def _next_fork(channel: Channel) -> Fork:
    """The next request, or the end of this process with the end of its channel."""
    try:
        order = channel.wait(None)
    except ChannelClosed:
        os._exit(0)
    if not isinstance(order, Fork):
        os._exit(1)
    return order


def _fork_on_request(channel: Channel) -> tuple[Fork, Channel]:
    """Forks for ever in the zygote; returns once in each worker, with its order."""
    while True:
        order = _next_fork(channel)
        theirs = order.channel[0]
        _flush_stdio()
        try:
            pid = fork.double_fork()
        except OSError as error:
            answer: Forked | NotForked = NotForked(order.worker, str(error))
        else:
            if pid == 0:
                channel.close()
                return order, Channel(theirs)
            answer = Forked(order.worker, pid)
        os.close(theirs)
        try:
            channel.send(answer)
        except ChannelClosed:
            os._exit(0)


def _birth(
    begin: Begin,
    config: Config,
    page: Page,
    order: Fork,
    channel: Channel,
    application: target.Application,
) -> Birth:
    """In the worker: cut what ties it to its zygote, and say who it is."""
    fork.settle_newborn(begin.supervisor, order.slot, begin.generation)
    return Birth(
        config=config,
        generation=begin.generation,
        slot=order.slot,
        row_index=order.row,
        worker=order.worker,
        supervisor=begin.supervisor,
        channel=channel,
        page=page,
        listeners=tuple(zip(map(int, begin.listeners), begin.addresses, strict=True)),
        application=application,
    )


def _spawned(birth: Birth, baseline: tuple[Descriptor, ...], changed: tuple[str, ...]) -> Birth:
    from dataclasses import replace

    return replace(birth, spawned=True, baseline=baseline, changed=changed)
