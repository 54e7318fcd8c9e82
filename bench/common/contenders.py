"""How each contender is started and ended.

Each serves `apps/light.py` or `apps/heavy.py` with n workers on a port of the
loopback, with its default settings but for those that make it comparable (no
access log, replace dead workers).  Tornado's own, gunicorn and leeward run the
Tornado application, uvicorn and granian the same work as an ASGI application.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.measure import descendants
from leeward._sys import procfs

APPS = Path(__file__).resolve().parent.parent / "apps"

#: Seconds for a polite end before SIGKILL.
_PATIENCE = 8.0

Command = Callable[[str, int, int], list[str]]  # (module, port, workers)


@dataclass(frozen=True)
class Contender:
    """name: as in the tables.  needs: the distribution that must be installed.
    rest: seconds between two kills that it must have.
    fewest: workers below which it has no supervisor.
    """

    name: str
    needs: str
    command: Command
    rest: float = 0.2
    fewest: int = 1


def _python(*words: str) -> list[str]:
    return [sys.executable, *words]


def _leeward(mode: str) -> Command:
    def command(module: str, port: int, workers: int) -> list[str]:
        flags = ["-w", str(workers), "--start", mode, "--bind", f"127.0.0.1:{port}"]
        flags += ["--name", instance(port)]
        # WebSockets are told within a second instead of ten: the reloads follow
        # each other faster than in real life.
        quiet = ["--log-level", "warning", "--drain-window", "1s"]
        return _python("-m", "leeward", "serve", f"{module}:make_app", *flags, *quiet)

    return command


def instance(port: int) -> str:
    """leeward's name of the instance: root's commands see everybody's."""
    return f"bench-{port}"


def _gunicorn(*flags: str) -> Command:
    def command(module: str, port: int, workers: int) -> list[str]:
        app = "plain_app()" if "--preload" in flags else "make_app()"
        return _python(
            *("-m", "gunicorn", "-k", "tornado", "-w", str(workers)),
            *("-b", f"127.0.0.1:{port}", "--log-level", "critical", *flags, f"{module}:{app}"),
        )

    return command


def _uvicorn(module: str, port: int, workers: int) -> list[str]:
    return _python(
        *("-m", "uvicorn", f"{module}:asgi", "--workers", str(workers)),
        *("--port", str(port), "--log-level", "critical", "--no-access-log"),
    )


def _granian(module: str, port: int, workers: int) -> list[str]:
    return _python(
        *("-m", "granian", "--interface", "asgi", "--workers", str(workers)),
        *("--host", "127.0.0.1", "--port", str(port), "--no-log"),
        *("--respawn-failed-workers", f"{module}:asgi"),
    )


def _tornado(module: str, port: int, workers: int) -> list[str]:
    return _python(str(APPS / "own.py"), module, str(port), str(workers))


def _fresh(module: str, port: int, workers: int) -> list[str]:
    return _python(str(APPS / "own.py"), module, str(port), "0")


def _reuseport(module: str, port: int, workers: int) -> list[str]:
    return _python(str(APPS / "reuseport.py"), module, str(port), str(workers))


def _rude(module: str, port: int, workers: int) -> list[str]:
    return _leeward("zygote")("rude", port, workers)


LEEWARD = Contender("leeward", "leeward", _leeward("zygote"))
SPAWN = Contender("leeward spawn", "leeward", _leeward("spawn"))
GUNICORN = Contender("gunicorn", "gunicorn", _gunicorn())
PRELOAD = Contender(
    "gunicorn --preload",
    "gunicorn",
    _gunicorn("--preload", "-c", str(APPS / "gunicorn_born.py")),
)
UVICORN = Contender("uvicorn", "uvicorn", _uvicorn, fewest=2)
#: It ends altogether when a worker dies within 5.5 s of its predecessor.
GRANIAN = Contender("granian", "granian", _granian, rest=6.0)
TORNADO = Contender("tornado", "tornado", _tornado)
#: leeward itself, whose workers take whatever wakes them: plain shared accept.
RUDE = Contender("plain shared", "leeward", _rude)
REUSEPORT = Contender("SO_REUSEPORT", "tornado", _reuseport)
#: One process and no fork: what a fresh interpreter costs.
FRESH = Contender("fresh interpreter", "tornado", _fresh)

ALL = (LEEWARD, SPAWN, GUNICORN, PRELOAD, UVICORN, GRANIAN, TORNADO)


def python_path(apps: Path = APPS) -> str:
    """Where the application is found, before what is found already."""
    return os.pathsep.join(filter(None, [str(apps), os.environ.get("PYTHONPATH", "")]))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Server:
    """A running contender.  `started`: monotonic time just before its exec."""

    contender: Contender
    process: subprocess.Popen[bytes]
    port: int
    started: float
    directory: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")


@contextlib.contextmanager
def run(
    contender: Contender,
    module: str,
    workers: int,
    cpus: set[int],
    *,
    apps: Path = APPS,
    env: Mapping[str, str] | None = None,
    flags: tuple[str, ...] = (),
) -> Iterator[Server]:
    """Runs a contender for the length of a `with` block; ends it and all below it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory, port = Path(name), free_port()
        environ = {
            **os.environ,
            "PYTHONPATH": python_path(apps),
            "XDG_RUNTIME_DIR": name,
            "BENCH_BIRTHS": str(directory / "births"),
            **(env or {}),
        }
        with open(directory / "log", "wb") as log:
            command = [*contender.command(module, port, workers), *flags]
            pinned = ["taskset", "-c", ",".join(map(str, sorted(cpus))), *command]
            started = time.monotonic()
            process = subprocess.Popen(
                pinned if shutil.which("taskset") else command,
                cwd=directory,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield Server(contender, process, port, started, directory)
        except BaseException:
            said = (directory / "log").read_text(errors="replace")[-2000:]
            print(f"--- {contender.name} has said\n{said}\n---", file=sys.stderr)
            raise
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    below = {pid: procfs.start_time(pid) for pid in descendants(process.pid)}
    for pid in below:  # some were stopped; nobody ends who cannot run
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            below |= {pid: procfs.start_time(pid) for pid in descendants(process.pid)}
            process.kill()
            process.wait()
    for pid, start in below.items():  # the same process still, not a new one of its number
        if start is not None and procfs.start_time(pid) == start:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
