"""What an adopted program finds in place of Tornado's way to a port, a process, a loop.

Put in place in the processes of adopted programs only, before the program's first
line, for the life of the process.  Tornado's documented hook,
``HTTPServer.configure``, reaches neither programs that subclass HTTPServer nor
`fork_processes`; replacing the five methods of TCPServer that touch a port reaches
both, and leaves each server the program's own object with all its arguments.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import threading
from typing import TYPE_CHECKING, Any

import tornado.autoreload
import tornado.netutil
import tornado.process
from tornado.ioloop import IOLoop
from tornado.platform.asyncio import BaseAsyncIOLoop
from tornado.tcpserver import TCPServer

from leeward.adapters import wanted
from leeward.adapters.wanted import Placeholder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from leeward.adapters.program import Program


def install(program: Program) -> None:
    """From now on this process runs `program`."""
    for owner, names in _substitutes(program).items():
        for name, value in names.items():
            setattr(owner, name, value)


def _substitutes(program: Program) -> dict[Any, dict[str, Any]]:
    return {
        TCPServer: _server(program),
        BaseAsyncIOLoop: {"start": _start_loop(program, BaseAsyncIOLoop.start)},
        IOLoop: {"run_sync": _run_sync(program, IOLoop.run_sync)},
        asyncio.Runner: {
            "__enter__": _enter_runner(program, asyncio.Runner.__enter__),
            "run": _run_runner(program, asyncio.Runner.run),
        },
        tornado.netutil: {"bind_sockets": _bind_sockets(program)},
        tornado.process: {"fork_processes": _fork_processes(program)},
        tornado.autoreload: {"start": lambda *args, **kwargs: program.say_no_autoreload()},
    }


# --- ports --------------------------------------------------------------------------------


def _server(program: Program) -> dict[str, Any]:
    plain = {name: vars(TCPServer)[name] for name in ("listen", "bind", "add_sockets", "stop")}

    def listen(server: TCPServer, port: int, address: str | None, family: int) -> None:
        program.give(server, [program.want(port, address, family)])

    def bind(server: TCPServer, port: int, address: str | None, family: int) -> None:
        want = program.want(port, address, family)
        if server._started:
            program.give(server, [want])
        else:
            server._pending_sockets += program.placeholders(want)

    def start(
        server: TCPServer, num_processes: int | None = 1, max_restarts: int | None = None
    ) -> None:
        assert not server._started
        server._started = True
        if num_processes != 1:
            tornado.process.fork_processes(num_processes, max_restarts)
        pending, server._pending_sockets = server._pending_sockets, []
        if pending:
            server.add_sockets(pending)

    def add_sockets(server: TCPServer, sockets: Iterable[socket.socket]) -> None:
        given = list(sockets)
        if program.stage.has_opened() and not any(isinstance(each, Placeholder) for each in given):
            plain["add_sockets"](server, given)
            return
        if not all(isinstance(each, Placeholder) for each in given):
            program.refuse_socket()
        wants = dict.fromkeys(each.want for each in given if isinstance(each, Placeholder))
        program.give(server, list(wants))
        for each in given:
            each.close()

    def stop(server: TCPServer) -> None:
        if program.is_another(server):
            plain["stop"](server)
        elif not server._stopped:
            server._stopped = True
            program.stage.stop_accepting()

    return {
        "listen": functools.wraps(TCPServer.listen)(_positional(program, listen, plain["listen"])),
        "bind": functools.wraps(TCPServer.bind)(_positional(program, bind, plain["bind"])),
        "start": functools.wraps(TCPServer.start)(start),
        "add_sockets": functools.wraps(TCPServer.add_sockets)(add_sockets),
        "stop": functools.wraps(TCPServer.stop)(stop),
    }


def _positional(
    program: Program, function: Callable[..., None], plain: Callable[..., None]
) -> Callable[..., None]:
    """Takes what follows `family` (backlog, flags, reuse_port) by place or by name: not ours.

    plain:  Tornado's own, for a port that is none of ours either.
    """

    def taking(
        server: TCPServer,
        port: int,
        address: str | None = None,
        family: int = socket.AF_UNSPEC,
        *rest: Any,
        **more: Any,
    ) -> None:
        if program.is_its_own(server, wanted.text(port, address, family)):
            program.say_own_port()
            plain(server, port, address, family, *rest, **more)
        else:
            function(server, port, address, family)

    return taking


def _bind_sockets(program: Program) -> Callable[..., list[socket.socket]]:
    plain = tornado.netutil.bind_sockets

    @functools.wraps(tornado.netutil.bind_sockets)
    def bind_sockets(
        port: int,
        address: str | None = None,
        family: int = socket.AF_UNSPEC,
        *rest: Any,
        **more: Any,
    ) -> list[socket.socket]:
        if program.is_its_own():
            program.say_own_port()
            return plain(port, address, socket.AddressFamily(family), *rest, **more)
        return program.placeholders(program.want(port, address, family))

    return bind_sockets


# --- processes ------------------------------------------------------------------------------


def _fork_processes(program: Program) -> Callable[..., int]:
    @functools.wraps(tornado.process.fork_processes)
    def fork_processes(num_processes: int | None, max_restarts: int | None = None) -> int:
        program.processes = max(0, num_processes or 0)
        program.reach("fork_processes()")
        return tornado.process.task_id() or 0

    return fork_processes


# --- loops ----------------------------------------------------------------------------------


def _start_loop(
    program: Program, original: Callable[[BaseAsyncIOLoop], None]
) -> Callable[[BaseAsyncIOLoop], None]:
    @functools.wraps(original)
    def start(loop: BaseAsyncIOLoop) -> None:
        if not _is_ours(program):
            original(loop)
            return
        program.reach("IOLoop.start()")
        was_over = program.stage.is_over()
        if was_over and not program.in_run_sync:
            program.stage.ended(None)  # to serve once more: nothing would ever stop this loop
        program.main = program.main_loop = None
        program.stage.loop_starts(loop.asyncio_loop, None)
        original(loop)
        if program.in_run_sync and program.stage.is_over() and not was_over:
            # As Ctrl-C does: what run_sync makes of a loop that was stopped is another error in
            # each release of Tornado, and none that programs expect.
            raise KeyboardInterrupt

    return start


def _run_sync(program: Program, original: Callable[..., Any]) -> Callable[..., Any]:
    """Not another way to start a loop (it calls `start`), but one that ends by itself."""

    @functools.wraps(original)
    def run_sync(loop: IOLoop, func: Callable[..., Any], timeout: float | None = None) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return original(loop, func, timeout)
        program.in_run_sync = True
        try:
            return original(loop, func, timeout)
        finally:
            program.in_run_sync = False

    return run_sync


def _enter_runner(
    program: Program, original: Callable[[asyncio.Runner], asyncio.Runner]
) -> Callable[[asyncio.Runner], asyncio.Runner]:
    # Not only in `run`: entering makes the loop, and a fork must come before that.
    @functools.wraps(original)
    def enter(runner: asyncio.Runner) -> asyncio.Runner:
        if _is_ours(program):
            program.reach("asyncio.run()")
        return original(runner)

    return enter


def _run_runner(program: Program, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def run(runner: asyncio.Runner, coro: Any, *, context: Any = None) -> Any:
        if not _is_ours(program):
            return original(runner, coro, context=context)
        program.reach("asyncio.run()")
        was_over = program.stage.is_over()
        program.main, program.main_loop = coro, runner.get_loop()
        program.stage.loop_starts(program.main_loop, coro)
        try:
            return original(runner, coro, context=context)
        except (asyncio.CancelledError, RuntimeError):
            if program.stage.is_over() and not was_over:
                # What a Ctrl-C makes of a cancelled main task, and programs expect.
                raise KeyboardInterrupt from None
            raise

    return run


def _is_ours(program: Program) -> bool:
    """Not what a thread of the program runs, nor a process that it forked: they have loops of
    their own, and do not serve (`Program.reach` refuses that).
    """
    return program.is_here and threading.current_thread() is threading.main_thread()
