"""A client that leaves takes its work along, in a real worker; a drain leaves none behind."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import struct
import time

import pytest
from process.clients import Gate, Http, address_of, all_drain
from process.support import APPS, gone, in_some_try, until

from leeward._sys import procfs
from leeward.testing import Service, serve

ENGINES = ("leeward", "tornado")


def post(client: Http, path: str) -> None:
    client.sock.sendall(f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n".encode())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_polls_are_ended(engine: str, loop: str) -> None:
    """Told at once, ended after --abandon-after, said in a line, and no traceback."""
    flags = ("--engine", engine, "--loop", loop, "--abandon-after", "300ms")
    polls = {"/poll": 499, "/old": 499, "/stream/event-stream": 200}
    with serve("polls", *flags, cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with contextlib.ExitStack() as clients:
            for path in polls:
                clients.enter_context(Http(address)).send(path)
                service.wait_line(f"GET {path} waits")
            begun = time.monotonic()
        for path in polls:
            service.wait_line(f"GET {path} left")
        service.wait_line("GET .* over")  # the first of them
        assert time.monotonic() - begun > 0.25
        for path, status in polls.items():
            service.wait_line(f"GET {path} over")
            service.wait_line(f"GET {path} finished {status}")

        def told() -> list[str]:
            lines = re.findall(r" info .* clients left: ended \d handlers? \((.*)\)", service.log)
            return sorted(re.findall(r"polls\.(\w+) 1", " ".join(lines)))

        until(lambda: told() == ["OldPoll", "Poll", "Stream"], "each to be told, and once")
        assert "Traceback" not in service.log and "error" not in service.log.lower()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_write_runs_to_its_end(engine: str) -> None:
    """Through a stop, too: the worker waits for a handler whose client has left."""
    flags = ("--engine", engine, "--abandon-after", "50ms", "--on-disconnect", "abandon")
    with serve("polls", *flags, cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with Gate() as gate:
            with Http(address) as client:
                post(client, f"/work/{gate.port}")
                held = gate.arrival()
            service.wait_line("POST /work/.* left")
            service.signal(signal.SIGTERM)
            service.wait_line("draining")
            held.release()
            service.wait_line("POST /work/.* written")
        assert service.wait() == 0


def test_cancel_is_for_any_method() -> None:
    with serve("polls", "--on-disconnect", "cancel", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with Http(address) as client:
            post(client, "/poll")
            service.wait_line("POST /poll waits")
        service.wait_line("POST /poll over")
        service.wait_line("POST /poll finished 499")


def test_notify_leaves_it_to_the_application() -> None:
    """Nor does the handler keep its worker from stopping: the end of the process ends it."""
    with serve("polls", "--on-disconnect", "notify", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with Http(address) as client:
            client.send("/poll")
            service.wait_line("GET /poll waits")
            # By a FIN alone it might wait for its answer.
            linger = struct.pack("ii", 1, 0)
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        service.wait_line("GET /poll left")
        assert "GET /poll over" not in service.log
        begun = time.monotonic()
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_who_has_left_before_the_handler_begins(engine: str, loop: str) -> None:
    """Request and reset come in one turn of the loop."""
    flags = ("--engine", engine, "--loop", loop, "--abandon-after", "50ms")
    with serve("polls", *flags, cwd=APPS) as service:
        service.wait_ready(1)
        for path in ("/poll", "/old"):
            leave_at_once(service, path)
        assert "Traceback" not in service.log


def leave_at_once(service: Service, path: str) -> None:
    """Sends a request and its reset to a worker that is stopped, and waits for the end of both."""
    (worker,) = service.workers()
    mark = service.mark()
    with Http(address_of(service)) as client:
        assert client.get().status == 200
        # It waits for the next request: what it finds by itself, and not by an event, may
        # be the reset at once, and nothing begins.
        until(lambda: procfs.waits_for_events(worker["pid"]), "the worker to wait")
        os.kill(worker["pid"], signal.SIGSTOP)
        service.wait_line("stopped by SIGSTOP", after=mark)
        client.send(path)
        linger = struct.pack("ii", 1, 0)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    os.kill(worker["pid"], signal.SIGCONT)

    def counts() -> set[int]:
        said = ("waits", "left", "over", "finished 499")
        return {service.log.count(f"GET {path} {what}") for what in said}

    # The reset may be seen before what came in front of it: then nobody ever waits.
    until(
        lambda: service.workers()[0]["connections"] == 0 and len(counts()) == 1,
        "a handler that has begun to be ended",
    )
    assert counts() <= {0, 1}


# --- drains --------------------------------------------------------------------------------------


def head(client: Http) -> bytes:
    """The answer up to its first piece."""
    data = b""
    while b"data: 1\n\n" not in data:
        more = client.sock.recv(65536)
        assert more, data
        data += more
    return data


def rest(client: Http) -> bytes:
    """All that comes until the server closes, without a reset."""
    data = b""
    while more := client.sock.recv(65536):
        data += more
    return data


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("order", ["stop", "reload"])
def test_streams_of_events_end_with_a_last_chunk(engine: str, order: str) -> None:
    """On a stop at once, on a reload within the window: not at the deadline."""
    flags = ("--engine", engine, "--drain-window", "300ms", "--graceful-timeout", "30s")
    with serve("polls", *flags, cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Http(address)) for _ in range(5)]
            for client in clients:
                client.send("/stream/event-stream")
                assert b"chunked" in head(client).lower()
            begun = time.monotonic()
            service.signal(signal.SIGTERM if order == "stop" else signal.SIGHUP)
            for client in clients:
                assert rest(client).endswith(b"0\r\n\r\n")
            assert time.monotonic() - begun < 15
            if order == "reload":
                service.wait_line("generation 2 serves")
                (pid,) = set(re.findall(r"gen=1 pid=(\d+) draining", service.log))
                assert gone(int(pid))
            else:
                assert service.wait() == 0
        for what in ("over", "left"):
            line = f"GET /stream/event-stream {what}"
            until(lambda line=line: service.log.count(line) == 5, f"5 times {what}")
        assert "Traceback" not in service.log


@pytest.mark.parametrize("engine", ENGINES)
def test_at_the_deadline(engine: str) -> None:
    """Who waits is told 503, what is silent ends, what is half is cut; all clean up."""
    flags = ("--engine", engine, "--graceful-timeout", "2s")
    with serve("polls", *flags, cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with contextlib.ExitStack() as stack:
            poll, old, posted, silent, busy = (stack.enter_context(Http(address)) for _ in range(5))
            poll.send("/poll")
            old.send("/old")
            post(posted, "/poll")
            silent.send("/stream/html")
            head(silent)
            busy.send("/download")
            for line in ("GET /poll", "GET /old", "POST /poll", "GET /download"):
                service.wait_line(f"{line} waits")
            service.signal(signal.SIGTERM)
            service.wait_line("draining")
            for client in (poll, old, posted):
                answer = client.answer()
                assert (answer.status, answer.announces_close) == (503, True)
                assert answer.headers["retry-after"] == "1"
                assert client.at_end()
            assert rest(silent) == b"0\r\n\r\n"
            with contextlib.suppress(ConnectionResetError):
                assert not rest(busy).endswith(b"0\r\n\r\n"), "half looks like the whole"
        assert service.wait() == 0
        for line in ("GET /poll", "GET /old", "POST /poll", "GET /stream/html"):
            assert f"{line} over" in service.log
            assert service.log.count(f"{line} left") == 1
        assert "Traceback" not in service.log


def test_many_polls_are_spread_at_the_end_of_a_reload() -> None:
    """In the last tenth of the timeout, and not all in its last moment."""
    in_some_try(lambda: bunched(timeout=5.0, count=40))


def bunched(timeout: float, count: int) -> str:
    """How the ends of so many polls were not spread, or ""."""
    with serve("polls", "--graceful-timeout", f"{timeout}s", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Http(address)) for _ in range(count)]
            for client in clients:
                client.send("/poll")
            until(lambda: service.log.count("GET /poll waits") == count, "all polls to wait")
            service.signal(signal.SIGHUP)
            all_drain(service, 1, 1)
            times = ended(clients)
    spread = max(times) - min(times)
    return "" if spread > timeout / 10 / 4 else f"all of them within {spread:.3f} s"


def ended(clients: list[Http]) -> list[float]:
    poll = select.poll()
    waiting = {client.sock.fileno(): client for client in clients}
    for fd in waiting:
        poll.register(fd, select.POLLIN)
    times = []
    while waiting:
        ready = poll.poll(20_000)
        assert ready
        for fd, _ in ready:
            assert waiting.pop(fd).answer().status == 503
            times.append(time.monotonic())
            poll.unregister(fd)
    return times
