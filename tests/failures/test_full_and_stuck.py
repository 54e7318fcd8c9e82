"""The program of examples/full_and_stuck spins, names nobody and stays; under leeward not."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "full_and_stuck"
client = runpy.run_path(str(EXAMPLE / "client.py"))


@pytest.mark.parametrize(
    "flags", [("--engine", "tornado"), ("--loop", "asyncio"), ("--start", "spawn")], ids=" ".join
)
def test_leeward_takes_it_away(flags: tuple[str, ...]) -> None:
    """Whatever speaks HTTP: visitors are answered, the handler is named, Ctrl-C is the end."""
    seen = client["under_leeward"](*flags)
    assert seen.faults == 0, seen


def test_the_example_says_so() -> None:
    """`make examples NAME=full_and_stuck` says it in at most 12 lines, and exits with 0."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "client.py")],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) <= 12
    assert "and are gone under leeward" in done.stdout
