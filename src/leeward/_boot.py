"""Where every leeward process begins, and the one place that knows all rooms.

`leeward._sys.bootstrap` starts the supervisor with ``["-c", ROOT, ROLE, FD]`` and
every other process with ``["-c", ROOT, ROLE, FD, PARENT, …]``.
Rooms do not import each other; what one needs of another is handed over here:
to the zygote, how to become a worker.  Each room is imported when its role is
played, so that a supervisor never loads a worker's code.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import TYPE_CHECKING, NoReturn, cast

if TYPE_CHECKING:
    from leeward._core.config import Config
    from leeward._core.messages import Begin, Descriptor, Fork
    from leeward._sys.channel import Channel
    from leeward._zygote.main import Become, Newborn
    from leeward.adapters.target import Application
    from leeward.adapters.tls import Tls


#: What this process is; "" where this module was only imported.
role = ""


def main() -> NoReturn:
    """Play the role that the command line names."""
    global role
    role, fd = sys.argv[2], int(sys.argv[3])
    if role == "supervisor":
        from leeward._supervisor.main import run as supervise

        supervise(fd)
    parent = int(sys.argv.pop(4))
    if role == "collector":
        # Not with its parent: it writes what that has left.
        from leeward._collector.main import run as collect

        collect(fd)
    _stay_with(parent)
    if role == "zygote":
        # What is imported now stays: to look for cycles in it takes 10 of 200 ms, and finds
        # nothing.  With everything else it is looked through before the first fork.
        collecting = gc.isenabled()
        gc.disable()
        from leeward._zygote.main import run as be_zygote

        if collecting:
            gc.enable()
        be_zygote(fd, _import_worker)
    elif role == "worker":
        _be_spawned(fd)
    elif role == "resolve":
        from leeward._sys.lazily import import_lazily

        import_lazily("inspect")
        from leeward.cli.resolve import run as resolve

        resolve(fd)
    raise SystemExit(f"leeward: no such role: {role}")


def _stay_with(parent: int) -> None:
    """Before anything is imported that takes time: a supervisor that is killed while we
    start must not leave us behind (0.36 s measured when this came after the imports)."""
    from leeward._sys.parentage import Orphaned, stay_with

    try:
        stay_with(parent)
    except Orphaned:
        os._exit(0)


# --- a forked worker --------------------------------------------------------------------


def _import_worker(config: Config) -> Become:
    from leeward._worker.main import preload

    preload(config)
    return _be_forked


def _be_forked(newborn: Newborn) -> object:
    from leeward._worker.printing import redirect

    begin, order = newborn.begin, newborn.fork
    terminal = redirect(order, newborn.config)
    _set_names(begin, order, os.environ.get("LEEWARD_INSTANCE", "").rpartition(":")[0])
    return _be_worker(
        begin,
        order,
        newborn.config,
        newborn.channel,
        newborn.application,
        newborn.tls,
        terminal=terminal,
    )


# --- a spawned worker -------------------------------------------------------------------


def _be_spawned(fd: int) -> NoReturn:
    """Import for oneself, then be a worker like any other."""
    import faulthandler
    import signal

    from leeward._core.config import Config
    from leeward._core.messages import BadMessage, Begin, Failed, Fork
    from leeward._sys.channel import Channel
    from leeward._worker.main import preload
    from leeward._worker.printing import redirect
    from leeward.adapters.loading import compare, last_words, load_in_time, make_tls, settle
    from leeward.adapters.logfiles import install as logfiles
    from leeward.errors import ChannelClosed, TargetError

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_DFL)
    with contextlib.suppress(OSError, ValueError):  # stderr is closed
        faulthandler.enable(file=2)
    channel = Channel(fd)
    try:
        begin, order = channel.wait(None), channel.wait(None)
        if not isinstance(begin, Begin) or not isinstance(order, Fork):
            raise BadMessage(f"{begin} and {order} instead of Begin and Fork")
        config = Config.from_json(begin.config)
        terminal = redirect(order, config)
        settle(begin, config, channel)
        logfiles.before_loading(config, begin.supervisor, begin.began)
        # The module may ask for its slot while it is imported.
        _set_names(begin, order, os.environ.get("LEEWARD_INSTANCE", ""))
        if config.kind == "script":
            _run_program(begin, order, config, channel, terminal)
        try:
            application = load_in_time(config, channel)
        except TargetError as error:
            last_words(channel, Failed("import", str(error)))
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed
                    stream.flush()
            os._exit(error.exit_code)
        tls = make_tls(begin, channel)
    except ChannelClosed:
        os._exit(0)
    preload(config)
    _be_worker(begin, order, config, channel, application, tls, compare(begin), terminal)
    raise AssertionError("a worker never returns")


def _run_program(
    begin: Begin, order: Fork, config: Config, channel: Channel, terminal: bool
) -> NoReturn:
    """The program becomes the worker's when it reaches its service."""
    from leeward._worker.main import preload
    from leeward._zygote.nursery import Nursery
    from leeward.adapters.loading import compare, make_tls
    from leeward.adapters.program import Program, Stage

    def deliver(program: Program) -> Stage:
        preload(config)
        tls = make_tls(begin, channel)
        found = program.application
        stage = _be_worker(begin, order, config, channel, found, tls, compare(begin), terminal)
        return cast("Stage", stage)

    listeners = tuple(zip(map(int, begin.listeners), begin.addresses, strict=True))
    nursery = Nursery(config, channel, deliver)
    nursery.raise_(listeners, quiet=order.slot > 0)


