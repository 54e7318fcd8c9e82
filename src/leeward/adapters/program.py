"""Runs an unmodified Tornado program in place of the interpreter: adoption.

The program is executed as ``__main__`` and never learns of it.  What it would do to
the machine is done by whoever runs it, its `Stage`:

    the program                              here
    listen, bind, bind_sockets, add_sockets  said to the stage; no port is opened
    start(n), fork_processes(n)              returns at once, as in the child with our slot
    IOLoop.start, asyncio.run, Runner.run    the program's own loop runs; the stage hears of it
    debug=True, autoreload.start             nothing, and one line that says so

The first of these calls is where the program *reaches* its service.  A zygote forks
its workers inside that call: in each of them it returns, and the program goes on.

`leeward.adapters.substitutes` puts the calls in place, once for the process.
"""

from __future__ import annotations

import asyncio
import atexit
import builtins
import contextlib
import importlib.util
import os
import socket
import sys
import threading
import traceback
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from leeward._core.config import Config
from leeward._core.record import Struct, field
from leeward._sys import sockets
from leeward.adapters import blame, wanted
from leeward.adapters.target import Application
from leeward.adapters.wanted import Want
from leeward.errors import BindError, LeewardError, TargetError, UsageError
from leeward.naming import package_of

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tornado.tcpserver import TCPServer

KIND = "Tornado program"


class Stage(Protocol):
    """Whoever runs a program: a rehearsal, a zygote, a worker."""

    def reached(self) -> Stage:
        """The program begins to serve.  The stage on which it goes on from here."""

    def serve(self, server: Any) -> None:
        """`server` has an address: serve the listeners with it, once a loop runs."""

    def has_opened(self) -> bool:
        """Has a turn of its loop opened its server?"""

    def stop_accepting(self) -> None:
        """The program stopped its server."""

    def loop_starts(
        self, loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, Any] | None
    ) -> None:
        """The program is about to run `loop`, for the coroutine `main` if that is known."""

    def is_over(self) -> bool:
        """Has this stage asked the program to end?"""

    def ended(self, error: BaseException | None) -> NoReturn:
        """The program ended, by `error` or by itself."""

    def fail(self, error: LeewardError) -> NoReturn:
        """The program does what cannot be adopted."""


class Served(Struct):
    """A server of the program with the addresses that it was given."""

    server: Any
    wants: list[Want] = field(default_factory=list)


