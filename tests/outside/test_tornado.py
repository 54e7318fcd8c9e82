"""Tornado's own tests pass on the engine, but for those that are named with their reason."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).with_name("on_the_engine.py")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("flags", ["--loop=asyncio", "--loop=uvloop", "--no-accelerate"])
def test_its_own_suite(flags: str) -> None:
    """On each loop, and without what we know of Tornado's inside."""
    if flags == "--loop=uvloop" and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    done = subprocess.run(
        [sys.executable, str(SUITE), flags],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    print(done.stdout[-8000:], done.stderr[-2000:])
    assert done.returncode == 0
    assert int(done.stdout.split()[-6]) > 400, "tests were found and run"
