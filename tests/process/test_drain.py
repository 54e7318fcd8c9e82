"""A reload takes nothing from anybody: each connection ends by itself, and is told so."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import select
import signal
import threading
import time
from pathlib import Path

import pytest
from process.clients import Address, Gate, Http, WebSocket, address_of, all_drain, get
from process.crowd import PACE
from process.support import APPS, PATIENCE, gone, in_some_try, spares_of, until

from leeward.testing import Service, serve

CHAT = APPS.parents[1] / "examples/chat/chat.py"


def reload_done(service: Service, workers: int = 1) -> None:
    """Generation 2 serves, and the workers of generation 1 accept nothing any more."""
    service.signal(signal.SIGHUP)
    service.wait_line(r"generation 2 serves")
    all_drain(service, 1, workers)


def old_pids(service: Service) -> list[int]:
    return [worker["pid"] for worker in service.workers()]


def assert_only_generation_2(service: Service, old: list[int]) -> None:
    for pid in old:
        assert gone(pid), f"worker {pid} outlived its drain\n{service.log}"
        service.wait_line(rf"pid={pid} gone$")
    now = service.ps()
    assert {worker["generation"] for worker in now["workers"]} == {2}
    assert now["ends"] == [], "a drained worker's end needs no explanation"


def test_a_kept_connection_is_told_before_it_ends() -> None:
    """Idle connections stay; their next answer comes, says "Connection: close" and is the last."""
    with serve("held", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        old = old_pids(service)
        with contextlib.ExitStack() as stack:
            idle = [stack.enter_context(Http(address)) for _ in range(20)]
            for client in idle:
                assert not client.get().announces_close
            reload_done(service)
            assert not select.select([client.sock for client in idle], [], [], 0)[0]
            for client in idle:
                answer = client.get()
                assert (answer.status, answer.announces_close) == (200, True)
                assert answer.json["generation"] == "1"
                assert client.at_end()
        assert get(address).json["generation"] == "2"
        assert_only_generation_2(service, old)


def test_http_1_0_with_keep_alive_is_told_too() -> None:
    """What `ab -k` speaks: an answer that says "close", where "Keep-Alive" stood before."""
    with serve("held", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with Http(address) as client:
            client.send("/", "Connection: keep-alive", version="1.0")
            assert client.answer().headers["connection"].lower() == "keep-alive"
            reload_done(service)
            client.send("/", "Connection: keep-alive", version="1.0")
            assert client.answer().announces_close
            assert client.at_end()


def test_clients_that_keep_connections_see_no_reset_during_reloads() -> None:
    """Keep-alive clients that obey "Connection: close" do not lose one request in 5 reloads."""
    failures: list[str] = []
    answered: list[str] = []
    enough = threading.Event()

    def ask(address: tuple[str, int]) -> None:
        connection = http.client.HTTPConnection(*address, timeout=20)
        while not enough.wait(PACE):
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answered.append(json.loads(answer.read())["generation"])
            except OSError as error:
                failures.append(f"{type(error).__name__}: {error}")
                connection.close()
        connection.close()

    with serve("held", "-w", "2", cwd=APPS) as service:
        address = address_of(service.wait_ready(2))
        clients = [threading.Thread(target=ask, args=(address,)) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            for generation in range(2, 7):
                done = service.leeward("reload")
                assert done.returncode == 0, done.stderr
                assert f"generation {generation} serves" in done.stdout
            until(lambda: "6" in answered, "an answer of the last generation")
        finally:
            enough.set()
            for client in clients:
                client.join()
        assert failures == []
        assert {"1", "6"} <= set(answered)
        assert len(answered) > 100


def test_a_request_in_flight_finishes_where_it_began() -> None:
    """The old worker answers it, however long the new generation has been serving."""
    with serve("held", "-w", "2", cwd=APPS) as service:
        address = address_of(service.wait_ready(2))
        old = old_pids(service)
        with Gate() as gate, Http(address) as busy:
            held = gate.hold(busy)
            reload_done(service, 2)
            assert get(address).json["generation"] == "2"
            draining = lambda: [it["pid"] for it in service.workers("draining")]  # noqa: E731
            until(lambda: draining() == [held.pid], "the other one to be gone")
            held.release()
            answer = busy.answer()
            assert answer.json["pid"] == held.pid
            assert answer.announces_close
            assert busy.at_end()
        assert_only_generation_2(service, old)


def test_a_long_poll_is_answered_across_a_reload(tmp_path: Path) -> None:
    """Of the chat: a poll at the old worker hears what is said to the new one."""
    env = {"CHAT_RUN_DIR": str(tmp_path)}
    with serve(f"{CHAT}:make_app", cwd=CHAT.parent, env=env) as service:
        address = address_of(service.wait_ready(1))
        old = old_pids(service)
        with Http(address) as poll:
            poll.send("/api/poll")
            until(lambda: get(address, "/api/status").json["polls"] == 1, "the poll to be taken")
            reload_done(service)
            with contextlib.closing(http.client.HTTPConnection(*address, timeout=20)) as said:
                body = json.dumps({"name": "Ada", "text": "over here"})
                said.request("POST", "/api/messages", body, {"Content-Type": "application/json"})
                assert said.getresponse().status == 201
            answer = poll.answer()
        assert [message["text"] for message in answer.json["messages"]] == ["over here"]
        assert answer.announces_close
        assert_only_generation_2(service, old)


def test_websockets_are_closed_spread_over_the_window() -> None:
    """Each gets 1012 within --drain-window, evenly: no moment has more than its share."""
    in_some_try(lambda: uneven(window=1.5, count=60))


def uneven(window: float, count: int) -> str:
    """How the closes of so many WebSockets were not spread, or ""."""
    with serve("held", "--drain-window", f"{window}s", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        old = old_pids(service)
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(WebSocket(address)) for _ in range(count)]
            for socket in sockets:
                assert json.loads(socket.hear())["generation"] == "1"
            reload_done(service)
            begun = time.monotonic()
            closed = close_times(sockets)
            took = [at - begun for at in closed]
        assert_only_generation_2(service, old)
    assert len(took) == count
    if took[-1] >= window + 1.0:
        return f"the last one {took[-1]:.3f} s after the reload"
    # One per n-th of the window: the middle half of them takes half of it.  A
    # machine that stands still for a moment may double that, closing all of them
    # at once or at random ends does not come near.
    if not window / 4 < took[3 * count // 4] - took[count // 4] < window:
        return f"the middle half of them in too little or too long: {took}"
    busiest = max(sum(start <= at < start + window / 10 for at in took) for start in took)
    if busiest > count / 3:
        return f"{busiest} of {count} within a tenth of the window: {took}"
    return ""


def close_times(sockets: list[WebSocket]) -> list[float]:
    """When each socket's close frame came; all of them say 1012."""
    poll = select.poll()
    waiting = {socket.sock.fileno(): socket for socket in sockets}
    for fd in waiting:
        poll.register(fd, select.POLLIN)
    times = []
    while waiting:
        ready = poll.poll(20_000)
        assert ready, f"{len(waiting)} WebSockets were never told"
        for fd, _ in ready:
            assert waiting.pop(fd).close_code() == 1012
            times.append(time.monotonic())
            poll.unregister(fd)
    return times


