"""A worker that makes connections and never closes them says so, with the peer's name."""

from __future__ import annotations

import socket

import pytest
from process.clients import Http, address_of
from process.support import APPS, until

from leeward.testing import serve


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
def test_growth_is_told_by_peer(engine: str) -> None:
    """And a pool that has filled in the meantime is not."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=1024) as leaked,
        socket.create_server(("127.0.0.1", 0), backlog=1024) as pooled,
        serve("leaks_connections", "-w", "1", "--engine", engine, cwd=APPS) as service,
        Http(address_of(service.wait_ready(1))) as client,
    ):
        port, pool = (it.getsockname()[1] for it in (leaked, pooled))
        client.get(f"/leak?port={pool}&count=100")

        def grows() -> bool:
            client.get(f"/leak?port={port}&count=2")
            return "outbound connections to" in service.log

        until(grows, "the worker to tell it")
        found = service.wait_line(
            r"worker=0 gen=1 pid=\d+ outbound connections to (\S+) grew from 64 to (\d+)"
        )
        assert found[1] == f"127.0.0.1:{port}" and 128 <= int(found[2]) < 400
        assert f"127.0.0.1:{pool} grew" not in service.log
