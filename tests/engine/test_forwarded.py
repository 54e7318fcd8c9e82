"""Whose word about the client counts, and that it means what it means to Tornado."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from engine.port import EVERY_SERVER, Port, run, serving
from tornado.httpserver import HTTPServer, _HTTPRequestContext
from tornado.httputil import HTTPHeaders
from tornado.web import Application, RequestHandler

from leeward._core.config import Config
from leeward.engine import forwarded
from leeward.engine.forwarded import Forwarded, Forwarding

SEED = 7
INPUTS = 3000

PROXIES = ["10.0.0.1", "10.0.0.2", "fd00::1"]
ADDRESSES = [*PROXIES, "192.0.2.1", "198.51.100.7", "2001:db8::1", "unknown", "", " 192.0.2.9 "]
ADDRESSES += ["192.0.2.1:80", "[2001:db8::1]", "10.0.0.1\t", "a" * 70, "127.1", "::ffff:10.0.0.1"]
PROTOCOLS = ["http", "https", "ws", "", "HTTPS", "http, https", "https,http", " https ", "x,"]


class Who(RequestHandler):
    def get(self) -> None:
        request = self.request
        self.write({"ip": request.remote_ip, "protocol": request.protocol})


def app() -> Application:
    return Application([("/", Who)])


class Context:
    """A stream, to Tornado's request context."""

    socket = None


def headers(rng: random.Random) -> HTTPHeaders:
    made = HTTPHeaders()
    for _ in range(rng.randrange(3)):
        chain = [rng.choice(ADDRESSES) for _ in range(rng.randrange(1, 5))]
        made.add("X-Forwarded-For", rng.choice([",", ", ", " ,"]).join(chain).strip())
    for name, values in (
        ("X-Real-Ip", ADDRESSES),
        ("X-Scheme", PROTOCOLS),
        ("X-Forwarded-Proto", PROTOCOLS),
    ):
        if rng.random() < 0.3:
            made.add(name, rng.choice(values).strip())
    return made