class Program:
    """The program of `config`, and what it has asked for so far.

    listeners: (descriptor, address) of the bound sockets; empty in a rehearsal.
    """

    def __init__(
        self, config: Config, listeners: tuple[tuple[int, str], ...], stage: Stage, quiet: bool
    ) -> None:
        self.config = config
        self.path = config.target
        self.listeners = listeners
        self.stage = stage
        self.quiet = quiet
        self.pid = os.getpid()
        self.has_reached = False
        self.servers: list[Served] = []
        #: Of start(n) or fork_processes(n); 0 for one for each core, None if not asked for.
        self.processes: int | None = None
        #: What the last `asyncio.run` was given, and its loop.  None when `IOLoop.start` runs one.
        self.main: Coroutine[Any, Any, Any] | None = None
        self.main_loop: asyncio.AbstractEventLoop | None = None
        self._told_own: set[str] = set()
        #: Whether `IOLoop.start` is called by `run_sync`, which ends by itself.
        self.in_run_sync = False

    @property
    def application(self) -> Application:
        """The program in the place where an application is expected."""
        return Application(KIND, f"{self.path} as __main__", self)

    @property
    def main_is_over(self) -> bool:
        """Has the main coroutine ended?  `asyncio.run` turns the loop some times after that.

        Only in that loop: a program may `asyncio.run` its preparations, and serve by another.
        """
        if self.main is None or asyncio._get_running_loop() is not self.main_loop:
            return False
        return getattr(self.main, "cr_frame", self.main) is None

    @property
    def is_here(self) -> bool:
        """Is this its own process, and none that it forked itself?"""
        return os.getpid() == self.pid

    def run(self) -> NoReturn:
        """Execute it, from its first line to its end.  `prepare` was called before."""
        error: BaseException | None = None
        try:
            self._execute()
        except BaseException as raised:
            error = raised
        if not self.is_here:
            _end_child(error)
        self.stage.ended(error)

    def _execute(self) -> None:
        path = os.path.abspath(self.path)
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec", dont_inherit=True)
        # As the interpreter itself makes it (and as multiprocessing's children look for it).
        module = ModuleType("__main__")
        vars(module).update(__file__=path, __builtins__=builtins, __cached__=None)
        sys.modules["__main__"] = module
        if package := package_of(path)[0]:  # as `python -m` does
            importlib.import_module(package)
            name = f"{package}.__main__"
            spec = importlib.util.spec_from_file_location(name, path)
            vars(module).update(__package__=package, __spec__=spec)
        exec(code, vars(module))

    # --- what it asks for, by way of the substitutes ------------------------------------

    def reach(self, call: str) -> None:
        """It begins to serve by `call`.  In a zygote returns in each worker only."""
        if not self.is_here:
            self._refuse_fork(call)
        if threading.current_thread() is not threading.main_thread():
            self.stage.fail(
                TargetError(
                    f"{self.path} calls {call} in the thread {threading.current_thread().name!r}",
                    "Only a program that serves in its main thread can be adopted",
                )
            )
        if not self.has_reached:
            self.has_reached = True
            self.stage = self.stage.reached()
            self.pid = os.getpid()

    def turns_here(self) -> bool:
        """The loop that has its server turns: may the server be opened in this process?

        A process that it forked has that loop too, and ends if it would serve by it.
        """
        if not self.is_here and not self.in_run_sync:
            self._refuse_fork("IOLoop.start()")
        return self.is_here and not self.main_is_over

    def is_its_own(self, server: Any = None, address: str = "") -> bool:
        """Is a port that it opens now its own affair: one more, in a worker that serves already?

        An extension's, or one for debugging.  To end the worker cut everyone who was on it.

        server:   None if it only asks for sockets.
        address:  as in `Want`.
        """
        if not self.stage.has_opened():
            return False
        same = server is self.servers[0].server
        return not (same and (self.config.bind or self._has(address)))

    def is_another(self, server: Any) -> bool:
        """Is `server` none that is served here, in a worker that serves?"""
        return self.stage.has_opened() and server is not self.servers[0].server

    def want(self, port: Any, address: str | None, family: int) -> Want:
        """Note an address, and refuse one that this instance does not have."""
        want = Want(wanted.text(port, address, family), self._line())
        if not self.config.bind and self.listeners and not self._has(want.address):
            self.stage.fail(
                UsageError(
                    f"{want.line}: the program wants {want.address}, and this instance has "
                    + ", ".join(address for _, address in self.listeners),
                    "An instance keeps its addresses: restart it, or give them all by --bind",
                )
            )
        return want

    def _has(self, text: str) -> bool:
        held = [address for _, address in self.listeners]
        if all(address.startswith(("fd://", "unix:")) for address in held):
            return True  # handed in by a service manager, which knows best
        try:
            wanted = sockets.parse(text)
            hosts = [it.host for it in sockets.resolve(wanted)]
        except (BindError, UsageError):
            return False
        places = {address.rpartition(":")[::2] for address in held}
        return any(
            (f"[{host}]" if ":" in host else host, str(wanted.port)) in places
            or (not wanted.port and any(host == place.strip("[]") for place, _ in places))
            for host in hosts
        )

    def placeholders(self, want: Want) -> list[socket.socket]:
        """One socket for each listener, that knows its name and nothing more."""
        return wanted.placeholders(want, [fd for fd, _ in self.listeners])

    def give(self, server: TCPServer, wants: list[Want]) -> None:
        """`server` has these addresses, and serves from now on."""
        served = self._of(server)
        served.wants += wants
        self.reach("listen()")
        self._check(server)
        self.stage.serve(server)

    def _of(self, server: Any) -> Served:
        for served in self.servers:
            if served.server is server:
                return served
        self.servers.append(Served(server))
        return self.servers[-1]

    def _check(self, server: Any) -> None:
        from tornado.httpserver import HTTPServer

        if not isinstance(server, HTTPServer):
            self.stage.fail(
                UsageError(
                    f"{self._line()}: {type(server).__name__} is no HTTPServer",
                    "Adopted are programs with one tornado.httpserver.HTTPServer",
                )
            )
        if self.config.ssl_certfile and server.ssl_options is not None:
            self.stage.fail(
                UsageError(
                    f"{self._line()}: the program has ssl_options of its own, and "
                    f"--ssl-certfile names {self.config.ssl_certfile}",
                    "One certificate is shown: leave out --ssl-certfile, or the ssl_options",
                )
            )

    def several(self) -> UsageError | None:
        """The list of its servers, if there are more than one to choose from."""
        if len(self.servers) < 2:
            return None
        lines = [f"{self.path} has {len(self.servers)} servers, and one can be adopted:"]
        for served in self.servers[:5]:
            places = ", ".join(f"{want.address} ({want.line})" for want in served.wants)
            lines.append(f"  {type(served.server).__name__} at {places}")
        return UsageError(
            "\n".join(lines), "Split it, or have one function return the application: file.py:attr"
        )

    def refuse_socket(self) -> NoReturn:
        self.stage.fail(
            UsageError(
                f"{self._line()}: add_sockets() of a socket that the program opened itself",
                "Have it opened by listen() or tornado.netutil.bind_sockets(), or write the "
                "application as file.py:attr",
            )
        )

    def say_no_autoreload(self) -> None:
        """Once for an instance: in its zygote, or in the first of its spawned workers."""
        if not self.quiet:
            self.quiet = True
            _say(
                "debug=True asks for autoreload, which is off here: "
                "`leeward reload` brings new code"
            )

    def say_own_port(self) -> None:
        """Once for each line that opens one, in each worker."""
        if (line := self._line()) not in self._told_own:
            self._told_own.add(line)
            _say(
                f"{line}: a port that is opened while the program serves is its "
                "worker's own, and ends with it"
            )

    # --- small things ------------------------------------------------------------------

    def _line(self) -> str:
        """ "app.py:12": the innermost line of the program itself, else of its caller."""
        frame = sys._getframe(1)
        path, outer = os.path.abspath(self.path), ""
        while frame is not None:
            name = frame.f_code.co_filename
            if name == path:
                return f"{blame.shown(name)}:{frame.f_lineno}"
            if not outer and "tornado" not in name and "leeward" not in name:
                outer = f"{blame.shown(name)}:{frame.f_lineno}"
            frame = frame.f_back  # type: ignore[assignment]
        return outer or self.path

    def _refuse_fork(self, call: str) -> NoReturn:
        _say(
            f"{self._line()}: {call} in a process that the program forked itself "
            f"(pid {os.getpid()}): it ends.  leeward makes the processes, -w N says how many"
        )
        os._exit(1)


