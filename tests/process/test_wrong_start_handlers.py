"""The right handlers beside the wrong start: they block nobody and end with their client."""

from __future__ import annotations

from pathlib import Path

import pytest
from process.clients import Http, address_of
from process.support import until

from leeward.testing import serve

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "wrong_start"


@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_work_ends_with_its_client(mode: str) -> None:
    """A report of 30 s blocks nobody; when its client leaves nothing of it is left."""
    with serve("handlers.py", "--start", mode, cwd=EXAMPLE) as service:
        service.wait_ready(1)
        address = address_of(service)
        with Http(address) as leaver:
            leaver.sock.sendall(b"POST /report HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            with Http(address) as other:
                assert other.get("/totals").json == {"total": 42}
                until(lambda: service.workers()[0]["in_flight"] == 1, "the report in flight")
        until(lambda: service.workers()[0]["connections"] == 0, "an end of the report")
        assert service.stop() == 0
        assert "Traceback" not in service.log, service.log
