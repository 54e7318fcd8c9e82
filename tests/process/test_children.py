"""An application's children tell their exit in a worker, on each loop and however it was born."""

from __future__ import annotations

import importlib.util

import pytest
from process.clients import address_of, get
from process.support import APPS

from leeward.testing import serve


@pytest.mark.parametrize("start", ["zygote", "spawn"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_exits_are_told(loop: str, start: str) -> None:
    """tornado.process.Subprocess and asyncio.create_subprocess_exec, mixed, request by request."""
    if loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    with serve("waits_for_children:app", "--loop", loop, "--start", start, cwd=APPS) as service:
        address = address_of(service.wait_ready())
        for _ in range(3):
            found = get(address).json
            assert found["loop"].startswith(loop)
            assert found["codes"] == [code for code in range(5) for _ in range(2)]
