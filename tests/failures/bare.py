"""A program that is run as it stands, without leeward."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

Address = tuple[str, int]


@contextlib.contextmanager
def bare(program: Path, port: int = 0) -> Iterator[tuple[Address, int]]:
    """Its address and its pid, once it has said its first line; all that it forks is ended too.

    port:  where it is told to listen; without, its first line is the port.
    """
    process = subprocess.Popen(
        [sys.executable, str(program), *([str(port)] if port else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, f"{program.name} did not start"
        yield ("127.0.0.1", port or int(line)), process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
