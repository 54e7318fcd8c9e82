"""A route's own deadlines hold in a worker as it is, whatever the settings are and become."""

from __future__ import annotations

import asyncio

import pytest
from process import clients
from process.clients import Http, WebSocket
from process.slow_clients import LATEST, PATIENCE, UPGRADE, Address, Peer, stalls, together
from process.support import APPS
from process.test_set import set_
from process.test_slow_peers import address_of

from leeward.testing import serve

GET = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


async def poll(at: Address) -> None:
    peer = await Peer.connect(at)
    peer.send(GET % b"poll")
    assert 0.4 <= await peer.closed() <= LATEST
    assert b"Retry-After: 1" in peer.said


async def half_body(at: Address) -> None:
    peer = await Peer.connect(at)
    peer.send(POST % (b"body", 100) + b"half")
    assert 0.4 <= await peer.closed() <= LATEST
    assert peer.said.startswith(b"HTTP/1.1 408 ")


async def slow_body(at: Address) -> None:
    """A byte a second, of which each earns the whole of `--body-timeout`."""
    peer = await Peer.connect(at)
    peer.send(POST % (b"rate", 5))
    for _ in range(5):
        await asyncio.sleep(0.8)
        peer.send(b"x")
    assert (await peer.read_until(b"\r\n\r\n5")).startswith(b"HTTP/1.1 200 ")


async def stalled_reader(at: Address) -> None:
    assert 0.8 <= await stalls(at, b"/large") <= LATEST


async def pinged(at: Address) -> None:
    peer = await Peer.connect(at)
    peer.send(UPGRADE.replace(b"/echo", b"/socket"))
    await peer.read_until(b"\r\n\r\n")
    assert (await asyncio.wait_for(peer.reader.readexactly(10), PATIENCE))[0] == 0x89


CELLS = (poll, half_body, slow_body, stalled_reader, pinged)

#: What the routes say otherwise; the first three would end others of them.
BEFORE = ("--body-timeout=3s", "--min-body-rate=240", "--handler-timeout=30s")
LATER = ("handler-timeout=31s", "max-poll-age=32s", "min-body-rate=1000", "write-timeout=33s")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_each_route_has_its_own(loop: str) -> None:
    """By the settings of the start, and by others that are set then."""
    flags = ("--loop", loop, "--ws-ping-interval=0s", *BEFORE)
    with serve("own_deadlines:make_app", *flags, cwd=APPS) as service:
        service.wait_ready(1)
        at = address_of(service)
        together(at, *CELLS)
        service.wait_line(r"Older than deadlines\(poll=0\.5\) from 127\.0\.0\.1")
        set_(service, *LATER)
        together(at, *CELLS)


def test_the_kernel_keeps_what_a_route_says_when_settings_change() -> None:
    """Of the connection that is at that route; the others have what is set."""

    with serve("own_deadlines:make_app", cwd=APPS) as service:
        address = clients.address_of(service.wait_ready(1))
        sockets = [WebSocket(address, path) for path in ("/patient", "/plain/patient")]
        with Http(address) as own, Http(address) as plain, sockets[0], sockets[1]:

            def silence() -> list[str]:
                for it in sockets:
                    it.say("how long?")
                said = [own.get("/silence").body, plain.get("/plain/silence").body]
                return [it.decode() for it in said] + [it.hear() for it in sockets]

            assert silence() == ["300", "60", "300", "60"]
            set_(service, "peer-timeout=50s")
            assert silence() == ["300", "50", "300", "50"]
