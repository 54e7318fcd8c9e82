"""A way to run the command line as a user does, with nothing inherited by accident."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import leeward

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Our environment without settings, its runtime directory in `tmp_path`."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("LEEWARD_", "LISTEN_", "WEB_CONCURRENCY", "COLUMNS"))
    }
    runtime = tmp_path / "run"
    runtime.mkdir(exist_ok=True)
    # An installed package or one found by PYTHONPATH: the children find the same.
    root = os.path.dirname(os.path.dirname(os.path.abspath(leeward.__file__)))
    return {**kept, "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": root, "PWD": str(tmp_path)}


@pytest.fixture
def run(tmp_path: Path, environ: dict[str, str]) -> Run:
    """`run("ps", "--json")` → the finished process.  Keywords: more environment."""

    def start(*argv: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "leeward", *argv],
            cwd=tmp_path,
            env={**environ, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return start