def test_a_window_of_nothing_closes_all_at_once() -> None:
    """--drain-window 0s: every WebSocket gets its 1012 now."""
    with serve("held", "--drain-window", "0s", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(WebSocket(address)) for _ in range(20)]
            for socket in sockets:
                socket.hear()
            reload_done(service)
            begun = time.monotonic()
            assert close_times(sockets)[-1] - begun < 5.0  # by default it takes 10 s


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
def test_a_client_is_told_the_applications_own_code(engine: str) -> None:
    """Whose handler has it in the place of ours: in a reload as on a stop, which end as ever."""
    flags = ("--engine", engine, "--drain-window", "200ms")
    with serve("held", *flags, cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        old = old_pids(service)
        with WebSocket(address, "/room") as room, WebSocket(address) as plain:
            for socket in (room, plain):
                assert json.loads(socket.hear())["generation"] == "1"
            reload_done(service)
            assert room.farewell() == (4012, "restarting, in our words")
            assert plain.farewell() == (1012, "restarting")
        assert_only_generation_2(service, old)
        with WebSocket(address, "/room") as room:
            room.hear()
            service.signal(signal.SIGTERM)
            assert room.farewell() == (4001, "going away, in our words")
            assert service.wait() == 0


def test_a_stop_hurries_a_drain_that_is_under_way() -> None:
    """WebSockets that wait for their turn of the window get 1001 at once on a stop."""
    with serve("held", "--drain-window", "20s", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(WebSocket(address)) for _ in range(5)]
            for socket in sockets:
                socket.hear()
            reload_done(service)
            begun = time.monotonic()
            service.signal(signal.SIGTERM)
            codes = [socket.close_code() for socket in sockets]
            assert time.monotonic() - begun < 5.0
            # One may have had its turn before the stop came.
            assert set(codes) <= {1001, 1012} and codes.count(1001) >= 3
            assert service.wait() == 0


def test_the_deadline_cuts_who_does_not_leave() -> None:
    """A request for ever, a loop that stands still, a WebSocket that answers nothing: all gone."""
    flags = ("-w", "3", "--graceful-timeout", "700ms", "--drain-window", "100ms")
    with serve("held", *flags, cwd=APPS) as service:
        address = address_of(service.wait_ready(3))
        old = old_pids(service)
        with contextlib.ExitStack() as stack:
            gate = stack.enter_context(Gate())
            blocks = stack.enter_context(Http(address))
            gate.hold(blocks, "blocked")
            # From here on by another worker: that one accepts nothing.
            waits = stack.enter_context(Http(address))
            gate.hold(waits)
            deaf = stack.enter_context(WebSocket(address))
            deaf.hear()
            begun = time.monotonic()
            mark = service.mark()
            service.signal(signal.SIGHUP)
            # A blocked worker cannot keep a reload from being done.
            service.wait_line("generation 2 serves", after=mark)
            assert deaf.close_code(answer=False) == 1012
            for pid in old:
                assert gone(pid)
            assert time.monotonic() - begun < 5.0
            assert waits.cut() and blocks.cut() and deaf.cut()
            service.wait_line(r"drain deadline reached, cutting connections: .*1 active")
            assert {get(address).json["generation"] for _ in range(5)} == {"2"}
        for pid in old:
            service.wait_line(rf"pid={pid} gone")
        assert {it["generation"] for it in service.ps()["workers"]} == {2}


def test_connections_come_and_go_at_random_while_generations_change() -> None:
    """Random clients (kept, new, WebSocket) over 4 reloads: each request is answered."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    weather = random.Random(seed)
    with serve("held", "-w", "2", "--drain-window", "200ms", cwd=APPS) as service:
        address = address_of(service.wait_ready(2))
        kept: list[Http] = []
        with contextlib.ExitStack() as stack:
            for generation in range(2, 6):
                mark = service.mark()
                service.signal(signal.SIGHUP)
                for _ in range(60):
                    one_step(weather, address, kept, stack)
                service.wait_line(rf"generation {generation} serves", after=mark)
            for client in kept:
                assert client.get().status == 200


def one_step(
    weather: random.Random, address: Address, kept: list[Http], stack: contextlib.ExitStack
) -> None:
    choice = weather.random()
    if choice < 0.3:
        kept.append(stack.enter_context(Http(address)))
    elif choice < 0.8 and kept:
        client = weather.choice(kept)
        if client.get().announces_close:
            kept.remove(client)
    elif choice < 0.9:
        with WebSocket(address) as socket:
            assert json.loads(socket.hear())["slot"] in ("0", "1")
    else:
        assert get(address).status == 200


@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_workers_that_drained_leave_nothing(start: str) -> None:
    """After a reload only the new generation has processes, where --settle keeps nothing."""
    with serve("held", "-w", "2", "--start", start, "--settle", "0s", cwd=APPS) as service:
        service.wait_ready(2)
        old = old_pids(service)
        spares_of(service)  # each generation has one when it is at rest
        before = set(service.family())
        reload_done(service, 2)
        assert_only_generation_2(service, old)
        for pid in before:
            if pid != service.pid:  # of the first generation: workers and zygote
                assert gone(pid), pid
        spares_of(service)
        assert len(service.family()) == len(before)


# --- handlers that work on behind their answer -------------------------------------------


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
@pytest.mark.parametrize("how", ["native", "generator"])
@pytest.mark.parametrize("ends", ["stop", "recycle"])
def test_a_handler_that_works_on_behind_its_answer(
    tmp_path: Path, engine: str, how: str, ends: str
) -> None:
    """It is work in flight, though its client has what it wanted and has left."""
    os.mkfifo(tmp_path / "gate")
    with answers_first(tmp_path, engine) as service:
        service.wait_ready(1)
        (worker,) = service.workers()
        assert post(service, f"/{how}") == b"queued"
        mark = service.mark()
        verb = service.begin(ends)
        service.wait_line(r"draining \(", after=mark)
        with open(tmp_path / "gate", "wb"):
            pass
        assert gone(worker["pid"])
        verb.communicate(timeout=PATIENCE)
        assert verb.returncode == 0
        assert (tmp_path / "stored").read_text() == "the order"
        assert "ending" not in service.log


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
def test_one_that_works_on_for_ever_is_ended(tmp_path: Path, engine: str) -> None:
    """Told so, with time to clean up; and one that has taken its stream is not waited for."""
    with answers_first(tmp_path, engine) as service:
        service.wait_ready(1)
        (first,) = service.workers()
        assert post(service, "/detached") == b""
        assert service.leeward("recycle").returncode == 0
        assert gone(first["pid"]) and "ending" not in service.log
        (second,) = service.workers()
        assert post(service, "/endless") == b"queued"
        assert service.leeward("recycle").returncode == 0
        service.wait_line("ending 1 handler whose clients have left, or have their answer")
        assert gone(second["pid"])
        assert (tmp_path / "stored").read_text() == "the order"


def post(service: Service, path: str) -> bytes:
    client = http.client.HTTPConnection(*address_of(service), timeout=PATIENCE)
    with contextlib.closing(client) as it:
        it.request("POST", path, b"the order")
        return it.getresponse().read()


def answers_first(place: Path, engine: str) -> contextlib.AbstractContextManager[Service]:
    env = {"PLACE": str(place)}
    return serve("answers_first:make_app", "--engine", engine, cwd=APPS, env=env)
