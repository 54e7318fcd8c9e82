"""An application whose code a test changes: `deploy` writes it, `served` runs it."""

from __future__ import annotations

import contextlib
import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from process.clients import Address, Gate, get
from process.support import until

from leeward.testing import Service, serve

#: The module that `deploy` writes, and the target that `served` serves.
MODULE = "shop"

#: A module rewritten within one second at the same length would be served from
#: its .pyc, by the rules of Python.
NO_PYC = {"PYTHONDONTWRITEBYTECODE": "1"}

_CODE = '''\
"""A shop, release {release}."""

import json
import os
import sys

import tornado.web
import tornado.websocket

{at_import}

class Who(tornado.web.RequestHandler):
    def get(self):
        self.write(
            json.dumps(
                {{
                    "release": {release!r},
                    "pid": os.getpid(),
                    "slot": os.environ["LEEWARD_SLOT"],
                    "generation": int(os.environ["LEEWARD_GENERATION"]),
                    "cwd": os.getcwd(),
                    "path": sys.path[0],
                    "file": __file__,
                    "executable": sys.executable,
                    "prefix": sys.prefix,
                    "season": os.environ.get("SEASON", ""),
                }}
            )
        )


class Echo(tornado.websocket.WebSocketHandler):
    def on_message(self, message):
        self.write_message(message)

{at_end}

def make_app():
{in_factory}
    return tornado.web.Application(
        [("/", Who), ("/ws", Echo)], log_function=lambda handler: None
    )
'''


def deploy(
    directory: Path,
    release: str,
    at_import: str = "",
    at_end: str = "",
    in_factory: str = "pass",
) -> Path:
    """Puts a release into `directory`, whole at once as a deployment should."""
    directory.mkdir(parents=True, exist_ok=True)
    text = _CODE.format(
        release=release,
        at_import=at_import,
        at_end=at_end,
        in_factory=textwrap.indent(in_factory, "    "),
    )
    return replace(directory / f"{MODULE}.py", text)


def replace(path: Path, text: str) -> Path:
    """Writes a file beside and moves it over `path`: nobody ever sees half of it."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    os.replace(beside, path)
    return path


def wait_at(gate: Gate) -> str:
    """Code that comes to `gate` and stays there until it is released."""
    return (
        f"with __import__('socket').create_connection(('127.0.0.1', {gate.port})) as gate:\n"
        "    gate.sendall(b'%d\\n' % os.getpid())\n"
        "    gate.recv(1)\n"
    )


@contextlib.contextmanager
def served(
    directory: Path,
    *flags: str,
    workers: int | None = 2,
    env: Mapping[str, str] | None = None,
    **more: Any,
) -> Iterator[Service]:
    """Runs what was deployed there.  Returns once all workers are ready.

    workers:  as a flag; None leaves the number to the settings.
    """
    environ = {**NO_PYC, **(env or {})}
    if workers is not None:
        flags = ("-w", str(workers), *flags)
    with serve(MODULE, *flags, cwd=directory, env=environ, **more) as service:
        service.wait_ready(workers)
        yield service


def releases_of(address: Address, asked: int = 8) -> set[str]:
    """What new connections are answered with."""
    return {get(address).json["release"] for _ in range(asked)}


def wait_releases(address: Address, wanted: set[str]) -> None:
    """Until new connections have been answered with all of `wanted`, and with nothing else.

    Whichever worker wakes first answers; on a busy machine that may be one of them for long.
    """
    seen: set[str] = set()

    def all_seen() -> bool:
        seen.update(releases_of(address, 1))
        assert seen <= wanted, seen
        return seen == wanted

    until(all_seen, f"answers of {wanted}")


def check_capacity(service: Service, slots: int, after: int = 0) -> None:
    """Since the `after`th line of the log every slot had a worker that accepts.

    Read off the lines: the supervisor's `ready`, and `draining` or `aside` as a worker obeys.
    Call it once all those that were to go have gone.
    """
    accepting: set[tuple[str, str]] = set()
    for number, line in enumerate(service.lines):
        if found := re.search(r"worker=(\d+) gen=\d+ pid=(\d+) (ready|draining|died|aside:)", line):
            slot, pid, what = found.groups()
            (accepting.add if what == "ready" else accepting.discard)((slot, pid))
        if number >= after:
            missing = {str(slot) for slot in range(slots)} - {slot for slot, _ in accepting}
            assert not missing, f"nobody accepts in {missing} at {line!r}\n{service.log}"
