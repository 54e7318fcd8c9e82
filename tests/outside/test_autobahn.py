"""Autobahn's fuzzing client finds nothing: core and limits cases, on both loops.

The real one: package `autobahntestsuite`, which runs on Python 2.7.  It is looked for as
`wstest` on the path, and in every `python2.7` or `pypy` there; skipped where there is none.
LEEWARD_AUTOBAHN=all runs compression (12.*, 13.*) and all limits (9.*) too, for half an hour.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SERVER = Path(__file__).with_name("echoes.py")
RUN = "from autobahntestsuite.wstest import run; run()"
GOOD = ("OK", "INFORMATIONAL")
ALL = os.environ.get("LEEWARD_AUTOBAHN") == "all"


def wstest() -> list[str]:
    """The command that runs Autobahn's suite; skips where there is none."""
    found = shutil.which("wstest")
    if found is not None:
        return [found]
    tried = []
    for name in ("python2.7", "python2", "pypy2", "pypy"):
        python = shutil.which(name)
        if python is None:
            continue
        done = subprocess.run([python, "-c", "import autobahntestsuite"], capture_output=True)
        if done.returncode == 0:
            return [python, "-c", RUN]
        tried.append(name)
    there = f"{', '.join(tried)} without autobahntestsuite" if tried else "no Python 2.7"
    pytest.skip(f"Autobahn's fuzzing client runs on Python 2.7: {there}, and no wstest")


@contextlib.contextmanager
def echoing(loop: str) -> Iterator[str]:
    """The address of an echo server on the engine."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER), loop], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.mark.timeout(7200 if ALL else 1800)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_nothing_fails(loop: str, tmp_path: Path) -> None:
    """Every case OK, none FAILED and none NON-STRICT."""
    command = wstest()
    if loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    cases = ["*"] if ALL else [f"{part}.*" for part in (*range(1, 8), 10, "9.1", "9.2", "9.7")]
    found: dict[str, Any] = {}
    with echoing(loop) as url:
        # The client has a second for each answer: on a busy machine some cases are asked again.
        for attempt in range(3):
            spec = tmp_path / f"{attempt}.json"
            reports = tmp_path / f"reports{attempt}"
            plan = {
                "outdir": str(reports),
                "servers": [{"agent": loop, "url": url}],
                "cases": cases,
                "exclude-cases": [],
                "exclude-agent-cases": {},
            }
            spec.write_text(json.dumps(plan))
            subprocess.run(
                [*command, "-m", "fuzzingclient", "-s", str(spec)],
                stdout=subprocess.DEVNULL,
                timeout=6000 if ALL else 500,
                check=True,
                # It is another Python's: ours would be in its way.
                env={key: it for key, it in os.environ.items() if not key.startswith("PYTHON")},
            )
            found |= json.loads((reports / "index.json").read_text())[loop]
            cases = [
                case
                for case, it in found.items()
                if it["behavior"] not in GOOD or it["behaviorClose"] not in GOOD
            ]
            if not cases:
                break
    assert len(found) > 200
    assert {case: (found[case]["behavior"], found[case]["behaviorClose"]) for case in cases} == {}
