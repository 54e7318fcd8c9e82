"""--max-conns-per-ip where all connections come from proxies: it is the clients that count."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

import pytest
from process.clients import Gate, Http, WebSocket, address_of, get, reload
from process.registry import conns
from process.rows import rows
from process.support import APPS, until

from leeward.testing import Service, serve

FLAGS = ("--max-conns-per-ip", "2", "--forwarded-allow-ips", "127.0.0.0/29", "-w", "1")
#: One of those that are believed each, and one that is not.
PROXIES, STRANGER = [f"127.0.0.{last}" for last in range(1, 6)], "127.0.0.99"


def of(client: str) -> str:
    return f"X-Forwarded-For: {client}"


def set_(service: Service, word: str) -> None:
    done = service.leeward("set", word)
    assert (done.returncode, done.stderr) == (0, ""), done


def test_strangers_by_one_proxy_and_one_client_by_several() -> None:
    """Each may have two requests in hand, by whichever proxy; the rest get 503, on connections
    that go on."""
    with (
        serve("held", *FLAGS, "--health-path", "/healthz", cwd=APPS) as service,
        Gate() as gate,
        contextlib.ExitStack() as stack,
    ):
        address = address_of(service.wait_ready(1))
        page = stack.enter_context(rows(service))
        for last in range(5):
            gate.hold(stack.enter_context(Http(address)), "held", of(f"10.0.0.{last}"))
        by = [stack.enter_context(Http(address, proxy)) for proxy in PROXIES]
        held = [gate.hold(client, "held", of("10.0.1.1")) for client in by[:2]]
        for client in by[2:]:
            answer = client.get("/", of("10.0.1.1"))
            assert answer.status == 503 and 1 <= int(answer.headers["retry-after"]) <= 5
            assert not answer.announces_close
            assert client.get("/", of("10.0.1.2")).status == 200
            assert client.get("/healthz", of("10.0.1.1")).status == 200
        assert sum(row.shed for row in page.all()) == 3
        held[0].release()
        assert by[0].answer().status == 200
        assert by[4].get("/", of("10.0.1.1")).status == 200
        for number, client in enumerate(by[2:4]):
            gate.hold(client, "held", of(f"2001:db8:1:2:{number}::1"))
        assert by[4].get("/", of("2001:db8:1:2:9::9")).status == 503
        assert by[4].get("/", of("2001:db8:1:3::9")).status == 200


def test_silent_connections_of_a_proxy_and_of_others() -> None:
    """A proxy's keep-alive connections count under nobody; who is not believed counts by his
    own address, whatever he writes."""
    with (
        serve("held", *FLAGS, cwd=APPS) as service,
        contextlib.ExitStack() as stack,
    ):
        address = address_of(service.wait_ready(1))
        for _ in range(5):
            client = stack.enter_context(Http(address))
            assert client.get("/", of("10.0.0.1")).status == 200
        for last in range(2):
            client = stack.enter_context(Http(address, STRANGER))
            assert client.get("/", of(f"10.0.0.{last}")).status == 200
        with Http(address, STRANGER) as third:
            assert third.answer().status == 503, "by the connection, before a request"
            assert third.at_end()
        by_proxy = stack.enter_context(Http(address))
        for _ in range(2):
            assert by_proxy.get("/", of(STRANGER)).status == 503, "both kinds count together"


def test_websockets_pipelines_and_clients_that_leave() -> None:
    """A WebSocket counts to its end, a request until it is answered or its client has left."""
    with (
        serve("held", *FLAGS, cwd=APPS) as service,
        Gate() as gate,
        contextlib.ExitStack() as stack,
    ):
        address = address_of(service.wait_ready(1))
        whose = of("10.0.0.1")
        first, second = (stack.enter_context(WebSocket(address, headers=(whose,))) for _ in "ab")
        first.hear()
        asking = stack.enter_context(Http(address))

        def status(client: str = "10.0.0.1") -> int:
            return int(asking.get("/", of(client)).status)

        assert (status(), status("10.0.0.2")) == (503, 200)
        with pytest.raises(AssertionError, match="status=503"):
            WebSocket(address, headers=(whose,))
        first.say("still here")
        assert first.hear() == "still here"
        second.close()
        until(lambda: status() == 200, "the closed one to count no more")
        with Http(address) as leaves:
            gate.hold(leaves, "held", whose)
            assert status() == 503
            # By a reset: who says FIN may still want its answer, and is kept for 15 s.
            leaves.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until(lambda: status() == 200, "who has left to count no more")
        pipeline = stack.enter_context(Http(address))
        held = gate.hold(pipeline, "held", whose)
        pipeline.send(f"/held/{gate.port}", of("10.0.0.3"))
        pipeline.send("/", of("10.0.0.3"))
        assert (status(), status("10.0.0.3")) == (503, 200)
        held.release()
        assert pipeline.answer().status == 200
        later = gate.arrival()
        assert status() == 200
        later.release()
        assert [pipeline.answer().status for _ in "ab"] == [200, 200]


def test_it_is_set_while_they_are_there_and_reloaded() -> None:
    """Who has a request in hand or a WebSocket counts from then on; a new generation begins
    with what was set, and with nobody."""
    flags = ("--forwarded-allow-ips", "127.0.0.1", "-w", "1", "--graceful-timeout", "60")
    with (
        serve("held", *flags, cwd=APPS) as service,
        Gate() as gate,
        contextlib.ExitStack() as stack,
    ):
        address = address_of(service.wait_ready(1))
        busy = stack.enter_context(Http(address))
        held = gate.hold(busy, "held", of("10.0.0.1"))
        stack.enter_context(WebSocket(address, headers=(of("10.0.0.2"),))).hear()
        asking = stack.enter_context(Http(address))
        clients = [f"10.0.0.{last}" for last in (1, 2, 3)]

        def status() -> list[int]:
            return [asking.get("/", of(client)).status for client in clients]

        assert status() == [200, 200, 200]
        set_(service, "max-conns-per-ip=1")
        assert status() == [503, 503, 200]
        set_(service, "max-conns-per-ip=2")
        assert status() == [200, 200, 200]
        set_(service, "max-conns-per-ip=default")
        held.release()
        assert busy.answer().status == 200
        set_(service, "max-conns-per-ip=1")
        assert status() == [200, 503, 200]
        held = gate.hold(busy, "held", of("10.0.0.1"))
        reload(service)
        asking = stack.enter_context(Http(address))
        assert status() == [200, 200, 200]
        again = gate.hold(stack.enter_context(Http(address)), "held", of("10.0.0.1"))
        assert again.pid != held.pid
        assert status() == [503, 200, 200]


PROGRAM = """
import asyncio
import held

