"""For tests, ours and our users': a real service that a test starts, asks and ends.

    with serve("chat:make_app", "-w", "2", cwd=here) as service:
        urlopen(service.url)
        service.signal(signal.SIGHUP)
        service.wait_line(r"generation 2 serves")

And of an application's resources, open for the length of a block or replaced in it:

    async with opened(cache):
        assert await cache().get("name") == "value"
    with replaced(db, FakePool()):
        ...

Nothing here sleeps: tests wait for a line of the log (the lines are an API), for
an answer of the control socket or for the end of a process, each with a bound.
A test that fails shows the whole log.  Nothing outlives the `with` block: what
still runs then is killed, and is an error.

A little more than 400 lines, because a test imports both from one place.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from leeward._sys import procfs
from leeward.hosting import Alone

if TYPE_CHECKING:
    from leeward.resources import Resource

T = TypeVar("T")

#: Verbs that talk to a running instance.
_ASKING = frozenset(
    {
        "ps",
        "conns",
        "logs",
        "kill",
        "set",
        "reload",
        "recycle",
        "rollback",
        "drain",
        "scale",
        "stop",
    }
)

#: Seconds that a wait may take; generous, because it is only reached by failures.
PATIENCE = 30.0


class Service:
    """A running `leeward serve`.

    name:       of the instance; unique, so that a machine full of tests keeps them apart.
    pid:        of the supervisor.
    directory:  private; holds the control socket, the log and what a test puts there.
    lines:      what it has written to stderr so far.
    begun:      behind those, a line that has no end yet.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        cwd: str | Path | None,
        env: Mapping[str, str],
        directory: Path,
        pass_fds: Sequence[int] = (),
        terminal: bool = False,
        stdout: int | None = None,
    ) -> None:
        self.name = name
        self.directory = directory
        self.lines: list[str] = []
        self.begun = ""
        self._env = dict(env)
        self._python = command[0]
        self._news = threading.Condition()
        self._ended = False
        # The reader is woken by this bell: a terminal hangs up only when nobody reads it.
        self._bell = os.pipe()
        session: dict[str, Any]
        if terminal:
            self._output, theirs = os.openpty()
            session = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
            command = [command[0], "-c", _TAKE_TERMINAL, *command]
        else:
            self._output, theirs = os.pipe()
            session = {"stdin": subprocess.DEVNULL, "stderr": theirs}
        if stdout is not None:
            session["stdout"] = stdout
        try:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=self._env,
                pass_fds=pass_fds,
                start_new_session=terminal,
                **session,
            )
        finally:
            os.close(theirs)
        self.pid = self.process.pid
        self._reader = threading.Thread(target=self._read, name="service log", daemon=True)
        self._reader.start()

    # --- its log ------------------------------------------------------------------------

    def wait_line(self, pattern: str, after: int = 0, timeout: float = PATIENCE) -> re.Match[str]:
        """The first line, from the `after`th on, that `pattern` is found in.

        Raises AssertionError when none comes in time or the service has ended.
        """
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        looked_at = after
        with self._news:
            while True:
                for line in self.lines[looked_at:]:
                    if found := wanted.search(line):
                        return found
                looked_at = max(after, len(self.lines))
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = "it ended" if self._ended else f"not within {timeout:g} s"
                    raise AssertionError(f"no line matches {pattern!r}: {why}\n{self.log}")
                self._news.wait(left)

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def mark(self) -> int:
        """A place in the log, for `wait_line(..., after=mark)`."""
        with self._news:
            return len(self.lines)

    def _read(self) -> None:
        rest = b""
        poll = select.poll()  # select(2) knows no descriptor above 1023
        poll.register(self._output, select.POLLIN)
        poll.register(self._bell[0], select.POLLIN)
        while self._output in dict(poll.poll()):
            try:
                data = os.read(self._output, 65536)
            except OSError:  # EIO: the last process has left the terminal
                break
            if not data:
                break
            *whole, rest = (rest + data).split(b"\n")
            self._keep(whole)
            self.begun = rest.decode("utf-8", "replace")
        self._keep([rest] if rest else [])
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _keep(self, lines: list[bytes]) -> None:
        with self._news:
            self.lines += [line.decode("utf-8", "replace").rstrip("\r") for line in lines]
            self._news.notify_all()

    # --- asking it ------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the first listener is reached; port 0 is resolved."""
        return str(self.ps()["listeners"][0])

    def leeward(self, *args: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Runs `leeward ARGS`; a verb that asks an instance is told which."""
        with self.begin(*args) as asking:
            try:
                out, err = asking.communicate(timeout=timeout)
            except BaseException:
                asking.kill()
                raise
        return subprocess.CompletedProcess(asking.args, asking.returncode, out, err)

    def begin(self, *args: str) -> subprocess.Popen[str]:
        """The same, but returns at once: `communicate()` waits for its end."""
        verb, *rest = args
        named = ["--name", self.name] if verb in _ASKING and "--name" not in args else []
        return subprocess.Popen(
            [self._python, "-m", "leeward", verb, *named, *rest],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ps(self) -> dict[str, Any]:
        """What `leeward ps --json` says of this instance, now.

        Asked from within this process where it is the same leeward among the same processes
        and files: that takes 3 ms and not the 150 of another start, and is the first moment
        after what was waited for.  Another interpreter, which may be a script, may bring
        another leeward or be in a container: there the command itself asks.

        Raises AssertionError with the log when the instance does not answer.
        """
        if self._python != sys.executable and not _is_ours(self.pid):
            done = self.leeward("ps", "--json")
            assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.log}"
            return dict(json.loads(done.stdout)[0])
        from leeward.cli import instances
        from leeward.cli.ps import snapshot
        from leeward.errors import LeewardError

        try:
            return snapshot(instances.find(self.name, self._env))
        except LeewardError as error:
            raise AssertionError(f"{error}\n{self.log}") from None

    def workers(self, state: str = "serving") -> list[dict[str, Any]]:
        return [it for it in self.ps()["workers"] if it["state"] == state]

    def wait_ready(self, workers: int | None = None) -> Service:
        """Returns once the banner is out: all workers are ready (or `workers` lines say so)."""
        self.wait_line(r"leeward \S+ serves ")
        if workers is not None:
            for slot in range(workers):
                self.wait_line(rf"worker={slot} gen=\d+ pid=\d+ ready")
        return self

    # --- its terminal (with terminal=True) -------------------------------------------------

    def type(self, keys: bytes) -> None:
        r"""As if somebody typed it: ``b"\x03"`` is Ctrl-C."""
        os.write(self._output, keys)

    def hang_up(self) -> None:
        """As if somebody closed the window.  What it prints from then on is lost."""
        os.write(self._bell[1], b"!")
        self._reader.join(5)
        os.close(self._output)
        self._output = -1

    # --- ending it --------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Its exit code.  Raises AssertionError with the log when it does not end."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {timeout:g} s\n{self.log}") from None
        self._reader.join(5)
        return code

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def family(self) -> list[int]:
        """Every living process of this instance, whoever its parent is."""
        mark = f"{self.directory}/"
        return [
            pid
            for pid in procfs.processes()
            if procfs.environ_of(pid).get("LEEWARD_INSTANCE", "").startswith(mark)
            and procfs.state_of(pid) not in (None, "Z")
        ]

    def _end(self) -> list[int]:
        """Kills what is left; the pids that should not have been there."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        left = [pid for pid in self.family() if not _gone(pid, 2.0)]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._reader.join(5)
        os.write(self._bell[1], b"!")  # a stranger may still hold its stderr
        self._reader.join()
        for fd in (self._output, *self._bell):
            if fd >= 0:
                os.close(fd)
        return left


# --- an application's resources -----------------------------------------------------------


@contextlib.contextmanager
def replaced(resource: Resource[T], fake: T) -> Iterator[T]:
    """`resource()` gives `fake` in this process, until the end of the `with` block.

    It is not opened meanwhile, by those that ask for it neither.
    """
    from leeward.resources import Held

    before, resource.held = resource.held, Held(fake)
    try:
        yield fake
    finally:
        resource.held = before


@contextlib.asynccontextmanager
async def opened(*resources: Resource[Any], within: float = PATIENCE) -> AsyncIterator[None]:
    """These are open, and what they ask for, until the end of the `async with` block.

    Raises what opening one raises; and, unlike a worker, what a closer raises, in an
    ExceptionGroup, with a TimeoutError for those that have not closed `within` seconds and a
    RuntimeError for those that have closed by themselves without one.
    What is being opened when the block ends is cancelled.
    """
    from leeward import opening

    book, failures = opening.here(), _Failures()
    keep, teller = tuple(book.lives), book.teller
    others = list(book.opening.values())
    book.teller = failures
    try:
        for resource in resources:
            await resource
        yield
    finally:
        try:
            # What goes on opening would stand open behind the block, and behind the next one too.
            late = {it: it.task for it in book.opening.values() if it.task and it not in others}
            for task in late.values():
                task.cancel()
            if late:
                await asyncio.wait({life.ready for life in late}, timeout=within)
            for life in late:
                if not life.ready.done():
                    words = f"{life.resource} did not end its opening within {within:.3g} s"
                    failures.errors.append(TimeoutError(words))
            await book.close(within, keep)
        finally:
            book.teller = teller
    if failures.errors:
        raise ExceptionGroup("resources did not close", failures.errors)


class _Failures(Alone):
    """Keeps what goes wrong in closers.  See `leeward.hosting.Teller`."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def failed(self, resource: Resource[Any], error: BaseException) -> None:
        error.add_note(f"while closing {resource}")
        self.errors.append(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    def late(self, resource: Resource[Any], seconds: float, task: Any) -> None:
        self.errors.append(TimeoutError(f"{resource} did not close within {seconds:.3g} s"))

    def lost(self, resource: Resource[Any], error: BaseException | None) -> None:
        if error is None:
            self.errors.append(RuntimeError(f"{resource} is lost: it has closed by itself"))

    def patience(self) -> float:
        return PATIENCE


#: Makes descriptor 0 the controlling terminal, which only a session's leader can.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def _is_ours(supervisor: int) -> bool:
    """Does it run this very package, where its pids and paths are ours?"""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    same = (procfs.cmdline(supervisor) or [])[-3:-1] == [root, "supervisor"]
    return same and all(procfs.shares_namespace(supervisor, kind) for kind in ("pid", "mnt"))


def _gone(pid: int, timeout: float) -> bool:
    """Has `pid` ended, now or within `timeout` seconds?"""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))
    finally:
        os.close(fd)


@contextlib.contextmanager
def serve(
    target: str,
    *flags: str,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
    bind: str | None = "127.0.0.1:0",
    name: str = "",
    name_in_settings: bool = False,
    args: tuple[str, ...] = (),
    pass_fds: Sequence[int] = (),
    terminal: bool = False,
    stdout: int | None = None,
) -> Iterator[Service]:
    """Runs `leeward serve TARGET FLAGS -- ARGS` for the length of a `with` block.

    bind:      where; None leaves it to the flags.
    name:      given as --name, unless `name_in_settings` says that `name` stands there.
    env:       on top of this process's environment.
    pass_fds:  descriptors that it inherits under their numbers.
    terminal:  a terminal of its own, as if a person had typed the command.
    stdout:    a descriptor for its stdout, which is the caller's otherwise.

    Returns at once; `Service.wait_ready` waits for the workers.
    """
    with tempfile.TemporaryDirectory(prefix="leeward-test-") as place:
        directory = Path(place)
        name = name or directory.name.removeprefix("leeward-")
        command = [python, "-m", "leeward", "serve", target, *flags]
        if not name_in_settings:
            command += ["--name", name]
        if bind is not None:
            command += ["--bind", bind]
        if args:
            command += ["--", *args]
        environ = {**os.environ, "XDG_RUNTIME_DIR": place, **(env or {})}
        service = Service(name, command, cwd, environ, directory, pass_fds, terminal, stdout)
        try:
            yield service
            service.stop()
        except BaseException:
            print(f"--- log of leeward serve {target}, pid {service.pid}\n{service.log}\n---")
            raise
        finally:
            left = service._end()
        assert not left, f"processes outlived the service: {left}\n{service.log}"
