"""Eight ways to be slow: bare Tornado keeps a connection for each, and leeward none.

The same application and the same clients at both servers, all side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import NamedTuple

import pytest
from failures.bare import bare
from process.clients import Address, address_of, get
from process.slow_clients import CELLS, LATEST, PINGS, SHORT, Cell, drop, vanished
from process.support import APPS, links, until

from leeward.testing import serve

SLOW = {cell.__name__: cell for cell in (*CELLS, vanished)}
#: For which bare Tornado is watched: leeward has closed all of them after 1 to 3 by its short
#: deadlines.  Tornado has none that is near: after 90 all are there (bench/results/slow.json).
SECONDS = 5.0

each = pytest.mark.parametrize("name", SLOW)


class Found(NamedTuple):
    #: By client: was it still connected in the end?  Or what was wrong with its end.
    stayed: dict[str, bool | BaseException]
    #: Connections that the server has behind that.
    open: int


async def stays(cell: Cell, address: Address, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await cell(address)
    except TimeoutError:
        return True
    return False


async def crowd(address: Address, seconds: float) -> dict[str, bool | BaseException]:
    clients = (stays(cell, address, seconds) for cell in SLOW.values())
    return dict(zip(SLOW, await asyncio.gather(*clients, return_exceptions=True), strict=True))


def sockets(pid: int) -> int:
    return sum(it.startswith("socket:") for it in links(pid).values())


@pytest.fixture(scope="module")
def found() -> dict[str, Found]:
    with (
        bare(APPS / "slow_peers.py") as (tornado, pid),
        serve("slow_peers:make_app", *SHORT, *PINGS, cwd=APPS) as service,
    ):
        leeward = address_of(service.wait_ready(1))
        before = sockets(pid)

        def left() -> int:
            return int(service.workers()[0]["connections"])

        async def both() -> dict[str, Found]:
            try:
                kept, sheltered = await asyncio.gather(
                    crowd(tornado, SECONDS), crowd(leeward, LATEST)
                )
                held = sockets(pid) - before
                with contextlib.suppress(AssertionError):  # it hears out those that got a 408
                    until(lambda: not left(), "all to be forgotten", LATEST)
                forgotten = Found(sheltered, left())
                # Both go on: a request that comes behind them is answered.
                assert get(tornado).status == get(leeward).status == 200
                return {"tornado": Found(kept, held), "leeward": forgotten}
            finally:
                await drop()

        return asyncio.run(both())


@each
def test_bare_tornado_keeps(name: str, found: dict[str, Found]) -> None:
    assert found["tornado"].stayed[name] is True


def test_bare_tornado_has_a_descriptor_for_each(found: dict[str, Found]) -> None:
    """It is the server that holds them, and not only their clients that have heard nothing."""
    assert found["tornado"].open == len(SLOW)


@each
def test_leeward_closes(name: str, found: dict[str, Found]) -> None:
    """In its time, and with the answer that it is to have."""
    assert found["leeward"].stayed[name] is False


def test_leeward_has_none_left(found: dict[str, Found]) -> None:
    assert found["leeward"].open == 0
