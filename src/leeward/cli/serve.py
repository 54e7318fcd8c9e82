"""Serve an application: start its supervisor, which starts the workers.

TARGET is a string, so that only the workers load the application:

  leeward serve chat:make_app          a function that makes the application
  leeward serve chat:app               the application itself
  leeward serve path/chat.py           a file; make_app or app is looked for
  leeward serve chat:make_app -- --room lobby      sys.argv of the application
  leeward serve program.py -- --port=8888          a program that listens itself: adopted

Every option is also a key in leeward.toml (or [tool.leeward] of
pyproject.toml) and a variable LEEWARD_*: flag > variable > file > default.

Signals: TERM and INT stop gracefully (INT twice: now), QUIT quickly, HUP
reloads, USR1 reopens logs, TTIN and TTOU add and take a worker.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from contextlib import ExitStack
from typing import NoReturn

import click

from leeward._core.config import Config, Handover
from leeward._core.record import replace
from leeward._sys import bootstrap, descriptors, needed, posix, prctl, sockets
from leeward.cli import instances
from leeward.cli.options import SettingsVerb, resolved
from leeward.cli.resolution import Resolution
from leeward.cli.target import check_exists
from leeward.errors import LeewardError, UsageError


@click.pass_context
def serve(ctx: click.Context, /, **flags: object) -> None:
    check_kernel(os.uname().release)
    resolution = resolved(ctx)
    check_exists(resolution.config.target, resolution.config.chdir)
    start(resolution)


command = SettingsVerb("serve", help=__doc__, callback=serve)


def check_kernel(release: str) -> None:
    """Raises `UsageError` below Linux 5.9 (pidfd, close_range), and where calls are refused."""
    match = re.match(r"(\d+)\.(\d+)", release)
    if match and (int(match[1]), int(match[2])) < (5, 9):
        raise UsageError(f"leeward needs Linux 5.9 or newer, this is {release}")
    if not os.path.exists("/proc/self/fd"):
        raise UsageError(
            "leeward needs /proc, which is not mounted here", "mount -t proc proc /proc"
        )
    if found := needed.refused():
        call, error = found
        raise UsageError(
            f"the system call {call} is refused here, and nothing works without: {error.strerror}",
            "a container's seccomp profile is older than the call (Docker's before 20.10), or a "
            "sandbox does not know it; try: docker run --security-opt seccomp=unconfined",
        )


def start(resolution: Resolution) -> NoReturn:
    """Becomes the supervisor.  If a step fails, the steps before it are undone."""
    from leeward.cli import credentials, listeners, logsink, programs, strays

    config = resolution.config
    logsink.check(config, resolution.values["log_file"].origin)
    with ExitStack() as undo:
        tls = credentials.load(config, undo, resolution.values)
        claim = instances.claim(config.name, os.environ)
        undo.callback(claim.release)
        strays.end(claim.path, claim.former)
        claim.settle()
        # After the strays: one of them may hold the port.
        adopts = bool(sockets.listen_fds(os.environ, os.getpid()))
        if programs.must_be_asked(resolution, adopts):
            from leeward.cli.rehearsal import rehearse

            resolution = programs.complete(resolution, rehearse(config))
            config = resolution.config
        config = replace(config, notes=config.notes + tls.warnings)
        wanted = listeners.addresses(resolution, os.environ)
        bound = listeners.open_each(wanted, config, undo)
        if resolution.tls:
            bound = [replace(it, url=it.url.replace("http://", "https://")) for it in bound]
        descriptors.raise_limit()
        prctl.set_child_subreaper()
        handover = Handover(
            config=config,
            listeners=tuple(bound),
            control_fd=claim.control.fileno(),
            control_path=claim.path,
            lock_fd=claim.lock_fd,
            terminal=os.isatty(2),
            tls=tls.fds,
        )
        fds = [handover.control_fd, handover.lock_fd, *tls.fds, *(each.fd for each in bound)]
        memory = posix.memfd("leeward-handover", handover.to_json().encode(), inheritable=True)
        undo.callback(os.close, memory)
        for fd in fds:
            os.set_inheritable(fd, True)
        become_supervisor(config, memory)


#: What the supervisor obeys.  It hears of it when it can: until then, an interpreter's start
#: long, a Ctrl-C would be a traceback, and any other of them a death without a word.
HELD = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM),
    *(signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2),
)


def become_supervisor(config: Config, handover_fd: int) -> NoReturn:
    # The resolver finds the typed directory here, when the kernel's own idea of
    # the working directory is a release that a swapped link no longer names.
    os.environ["PWD"] = config.cwd
    argv = bootstrap.command([sys.executable], config.root, "supervisor", handover_fd)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)  # `Signals` lets them in
    try:
        os.execve(argv[0], argv, bootstrap.environ_as_given())
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if error.errno == errno.E2BIG:
            raise  # not the interpreter's fault
        raise LeewardError(f"cannot execute {argv[0]}: {error.strerror}") from None
