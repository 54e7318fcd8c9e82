"""A forked worker has what a program of its own would have, and nobody else's endings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from process.clients import address_of, get
from process.support import APPS, gone, marks, until, wrapped

from leeward.testing import serve

MODES = pytest.mark.parametrize("start", ["zygote", "spawn"])

#: Ways to begin in an unusual place, by a line of shell.
PLACES = {
    "a hard place": """
umask 027
echo 321 > /proc/self/oom_score_adj
exec nice -n 3 taskset -c 0 "$python" "$@"
""",
    "the C locale": "unset LC_ALL LC_CTYPE; export LANG=C OF_THE_APPLICATION='a=b c'",
    "no coercion": "unset LC_ALL LC_CTYPE; export LANG=C PYTHONCOERCECLOCALE=0 PYTHONUTF8=0",
}


@MODES
@pytest.mark.parametrize("place", PLACES)
def test_a_worker_is_where_a_program_would_be(place: str, start: str, tmp_path: Path) -> None:
    """umask, cwd, nice, oom_score_adj, locale, environment: as `python app.py` from that shell."""
    python = wrapped(tmp_path, f'{PLACES[place]}\nexec "$python" "$@"')
    alone = subprocess.run(
        [python, "tells_its_surroundings.py"],
        cwd=APPS,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    expected = json.loads(alone.stdout)
    with serve("tells_its_surroundings", "--start", start, cwd=APPS, python=python) as service:
        found = get(address_of(service.wait_ready(1))).json
    assert found["import"] == expected
    assert found["now"] == expected


def test_hooks_of_libraries_are_run(tmp_path: Path) -> None:
    """os.register_at_fork: before in reverse, after in order, for each of the two forks."""
    with serve("tells_its_surroundings", "--start", "zygote", "-w", "2", cwd=APPS) as service:
        address = address_of(service.wait_ready(2))
        seen = {found["pid"]: found["hooks"] for found in (get(address).json for _ in range(10))}
    once = ["before 2", "before 1", "child 1", "child 2"]
    in_zygote = ["before 2", "before 1", "parent 1", "parent 2"]
    for hooks in seen.values():
        assert hooks[-8:] == once * 2
        before = hooks[:-8]  # of the sibling's birth, and of a spare's that has died
        assert before in ([], in_zygote, in_zygote * 2)


@MODES
def test_endings_belong_to_the_workers(start: str, tmp_path: Path) -> None:
    """Exit functions of the application run once in each worker, and nowhere else: not in
    the zygote or the supervisor, whose own never run in a worker."""
    flags = ("--start", start, "-w", "2")
    env = {"MARKS": str(tmp_path)}
    with serve("tells_its_surroundings", *flags, cwd=APPS, env=env) as service:
        service.wait_ready(2)
        workers = {worker["pid"] for worker in service.workers()}
        victim = min(workers)
        os.kill(victim, signal.SIGKILL)
        assert gone(victim)

        def replaced() -> set[int]:
            found = {worker["pid"] for worker in service.workers()} - {victim}
            return found if len(found) == 2 else set()

        workers = until(replaced, "a replacement")
        assert service.stop() == 0
    assert marks(tmp_path, "atexit") == dict.fromkeys(workers, 1)
