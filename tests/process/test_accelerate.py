"""--no-accelerate serves by the engine and leaves Tornado's functions where they are."""

from __future__ import annotations

import pytest
from process.clients import address_of, get
from process.support import APPS, until

from leeward.testing import serve

ENGINE, TORNADO = "leeward.engine", "tornado."


@pytest.mark.parametrize("start", ["zygote", "spawn"])
@pytest.mark.parametrize(
    ("flags", "finish", "connection", "request_class"),
    [
        ((), ENGINE, ENGINE, ENGINE),
        (("--no-accelerate",), TORNADO, ENGINE, TORNADO),
        (("--engine", "tornado"), TORNADO, TORNADO, TORNADO),
    ],
    ids=["default", "no-accelerate", "tornado"],
)
def test_what_serves_is_what_was_asked_for(
    flags: tuple[str, ...], finish: str, connection: str, request_class: str, start: str
) -> None:
    """In each worker, as the handler sees it; and nothing is installed in the zygote either."""
    with serve("patches_tornado", "-w", "2", "--start", start, *flags, cwd=APPS) as service:
        address = address_of(service.wait_ready(2))
        for _ in range(6):
            found = get(address).json
            assert found["finish"].startswith(finish)
            assert found["connection"].startswith(connection)
            assert found["request"].startswith(request_class)


@pytest.mark.parametrize("flag", ["--accelerate", "--no-accelerate"])
def test_what_a_request_patches_is_called_from_then_on(flag: str) -> None:
    with serve("patches_tornado", flag, cwd=APPS) as service:
        address = address_of(service.wait_ready())
        assert get(address).json["found"] == 0
        get(address, "/patch")
        until(lambda: get(address).json["found"] > 1, "the patched function was called")
