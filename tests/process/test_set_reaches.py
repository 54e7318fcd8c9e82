"""`leeward set` reaches every worker: what may change while it runs does change."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from process.clients import Http, address_of, get
from process.registry import conns, until_there, waiting
from process.support import APPS
from process.test_set import set_

from leeward._core.config import TUNABLE
from leeward.testing import serve

#: Other values than the defaults, as they are typed, and what they come to.
ENGINES = ("leeward", "tornado")

OTHERS: dict[str, tuple[str, object]] = {
    "graceful_timeout": ("33s", 33.0),
    "drain_window": ("4s", 4.0),
    "settle": ("11s", 11.0),
    "max_lingering": ("3", 3),
    "max_conns": ("500", 500),
    "max_conns_per_ip": ("400", 400),
    "limit_concurrency": ("300", 300),
    "rebalance": ("20", 20),
    "max_requests": ("9000", 9000),
    "max_requests_jitter": ("5", 5),
    "max_age": ("2h", 7200.0),
    "max_pss": ("2g", 2147483648),
    "stall_warn": ("3s", 3.0),
    "stall_kill": ("200s", 200.0),
    "stall_kill_busy": ("true", True),
    "stopped_kill": ("40s", 40.0),
    "drain_delay": ("1s", 1.0),
    "silent_timeout": ("21s", 21.0),
    "header_timeout": ("22s", 22.0),
    "body_timeout": ("23s", 23.0),
    "min_body_rate": ("24", 24),
    "handler_timeout": ("25s", 25.0),
    "max_poll_age": ("26s", 26.0),
    "write_timeout": ("27s", 27.0),
    "idle_timeout": ("28s", 28.0),
    "write_budget": ("29k", 29 * 1024),
    "start_timeout": ("61s", 61.0),
    "max_body": ("30k", 30 * 1024),
    "max_header": ("31k", 31 * 1024),
    "max_inflate_ratio": ("50", 50),
    "on_disconnect": ("cancel", "cancel"),
    "abandon_after": ("32s", 32.0),
    "ws_ping_interval": ("33s", 33.0),
    "ws_ping_timeout": ("34s", 34.0),
    "peer_timeout": ("35s", 35.0),
    "log_level": ("debug", "debug"),
}


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
def test_each_setting_that_may_change(engine: str) -> None:
    """In the worker that is there, and as it was when it is taken back."""
    assert set(OTHERS) == set(TUNABLE)
    with serve("tells_its_settings", "-w", "1", "--engine", engine, cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        before = get(address).json
        set_(service, *(f"{key}={text}" for key, (text, _) in OTHERS.items()))
        found = get(address).json
        assert found == {key: value for key, (_, value) in OTHERS.items()}
        assert not [key for key in TUNABLE if found[key] == before[key]], "each is another one"
        set_(service, *(f"{key}=default" for key in OTHERS))
        assert get(address).json == before


@pytest.mark.parametrize("flags", [(), ("--start", "spawn")])
def test_deadlines_of_connections(flags: tuple[str, ...]) -> None:
    """Those that wait already wait anew; what begins later has the new deadlines."""
    with waiting(*flags) as service, contextlib.ExitStack() as stack:
        address = address_of(service)

        def client() -> Http:
            return stack.enter_context(Http(address))

        idle, silent = client(), client()
        idle.get("/plain")
        until_there(service, 2)
        set_(service, "idle-timeout=200ms", "silent-timeout=200ms")
        assert idle.at_end() and silent.at_end()
        set_(service, "silent-timeout=default", "header-timeout=200ms", "body-timeout=200ms")
        late = client()
        late.sock.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert late.answer().status == 408
        body = client()
        body.sock.sendall(b"POST /plain HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1")
        assert body.answer().status == 408
        set_(service, "handler-timeout=200ms", "idle-timeout=default")
        assert client().get("/coroutine").status == 503
        quiet = client()
        quiet.get("/plain")
        (left,) = [it["deadline"] for it in until_there(service, 1, "idle")]
        assert left > 60, "as it was"


def test_an_adopted_programs_own_idle_timeout_is_its_own_again(tmp_path: Path) -> None:
    """What is set wins over the program's argument; taken back, that holds again."""
    (tmp_path / "program.py").write_text(
        "import asyncio, tornado.web\n"
        "class Plain(tornado.web.RequestHandler):\n"
        "    def get(self): self.write('plain')\n"
        "async def main():\n"
        "    application = tornado.web.Application([('/', Plain)])\n"
        "    application.listen(0, '127.0.0.1', idle_connection_timeout=500)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )

    with serve("program.py", "-w", "1", cwd=tmp_path, bind=None) as service:
        address = address_of(service.wait_ready(1))
        with Http(address) as client:

            def left() -> float:
                client.get("/")
                return float(conns(service, "--state", "idle")[0]["deadline"])

            assert left() > 400
            set_(service, "idle-timeout=100s")
            assert left() <= 100
            set_(service, "idle-timeout=default")
            assert left() > 400


def test_how_many_there_may_be() -> None:
    """Connections of a worker and of an address, requests in flight; and any number again."""
    with waiting("--max-conns", "0") as service, contextlib.ExitStack() as stack:
        address = address_of(service)
        busy = [stack.enter_context(Http(address)) for _ in range(2)]
        for it in busy:
            it.send("/coroutine")
        until_there(service, 2, "active")
        set_(service, "limit-concurrency=2")
        assert get(address, "/plain").status == 503
        set_(service, "limit-concurrency=default", "max-conns-per-ip=2")
        assert stack.enter_context(Http(address)).answer().status == 503
        set_(service, "max-conns-per-ip=default")
        assert get(address, "/plain").status == 200
        until_there(service, 2)
        set_(service, "max-conns=2")
        service.wait_line(r"full: 2 connections \(--max-conns 2\)")
        assert stack.enter_context(Http(address)).answer().status == 503
        set_(service, "max-conns=3")
        assert get(address, "/plain").status == 200


@pytest.mark.parametrize("engine", ENGINES)
def test_who_is_connected_already_obeys_the_peer_timeout(engine: str) -> None:
    """And who comes later; by 0 the kernel asks nobody any more."""
    with serve("tells_its_socket", "--engine", engine, cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with Http(address) as client:
            assert client.get("/").json["user_timeout"] == 60_000
            set_(service, "peer-timeout=12s")
            found = client.get("/").json
            assert found == get(address).json
            assert (found["user_timeout"], found["idle"], found["keepalive"]) == (12_000, 6, 1)
            set_(service, "peer-timeout=0s")
            for it in (client.get("/").json, get(address).json):
                assert (it["user_timeout"], it["keepalive"]) == (0, 0)
            set_(service, "peer-timeout=default")
            assert client.get("/").json["user_timeout"] == 60_000


@pytest.mark.parametrize("engine", ENGINES)
def test_a_handler_whose_client_has_left_already_obeys(engine: str) -> None:
    """One that was to have its minute is ended at once; a client that leaves later, too."""
    with serve("polls", "--engine", engine, "--abandon-after", "60s", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with Http(address) as client:
            client.send("/poll")
            service.wait_line("GET /poll waits")
        service.wait_line("GET /poll left")
        set_(service, "on-disconnect=cancel")
        service.wait_line("GET /poll over")
        set_(service, "on-disconnect=default", "abandon-after=100ms")
        mark = service.mark()
        with Http(address) as client:
            client.send("/poll")
            service.wait_line("GET /poll waits", after=mark)
        service.wait_line("GET /poll over", after=mark)


@pytest.mark.parametrize("engine", ENGINES)
def test_sizes_of_requests(engine: str) -> None:
    """For the next request, also of a connection that is there; and as it was."""
    head = "POST /plain HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}"
    with waiting("--engine", engine) as service:
        address = address_of(service)

        def refused() -> bool:
            with Http(address) as client:
                client.sock.sendall(head.format(2000, "x" * 2000).encode())
                found = client.answer().status
                assert found in (200, 204, 400, 405, 413)
                return found in (400, 413)

        assert not refused()
        set_(service, "max-body=1000")
        assert refused()
        set_(service, "max-body=default")
        assert not refused()
        with Http(address) as client:
            client.get("/plain")
            set_(service, "max-header=1000")
        with Http(address) as client:
            client.sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 2000 + b"\r\n\r\n")
            answer = client.sock.recv(100)
            assert not answer or answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))
