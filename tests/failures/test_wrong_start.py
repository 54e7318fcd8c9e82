"""The failure that started it all is there on bare Tornado, and gone for the program as it stands.

Python 3.12 and newer answer nobody; 3.11 answers, and the sibling of the blocked process
spins once the client has left.
"""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "wrong_start"
client = runpy.run_path(str(EXAMPLE / "client.py"))


def test_the_bare_program_has_the_fault() -> None:
    """`listen()` + `start(2)` answers nobody, or burns a core for a client that has left."""
    answered, _, cores = client["bare"]()
    if sys.version_info >= (3, 12):
        assert answered == 0
    else:
        assert answered and cores > client["SPINS"]


@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_leeward_takes_it_away(mode: str) -> None:
    """The same program and the same client: all answered, nobody spins."""
    answered, _, cores = client["under_leeward"]("--start", mode)
    assert answered == client["REQUESTS"]
    assert cores < client["SPINS"]


def test_the_example_says_so() -> None:
    """`make examples NAME=wrong_start` says it in at most 12 lines, and exits with 0."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "client.py")],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) <= 12
    assert "and is gone under leeward" in done.stdout
