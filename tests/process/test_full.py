"""Full of descriptors or of connections: those that are there are served, nobody burns a core."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority, needs_openssl
from process.clients import Gate, Http, WebSocket, address_of, get
from process.rows import rows
from process.support import APPS, until, wrapped

from leeward._sys import procfs
from leeward.testing import Service, serve

ENGINES = pytest.mark.parametrize("engine", ["leeward", "tornado"])


def allowed(directory: Path, words: str) -> str:
    """An interpreter that may open so many files."""
    return wrapped(directory, f'ulimit {words}\nexec "$python" "$@"')


@contextlib.contextmanager
def silent(address: tuple[str, int], count: int) -> Iterator[list[socket.socket]]:
    """Clients that connect and say nothing; the kernel's queue takes those that nobody does."""
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(address)
            clients.append(client)
        yield clients


def limit(pid: int, files: int) -> tuple[int, int]:
    """Set the limit of a running process; what it was."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    return resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, hard))


def worker(service: Service) -> int:
    return int(service.workers()[0]["pid"])


# --- descriptors ----------------------------------------------------------------------------


@ENGINES
def test_two_hundred_silent_clients_and_64_files(engine: str, tmp_path: Path) -> None:
    """The ones that work are served and stay, silent ones give way, and nobody spins."""
    python = allowed(tmp_path, "-n 64")
    with (
        serve("held", "--engine", engine, cwd=APPS, python=python) as service,
        Gate() as gate,
    ):
        address = address_of(service.wait_ready(1))
        pid = worker(service)
        with Http(address) as busy, WebSocket(address) as talker, rows(service) as page:
            held = gate.hold(busy)
            talker.hear()
            row = page.of(pid)
            with silent(address, 200):
                service.wait_line(r"full: \d+ connections, 64 descriptors allowed")
                before = procfs.cpu_seconds(pid) or 0.0
                until(lambda: row.evicted >= 30, "thirty to be evicted")
                for number in range(5):
                    talker.say(str(number))
                    assert talker.hear() == str(number)
                with Http(address) as late:  # behind them in the queue, and served
                    assert late.get().status == 200
                # 160 clients were let in for others: 200 ms at most of work, and no spin.
                assert (procfs.cpu_seconds(pid) or 0.0) - before < 1.5
            page.until_open(2)
            assert get(address).status == 200
            held.release()
            assert busy.answer().status == 200
            talker.say("still here")
            assert talker.hear() == "still here"
        told = re.findall(r"full: |to make room|by 503", service.log)
        assert len(told) < 40, "more than a line a second"
        assert "Too many open files" not in service.log


@ENGINES
def test_full_of_work_it_says_so(engine: str, tmp_path: Path) -> None:
    """Nobody is idle: new clients get 503 and Retry-After, nothing in flight is touched."""
    python = allowed(tmp_path, "-n 80")
    with (
        serve("held", "--engine", engine, "--max-conns", "8", cwd=APPS, python=python) as service,
        Gate() as gate,
        contextlib.ExitStack() as clients,
    ):
        address = address_of(service.wait_ready(1))
        busy = [clients.enter_context(Http(address)) for _ in range(6)]
        talkers = [clients.enter_context(WebSocket(address)) for _ in range(2)]
        held = [gate.hold(client) for client in busy]
        service.wait_line(r"full: 8 connections \(--max-conns 8\)")
        with Http(address) as late:
            answer = late.get()
        assert (answer.status, answer.announces_close) == (503, True)
        assert 1 <= int(answer.headers["retry-after"]) <= 5
        service.wait_line(r"answered \d+ by 503")
        assert service.ps()["workers"][0]["shed"] >= 1
        for each in held:
            each.release()
        assert [client.answer().status for client in busy] == [200] * 6
        for talker in talkers:
            talker.hear()
            talker.say("here")
            assert talker.hear() == "here"
        # Those that have been answered give way when they have been idle for a second.
        until(lambda: get(address).status == 200, "there to be room again")


def test_no_descriptor_at_all(tmp_path: Path) -> None:
    """The application has eaten them: who is there is served, new ones are told by the spare."""
    python = allowed(tmp_path, "-n 64")
    with serve("eats_descriptors", cwd=APPS, python=python) as service:
        address = address_of(service.wait_ready(1))
        with WebSocket(address) as eater:
            eater.say("eat")
            assert eater.hear() == "Too many open files"
            pid = worker(service)
            before = procfs.cpu_seconds(pid) or 0.0
            with Http(address) as late:
                answer = late.get()
                assert answer.status == 503 and "retry-after" in answer.headers
            assert (procfs.cpu_seconds(pid) or 0.0) - before < 0.5
            eater.say("give")
            assert eater.hear() == "0 left"
            until(lambda: get(address).status == 200, "it to accept again")


def test_a_limit_that_is_lowered_and_raised(tmp_path: Path) -> None:
    """prlimit by somebody else: it stops at the new one, and goes on soon after the next."""
    with serve("slow", "-w", "1", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        pid = worker(service)
        with contextlib.ExitStack() as clients, rows(service) as page:
            first = [clients.enter_context(Http(address)) for _ in range(60)]
            for client in first:
                assert client.get().status == 200
            before = limit(pid, 48)
            try:
                with silent(address, 20):
                    service.wait_line(r"cannot accept on .*Too many open files|48 descriptors")
                    until(lambda: page.of(pid).evicted, "idle ones to give way")
                    kept = clients.enter_context(Http(address))
                    assert kept.get().status == 200
                    assert page.of(pid).open > 15, "those above the limit free no number below it"
            finally:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            late = [clients.enter_context(Http(address)) for _ in range(60)]
            assert [client.get().status for client in late] == [200] * 60


def test_the_soft_limit_is_raised(tmp_path: Path) -> None:
    """To the hard one, in workers and in what they start; `ps` shows it."""
    python = allowed(tmp_path, "-Sn 200; ulimit -Hn 3000")
    with serve("hello", cwd=APPS, python=python) as service:
        service.wait_ready(1)
        assert service.workers()[0]["fd_limit"] == 3000
        assert procfs.fd_limit(service.pid) == 3000


def test_a_full_worker_leaves_it_to_the_others() -> None:
    """Two of two connections each: four are accepted, and nobody idle is evicted for the fourth."""
    with (
        serve("held", "-w", "2", "--max-conns", "2", cwd=APPS) as service,
        contextlib.ExitStack() as clients,
    ):
        address = address_of(service.wait_ready(2))
        page = clients.enter_context(rows(service))
        four = [clients.enter_context(Http(address)) for _ in range(4)]
        served_by = [client.get().json["slot"] for client in four]
        assert page.until_open(4) == [2, 2]
        assert sum(row.evicted for row in page.all()) == 0
        with Http(address) as fifth:
            here = fifth.get().json["slot"]
        assert sum(row.evicted for row in page.all()) >= 1
        # Which two a worker took is the kernel's choice: one that gets no core takes later ones.
        assert four[served_by.index(here)].at_end(), "its oldest idle one gave way"


@needs_openssl
@ENGINES
def test_silent_clients_of_an_https_listener(engine: str, tmp_path: Path) -> None:
    """They have not even shaken hands, and give way like others."""
    authority = Authority(tmp_path / "ca")
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.make(*files)
    tls = ("--ssl-certfile", str(files[0]), "--ssl-keyfile", str(files[1]))
    with serve("hello", "--engine", engine, "--max-conns", "4", *tls, cwd=APPS) as service:
        found = service.wait_ready(1).wait_line(r"https://([\d.]+):(\d+)")
        address = found[1], int(found[2])
        with silent(address, 4), rows(service) as page:
            page.until_open(4)
            with socket.create_connection(address, 20) as late:
                wrap = authority.client().wrap_socket
                with wrap(late, server_hostname="localhost") as client:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    assert client.recv(12) == b"HTTP/1.1 200"
            assert sum(row.evicted for row in page.all()) >= 1


# --- limits that somebody has set --------------------------------------------------------------


@ENGINES
def test_so_many_of_one_address(engine: str, tmp_path: Path) -> None:
    """--max-conns-per-ip: one more gets 503; when one goes, another may come."""
    flags = ("--engine", engine, "--max-conns-per-ip", "3", "--bind", f"unix:{tmp_path}/s")
    with serve("hello", *flags, cwd=APPS) as service:
        place = service.wait_ready(1).wait_line(r"http://([\d.]+):(\d+)")
        address = place[1], int(place[2])
        with contextlib.ExitStack() as clients, rows(service) as page:
            three = [clients.enter_context(Http(address)) for _ in range(3)]
            for client in three:
                assert client.get().status == 200
            with Http(address) as fourth:
                answer = fourth.get()
                assert answer.status == 503 and "retry-after" in answer.headers
                assert fourth.at_end()
            with contextlib.ExitStack() as locals_:
                for _ in range(5):
                    client = locals_.enter_context(Http(f"{tmp_path}/s"))
                    assert client.get().status == 200, "a unix socket has no address"
            page.until_open(3)
            three[0].close()
            page.until_open(2)
            assert get(address).status == 200


@ENGINES
def test_so_many_requests_at_a_time(engine: str) -> None:
    """--limit-concurrency: 503 and Retry-After beyond, WebSockets and waiting clients are free."""
    flags = ("--engine", engine, "--limit-concurrency", "2", "--health-path", "/healthz")
    with (
        serve("held", *flags, cwd=APPS) as service,
        Gate() as gate,
        contextlib.ExitStack() as clients,
    ):
        address = address_of(service.wait_ready(1))
        for _ in range(3):
            clients.enter_context(WebSocket(address)).hear()
            clients.enter_context(Http(address)).get()
        busy = [clients.enter_context(Http(address)) for _ in range(2)]
        held = [gate.hold(client) for client in busy]
        with Http(address) as third:
            answer = third.get()
            assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1
            assert answer.announces_close and third.at_end()
        with Http(address) as late:
            late.sock.sendall(
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nthe first of it"
            )
            assert late.answer().status == 503, "its body is not waited for"
        assert get(address, "/healthz").status == 200
        held[0].release()
        assert busy[0].answer().status == 200
        # Tornado's own server counts it until it waits for the next.
        page = clients.enter_context(rows(service)).of(worker(service))
        until(lambda: page.in_flight == 1, "the answered one to be none in flight")
        assert get(address).status == 200
        held[1].release()
        assert busy[1].answer().status == 200
        assert os.path.exists(f"/proc/{worker(service)}")
