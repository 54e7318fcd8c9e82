"""The PROXY protocol in front of a real server: who the client is, and who is closed."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, needs_openssl
from core.test_proxy import BAD, GOOD, INET, TLVS, v2
from engine.port import EVERY_SERVER, Port, run, serving
from tornado.web import Application, RequestHandler

from leeward._core.config import Config
from leeward._core.proxy import RULES
from leeward.engine import proxy

SEED = 33

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.1 5 80\r\n"

every_server = pytest.mark.parametrize(("engine", "loop"), EVERY_SERVER)


class Who(RequestHandler):
    def get(self) -> None:
        self.write(f"<{self.request.remote_ip} {self.request.protocol}>")


APP = Application([("/", Who)])


def config(engine: str, **settings: Any) -> Config:
    return Config("", engine=engine, **{"proxy_protocol": "any", **settings})


def answered(answer: bytes) -> str:
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return answer.partition(b"<")[2].partition(b">")[0].decode()


Lines = Callable[[], list[str]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """What the gate has logged so far."""
    return lambda: [it.getMessage() for it in caplog.records if it.name == "leeward.proxy"]


def client_of(told: tuple[str, str, int]) -> str:
    return {"": "127.0.0.1", "unix": "0.0.0.0"}.get(told[0], told[1])


@every_server
def test_who_the_client_is(engine: str, loop: str) -> None:
    """Each good header, in one piece with its request, and cut at random places."""
    print(f"seed {SEED}")
    rng = random.Random(SEED)

    async def main() -> None:
        async with serving(APP, config(engine)) as port:
            for data, told in GOOD.values():
                wanted = f"{client_of(told)} http"
                assert answered(await port.ask(data + GET)) == wanted
                reader, writer = await port.connect()
                writer.get_extra_info("socket").setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
                )
                rest = data + GET
                while rest:
                    size = rng.choice([1, 1, 2, 16, 600])
                    writer.write(rest[:size])
                    rest = rest[size:]
                    if len(data) < 300:
                        await asyncio.sleep(0)
                assert answered(await reader.read()) == wanted
                writer.close()

    run(main(), loop)


@every_server
def test_a_bad_one_is_closed_without_an_answer(engine: str, loop: str) -> None:
    """Not a byte comes back, and the rule is counted by its name."""

    async def main() -> None:
        async with serving(APP, config(engine)) as port:
            for data, rule in BAD.values():
                before = port.server.refusals[rule]
                assert await port.ask(data + GET) == b""
                await port.gone()
                assert port.server.refusals[rule] == before + 1
            assert port.server.refusals.keys() <= RULES.keys()

    run(main(), loop)


@every_server
def test_each_counts_once(engine: str, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is admitted has not ended; a connection that was brief is one."""
    monkeypatch.setattr("leeward.engine.registry.BRIEF", 60.0)

    async def main() -> None:
        async with serving(APP, config(engine)) as port:
            reader, writer = await port.connect()
            writer.write(V1 + GET.replace(b"close", b"keep-alive"))
            await reader.readuntil(b"http>")
            assert port.server.counters.brief == 0
            writer.close()
            await port.gone()
            assert port.server.counters.brief == 1
            for sent, count in ((V1 + GET, 2), (b"no PROXY header at all\r\n", 3)):
                await port.ask(sent)
                await port.gone()
                assert port.server.counters.brief == count

    run(main(), loop)


@every_server
def test_the_version_that_was_asked_for(engine: str, loop: str) -> None:
    async def main() -> None:
        for version, good, bad in (("v1", V1, v2(0x21, 0x11, INET)), ("v2", v2(0x20, 0, b""), V1)):
            async with serving(APP, config(engine, proxy_protocol=version)) as port:
                assert answered(await port.ask(good + GET))
                assert await port.ask(bad + GET) == b""
                await port.gone()
                assert port.server.refusals == {"proxy-version": 1}

    run(main(), loop)


@every_server
def test_off_it_is_no_request(engine: str, loop: str) -> None:
    async def main() -> None:
        async with serving(APP, config(engine, proxy_protocol="off")) as port:
            assert b" 400 " in await port.ask(V1 + GET)

    run(main(), loop)


