"""The examples of the README's table show what they say, on the bare framework."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "failures"

#: What each says, and the least figure that is the fault.
SHOWS = {
    "shared_client": (r"(\d+) (?:somebody else's|mangled|lost)", 1),
    "full_of_descriptors": (r"uses (\d+)% of a core", 5),
    "sockets_by_number": (r"process pool: 0 of (\d+) requests", 20),
    "vanishing_clients": (r"(\d+) handlers still wait", 10),
}


@pytest.mark.parametrize("name", SHOWS)
def test_the_failure_is_shown(name):
    """Each runs alone, ends by itself, and its figure is the fault's."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pattern, least = SHOWS[name]
    found = re.search(pattern, done.stdout)
    assert found and int(found[1]) >= least, done.stdout
