"""Sentry and OpenTelemetry see under the engine what they see under Tornado's server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("instrumented.py")


def run(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("instrument", "module", "least"),
    [
        # 15 requests, and two that fail in each round.
        ("sentry", "sentry_sdk", 15 + 3),
        ("opentelemetry", "opentelemetry.instrumentation.tornado", 15),
    ],
)
def test_every_span_and_error_is_seen(instrument: str, module: str, least: int, when: str) -> None:
    pytest.importorskip(module)
    if instrument == "opentelemetry":
        pytest.importorskip("opentelemetry.sdk")
    tornado, leeward = run(instrument, when, "tornado"), run(instrument, when, "leeward")
    assert leeward["seen"] == tornado["seen"]
    assert len(leeward["seen"]) >= least
    assert "finish" in leeward["active"]
    assert "this" in json.dumps(leeward["seen"])