# --- both -------------------------------------------------------------------------------


def _set_names(begin: Begin, order: Fork, instance: str) -> None:
    """What the application, what it starts, and `ps` can know this worker by.

    instance:  the mark of its processes, without the pid that a zygote has put behind it.
    """
    from leeward._sys.posix import set_comm

    os.environ["LEEWARD_SLOT"] = str(order.slot)
    os.environ["LEEWARD_GENERATION"] = str(begin.generation)
    # So that what this worker starts can be told from what its siblings start.
    os.environ["LEEWARD_INSTANCE"] = f"{instance}:{os.getpid()}"
    with contextlib.suppress(OSError):  # no /proc: only a name in `ps`
        set_comm(f"leeward w{order.slot} g{begin.generation}")


def _be_worker(
    begin: Begin,
    order: Fork,
    config: Config,
    channel: Channel,
    application: Application,
    tls: Tls | None,
    compared: tuple[tuple[Descriptor, ...], tuple[str, ...]] | None = None,
    terminal: bool = False,
) -> object:
    """Returns only for a program: its worker, on which it goes on.

    compared:  a spawned worker's baseline and changed files; None for a forked one.
    terminal:  what is captured of stderr goes to one.
    """
    from leeward._sys.page import Page
    from leeward._worker.birth import Birth

    baseline, changed = compared or ((), ())
    birth = Birth(
        config=config,
        generation=begin.generation,
        slot=order.slot,
        ordinal=order.ordinal,
        row_index=order.row,
        worker=order.worker,
        supervisor=begin.supervisor,
        channel=channel,
        page=Page.attach(begin.page),
        listeners=tuple(zip(map(int, begin.listeners), begin.addresses, strict=True)),
        application=application,
        tls=tls,
        bell=int(begin.bell[0]) if begin.bell else -1,
        spawned=compared is not None,
        baseline=baseline,
        changed=changed,
        canary=order.canary,
        ring=tuple(map(int, order.ring)),
        terminal=terminal,
        mark=order.mark,
    )
    if config.kind == "script":
        from leeward._worker.adopted import adopt
        from leeward.adapters.program import Program

        return adopt(birth, cast("Program", application.value))
    from leeward._worker.main import run

    run(birth)