async def main():
    held.make_app().listen(0, "127.0.0.1", xheaders=True, trusted_downstream=["10.9.9.9"])
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_program_that_believes_everybody(tmp_path: Path) -> None:
    """By its own xheaders and trusted_downstream."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "held.py").write_bytes((APPS / "held.py").read_bytes())
    flags = ("-w", "1", "--max-conns-per-ip", "1")
    with (
        serve("program.py", *flags, cwd=tmp_path, bind=None) as service,
        Gate() as gate,
        contextlib.ExitStack() as stack,
    ):
        address = address_of(service.wait_ready(1))
        for client in ("10.0.0.1", "10.0.0.2, 10.9.9.9"):
            gate.hold(stack.enter_context(Http(address)), "held", of(client))
        asking = stack.enter_context(Http(address))
        wanted = {"10.0.0.1": 503, "10.0.0.2": 503, "10.0.0.3": 200, "10.0.0.3, 10.0.0.2": 503}
        assert {it: asking.get("/", of(it)).status for it in wanted} == wanted
        assert {it.get("client") for it in conns(service, "--state", "active")} == {
            "10.0.0.1",
            "10.0.0.2",
        }


def test_tornados_own_server_counts_connections() -> None:
    """Under the proxy's address: requests are not asked for their client there."""
    with (
        serve("held", "--engine", "tornado", *FLAGS, cwd=APPS) as service,
        contextlib.ExitStack() as stack,
    ):
        address = address_of(service.wait_ready(1))
        for last in range(2):
            client = stack.enter_context(Http(address))
            assert client.get("/", of(f"10.0.0.{last}")).status == 200
        assert stack.enter_context(Http(address)).answer().status == 503
        assert get(address).status == 503
