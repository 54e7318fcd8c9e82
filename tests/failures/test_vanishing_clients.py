"""The session server of examples/vanishing_clients keeps zombies, and under leeward none."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "vanishing_clients"
client = runpy.run_path(str(EXAMPLE / "client.py"))
EACH = client["EACH"]


@pytest.mark.parametrize("flags", [("--engine", "tornado"), ("--loop", "asyncio")], ids=" ".join)
def test_leeward_takes_it_away(flags: tuple[str, ...]) -> None:
    """Whatever speaks HTTP: who stayed is a client, and gets the server's pings."""
    assert client["under_leeward"](*flags) == (EACH, EACH)


def test_the_example_says_so() -> None:
    """`make examples NAME=vanishing_clients` says it in at most 12 lines, and exits with 0."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "client.py")],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) <= 12
    assert "and is gone under leeward" in done.stdout