@every_server
def test_a_peer_that_may_not(engine: str, loop: str, lines: Lines) -> None:
    """Closed, however good its header is: else everybody could be anybody."""

    async def main() -> None:
        settings = config(engine, proxy_allow_from=("10.0.0.0/8", "unix:"))
        async with serving(APP, settings) as port:
            assert await port.ask(V1 + GET) == b""
            await port.gone()
            assert port.server.refusals == {"proxy-peer": 1}

    run(main(), loop)
    assert "127.0.0.1: the peer is not in --proxy-allow-from [proxy-peer]" in lines()[0]


@every_server
@pytest.mark.parametrize("sent", [b"", b"P", V1[:-1], v2(0x21, 0x11, INET)[:-1], b"\r\n\r\n"])
def test_silence_has_a_deadline(
    engine: str, loop: str, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sends nothing, or half, is closed in time, and does not keep the loop busy."""
    monkeypatch.setattr(proxy, "SECONDS", 0.3)
    reads: list[bytes] = []
    read = proxy.read

    def counting(data: bytes, versions: tuple[int, ...]) -> Any:
        reads.append(data)
        return read(data, versions)

    monkeypatch.setattr(proxy, "read", counting)

    async def main() -> None:
        async with serving(APP, config(engine)) as port:
            assert await port.ask(sent) == b""
            await port.gone()
            assert port.server.refusals == {"proxy-late": 1}
            assert len(reads) <= 1

    run(main(), loop)


@every_server
def test_half_a_header_and_the_end(engine: str, loop: str, lines: Lines) -> None:
    """Counted; said only of those who had begun: a balancer's look is no news."""

    async def main() -> None:
        async with serving(APP, config(engine)) as port:
            for sent in (b"", V1[:9]):
                reader, writer = await port.connect()
                writer.write(sent)
                writer.write_eof()
                assert await reader.read() == b""
                writer.close()
                await port.gone()
            assert port.server.refusals == {"proxy-missing": 2}

    run(main(), loop)
    assert lines() == ["closed a connection of 127.0.0.1: no PROXY header [proxy-missing]"]


def test_one_line_a_second(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """A swarm is one line, and the next one says how many there were."""

    async def main() -> None:
        async with serving(APP, config("leeward")) as port:
            gate = port.server._gate
            for _ in range(30):
                await port.ask(GET)
                await port.gone()
            assert port.server.refusals == {"proxy-missing": 30}
            first = len(lines())
            gate._said -= 1.0
            await port.ask(GET)
            await port.gone()
            found = lines()
            assert len(found) == first + 1 and "more)" in found[-1]
            unsaid = [int(it) for it in re.findall(r"and ([0-9]+) more", "".join(found))]
            assert sum(unsaid) + len(found) == 31

    run(main())


@every_server
def test_forwarded_headers_are_judged_by_the_address_that_was_told(engine: str, loop: str) -> None:
    """Behind a balancer of TCP anybody can write X-Forwarded-For, not only its proxy."""
    request = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")

    async def main() -> None:
        for peers, found in ((("127.0.0.1",), "192.0.2.1"), (("192.0.2.0/24",), "203.0.113.9")):
            async with serving(APP, config(engine, forwarded_allow_ips=peers)) as port:
                assert answered(await port.ask(V1 + request)) == f"{found} http"

    run(main(), loop)


@every_server
def test_a_unix_socket(engine: str, loop: str, tmp_path: Path) -> None:
    """Its peers are trusted by default: the file's directory guards it."""

    async def main() -> None:
        async with serving(APP, config(engine), at=str(tmp_path / "app.sock")) as port:
            assert answered(await port.ask(V1 + GET)) == "192.0.2.1 http"
            local = v2(0x20, 0, b"")
            assert answered(await port.ask(local + GET)) == "0.0.0.0 http"
        settings = config(engine, proxy_allow_from=("127.0.0.1",))
        async with serving(APP, settings, at=str(tmp_path / "other.sock")) as port:
            assert await port.ask(V1 + GET) == b""

    run(main(), loop)


@needs_openssl
@every_server
def test_before_tls(engine: str, loop: str, tmp_path: Path) -> None:
    """The header stands before the handshake; what follows it in the same segment is not lost."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    Authority(tmp_path / "ca").make(certificate, key)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate, key)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ours.check_hostname, ours.verify_mode = False, ssl.CERT_NONE

    async def converse(port: Port, header: bytes) -> bytes:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = ours.wrap_bio(incoming, outgoing)
        reader, writer = await port.connect()
        answer, sent, greeted = b"", False, False
        while True:
            try:
                if not greeted:
                    tls.do_handshake()
                    greeted = True
                if not sent:
                    tls.write(GET)
                    sent = True
                while piece := tls.read():
                    answer += piece
                break
            except ssl.SSLWantReadError:
                # The header and the hello go out as one write.
                writer.write(header + outgoing.read())
                header = b""
                try:
                    data = await reader.read(65536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    break
                incoming.write(data)
            except ssl.SSLZeroReturnError:
                break
        writer.close()
        return answer

    async def main() -> None:
        async with serving(APP, config(engine), theirs) as port:
            for header in (V1, v2(0x21, 0x11, INET + TLVS)):
                assert answered(await converse(port, header)) == "192.0.2.1 https"
            assert await converse(port, b"") == b""
            await port.gone()
            assert port.server.refusals == {"proxy-missing": 1}

    run(main(), loop)


@every_server
def test_the_registry_knows_who_is_on_the_way(engine: str, loop: str) -> None:
    """It is counted while its header is awaited, knows its client later, and ends with a cut."""

    async def main() -> None:
        async with serving(APP, config(engine)) as port:
            reader, writer = await port.connect()
            writer.write(V1[:5])
            while not port.server.live:
                await asyncio.sleep(0)
            assert port.server.counters.open == 1
            writer.write(V1[5:] + GET.replace(b"close", b"keep-alive"))
            await reader.readuntil(b">")
            (member,) = port.server.live
            assert (member.client, port.server.counters.open) == ("192.0.2.1", 1)
            silent, other = await port.connect()
            while port.server.counters.open != 2:
                await asyncio.sleep(0)
            port.server.close_rest()
            assert await silent.read() == b""
            await port.gone()
            assert port.server.counters.open == 0
            writer.close()
            other.close()

    run(main(), loop)


@every_server
def test_a_stop_does_not_wait_for_a_header(engine: str, loop: str) -> None:
    """At a stop one that has brought nothing goes after a second, long before its deadline."""

    async def main() -> None:
        async with serving(APP, config(engine)) as port:
            reader, writer = await port.connect()
            while not port.server.live:
                await asyncio.sleep(0)
            port.server.begin_drain("stop", 0.0)
            async with asyncio.timeout(proxy.SECONDS - 1):
                assert await reader.read() == b""
                await port.gone()
            writer.close()

    run(main(), loop)


@every_server
def test_a_probe_needs_none(engine: str, loop: str) -> None:
    """The canary's own question comes through no proxy."""

    async def main() -> None:
        async with serving(APP, config(engine)) as port:
            mine, theirs = socket.socketpair()
            theirs.setblocking(False)
            port.server.probe(theirs)
            reader, writer = await asyncio.open_unix_connection(sock=mine)
            writer.write(GET)
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()

    run(main(), loop)


@every_server
def test_nonsense_from_many(engine: str, loop: str) -> None:
    """Random mutations of good headers: an answer or an end for each, and it serves on."""
    print(f"seed {SEED}")
    rng = random.Random(SEED)

    async def main() -> None:
        async with serving(APP, config(engine)) as port:
            for _ in range(200):
                data = bytearray(rng.choice(list(GOOD.values()))[0][:400] + GET)
                for _ in range(rng.randrange(1, 4)):
                    data[rng.randrange(min(len(data), 60))] = rng.randrange(256)
                reader, writer = await port.connect()
                writer.write(data)
                writer.write_eof()
                try:
                    answer = await reader.read()
                except ConnectionResetError:
                    answer = b""
                assert answer == b"" or answer.startswith(b"HTTP/1.1 "), answer
                writer.close()
            await port.gone()
            assert answered(await port.ask(V1 + GET)) == "192.0.2.1 http"

    run(main(), loop)


def test_inet6_is_told_as_the_kernel_tells_it() -> None:
    """Four numbers, as in an address that `accept` gives."""
    packed = struct.pack("!16s16sHH", bytes(15) + b"\1", bytes(16), 7, 8)
    found = proxy._place(proxy.read(v2(0x21, 0x21, packed), (2,)))  # type: ignore[arg-type]
    assert found == (socket.AF_INET6, ("::1", 7, 0, 0))


def test_every_rule_is_explained_to_its_reader() -> None:
    """What the log names, the page has a line about."""
    page = (Path(__file__).parents[2] / "docs/how-to/behind-a-proxy.md").read_text()
    for rule in RULES:
        assert f"| `{rule}` |" in page