def _say(text: str) -> None:
    """On stderr.  One that takes nothing (closed, a full disk) is no error in the program."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"leeward: {text}\n")
        sys.stderr.flush()


def of(config: Config, error: BaseException | None, listened: bool) -> TargetError:
    """Why there is no worker: the program ended, by `error` or by its last line."""
    name = config.target
    when = "before it served" if listened else "and has not listened"
    if error is None:
        remedy = (
            "what needs arguments gets them after --, "
            f"and an application to be imported is {name}:ATTR, or has --kind tornado"
        )
        if listened:
            remedy = "its main coroutine has to wait: await asyncio.Event().wait()"
        return TargetError(
            f"{name} ended {when} (exit code 0)",
            f"A program serves from IOLoop.current().start() or asyncio.run(); {remedy}",
        )
    if isinstance(error, LeewardError):
        return error if isinstance(error, TargetError) else TargetError(str(error))
    if isinstance(error, SystemExit):
        lines = [f"{name} called sys.exit({error.code!r}) {when}"]
        remedy = "Arguments for the program go after --" if error.code == 2 else ""
        return TargetError("\n".join([*lines, *blame.frames(error.__traceback__)]), remedy)
    return blame.tell(error, f"running {name}")


def stack(config: Config, error: BaseException) -> str:
    """The traceback of `error`, from the program's own first line on."""
    path, trace = os.path.abspath(config.target), error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != path:
        trace = trace.tb_next
    found = trace or error.__traceback__
    return "".join(traceback.format_exception(type(error), error, found))


def _end_child(error: BaseException | None) -> NoReturn:
    """End a process that the program forked, as the interpreter would."""
    status = 0
    # Closed or absent streams, and a reader that has gone.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if isinstance(error, SystemExit):
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
            if status and not isinstance(error.code, int):
                print(error.code, file=sys.stderr)
        elif error is not None:
            status = 1
            traceback.print_exception(error)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status & 0xFF)