def test_it_means_what_xheaders_mean() -> None:
    """Random headers: address and protocol as Tornado finds them by `trusted_downstream`."""
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    seen = set()
    for _ in range(INPUTS):
        proxies = rng.sample(PROXIES, rng.randrange(3))
        stream: Any = Context()
        theirs = _HTTPRequestContext(stream, ("203.0.113.5", 1), "http", proxies)
        ours = _HTTPRequestContext(stream, ("203.0.113.5", 1), "http")
        given = headers(rng)
        theirs._apply_xheaders(given)

        class Nothing:
            client = ""

            def headers_received(self, *args: Any) -> None: ...

            def finish(self) -> None: ...

        inner: Any = Nothing()
        one = Forwarded(inner, ours, Forwarding(proxies), inner)
        one.headers_received(None, given)  # type: ignore[arg-type]
        found = (ours.remote_ip, ours.protocol)
        # IPv4 by an IPv6 name is the same proxy to us.
        if "::ffff:10.0.0.1" not in given.get("X-Forwarded-For", ""):
            assert found == (theirs.remote_ip, theirs.protocol), list(given.get_all())
        assert inner.client == ours.remote_ip
        one.finish()
        assert (ours.remote_ip, ours.protocol) == ("0.0.0.0", "http")
        seen.add(found)
    assert len(seen) > 10


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"Forwarded": "for=192.0.2.60;proto=https"}, ("192.0.2.60", "https")),
        ({"Forwarded": 'for=192.0.2.1, for="10.0.0.1:80";proto=HTTP'}, ("192.0.2.1", "http")),
        ({"Forwarded": 'for="[2001:db8::1]:80"'}, ("2001:db8::1", "")),
        ({"Forwarded": "for=192.0.2.1, for=unknown, for=10.0.0.1"}, ("", "")),
        ({"Forwarded": "for=192.0.2.1, proto=https"}, ("", "https")),
        ({"Forwarded": "for=192.0.2.1;;=;"}, ("", "")),
        ({"Forwarded": "for=192.0.2.1", "X-Forwarded-For": "192.0.2.2"}, ("192.0.2.2", "")),
        ({"Forwarded": "for=192.0.2.1", "X-Forwarded-Proto": "https"}, ("", "https")),
        ({}, ("", "")),
    ],
)
def test_forwarded_where_there_is_nothing_else(
    given: dict[str, str], found: tuple[str, str]
) -> None:
    """A client could add it to what a proxy that does not know it has told."""
    forwarding = Forwarding(("10.0.0.0/8",))
    assert forwarding.told(HTTPHeaders(given)) == found
    assert forwarding.told(HTTPHeaders(given)) == found


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients choose what stands in these headers."""
    monkeypatch.setattr(forwarded, "_KNOWN", 5)
    forwarding = Forwarding(("10.0.0.1",))
    for number in range(20):
        chain = f"192.0.2.{number}"
        for told in (chain, "a" * 1000 + "," + chain):
            assert forwarding.told(HTTPHeaders({"X-Forwarded-For": told}))[0] == chain
        assert 0 < len(forwarding._known) <= 5
        assert all(len(key[0] or "") < 100 for key in forwarding._known)


def get(**headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return f"GET / HTTP/1.1\r\nHost: x\r\n{''.join(lines)}\r\n".encode()


async def told_to(port: Port, *requests: bytes) -> list[tuple[str, str]]:
    """What the application sees of requests on one connection."""
    reader, writer = await port.connect()
    found = []
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(HTTPHeaders.parse(head.partition(b"\r\n")[2].decode())["Content-Length"])
        seen = json.loads(await reader.readexactly(length))
        found.append((seen["ip"], seen["protocol"]))
    writer.close()
    return found


PLAIN, TOLD = get(), get(X_Forwarded_For="192.0.2.1, 10.0.0.1", X_Forwarded_Proto="https")


@pytest.mark.parametrize(("engine", "loop"), EVERY_SERVER)
@pytest.mark.parametrize(
    ("peers", "found"),
    [
        ((), ("127.0.0.1", "http")),
        (("10.0.0.0/8", "unix:"), ("127.0.0.1", "http")),
        (("127.0.0.1",), ("10.0.0.1", "https")),
        (("127.0.0.0/8", "10.0.0.0/8"), ("192.0.2.1", "https")),
        (("*",), ("192.0.2.1", "https")),
    ],
)
def test_who_is_believed(
    engine: str, loop: str, peers: tuple[str, ...], found: tuple[str, str]
) -> None:
    """Nobody unasked; and what one request says, the next one on its connection does not."""

    async def main() -> None:
        config = Config("", engine=engine, forwarded_allow_ips=peers)
        async with serving(app(), config) as port:
            itself = ("127.0.0.1", "http")
            assert await told_to(port, PLAIN, TOLD, PLAIN, TOLD) == [itself, found] * 2

    run(main(), loop)


@pytest.mark.parametrize(("engine", "loop"), EVERY_SERVER)
@pytest.mark.parametrize(
    ("peers", "found"),
    [(("127.0.0.1",), ("0.0.0.0", "http")), (("unix:",), ("10.0.0.1", "https"))],
)
def test_a_unix_socket(
    engine: str, loop: str, peers: tuple[str, ...], found: tuple[str, str], tmp_path: Path
) -> None:
    async def main() -> None:
        config = Config("", engine=engine, forwarded_allow_ips=peers)
        async with serving(app(), config, at=str(tmp_path / "app.sock")) as port:
            assert await told_to(port, TOLD, PLAIN) == [found, ("0.0.0.0", "http")]

    run(main(), loop)


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
@pytest.mark.parametrize(
    ("peers", "found"), [((), "10.0.0.1"), (("192.0.2.99",), "127.0.0.1"), (("*",), "192.0.2.1")]
)
def test_a_programs_own_xheaders(engine: str, peers: tuple[str, ...], found: str) -> None:
    """As it wrote them, unless somebody says who is believed."""

    async def main() -> None:
        config = Config("", engine=engine, forwarded_allow_ips=peers)
        http = HTTPServer(app(), xheaders=True, protocol="https")
        async with serving(http, config) as port:
            assert await told_to(port, TOLD) == [(found, "https")]

    run(main())


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
def test_each_connection_knows_its_client(engine: str) -> None:
    """`client` of what the registry holds: the peer, or whom it spoke for last."""

    async def main() -> None:
        config = Config("", engine=engine, forwarded_allow_ips=("127.0.0.1",))
        async with serving(app(), config) as port:
            reader, writer = await port.connect()
            for request, client in ((TOLD, "10.0.0.1"), (PLAIN, "127.0.0.1")):
                writer.write(request)
                await reader.readuntil(b"}")
                (member,) = port.server.live
                assert member.client == client
            writer.close()

    run(main())
