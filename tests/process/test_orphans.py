"""Without its supervisor nothing lives on: port and name are free at once, for a new start."""

from __future__ import annotations

import functools
import os
import random
import re
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from process.clients import Address, Gate, Http, address_of, get
from process.releases import deploy, served, wait_at
from process.support import APPS, gone, in_some_try, until, watching

from leeward._sys import procfs
from leeward.testing import Service, serve

MODES = ("zygote", "spawn")
#: Seconds in which nothing of a dead supervisor's is left, in one of some tries: half a dozen
#: processes that end, and the test, share the processors with whatever else runs.
AT_ONCE = 0.1
#: In each of them; and of a process that has just been executed, which looks for its supervisor
#: only once Python runs.
SOON = 5.0


def below(pid: int) -> set[int]:
    """All descendants of a process."""
    children = set(procfs.children_of(pid))
    return children.union(*map(below, children))


def kill(service: Service) -> float:
    """SIGKILLs the supervisor; how long something of it lived on, in seconds."""
    with ExitStack() as stack:
        poll = select.poll()
        left = {os.pidfd_open(service.pid)}
        for pid in below(service.pid):
            try:
                left.add(os.pidfd_open(pid))
            except ProcessLookupError:
                continue
        for fd in left:
            stack.callback(os.close, fd)
            poll.register(fd, select.POLLIN)
        began = time.monotonic()
        service.signal(signal.SIGKILL)
        while left and time.monotonic() - began < 10:
            for fd, _ in poll.poll(10_000):
                poll.unregister(fd)
                left.discard(fd)
        took = time.monotonic() - began
    if service.family():  # born while we looked
        until(lambda: not service.family(), "the last of the family to end")
        took = time.monotonic() - began
    assert took < SOON, f"something lived on for {took:.1f} s"
    return took


def at_once(test: Callable[..., float]) -> Callable[..., None]:
    """A test that returns how long something lived on."""

    @functools.wraps(test)
    def tried(**given: object) -> None:
        def scene() -> str:
            took = test(**given)
            return "" if took < AT_ONCE else f"something lived on for {took:.3f} s"

        in_some_try(scene)

    return tried


def bind(address: Address) -> None:
    """As any server does that starts on this port."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen()


@contextmanager
def again(dead: Service, target: str, *flags: str, **more: object) -> Iterator[Service]:
    """A new start with the same name and the same control directory."""
    env = {"XDG_RUNTIME_DIR": str(dead.directory)}
    with serve(target, *flags, name=dead.name, env=env, **more) as service:  # type: ignore[arg-type]
        yield service


# --- what is left ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@at_once
def test_no_worker_outlives_a_serving_supervisor(mode: str) -> float:
    """Idle, busy and blocked workers are gone within 100 ms, and so is the port's use."""
    with (
        serve("held", "-w", "3", "--start", mode, cwd=APPS) as service,
        Gate() as gate,
    ):
        service.wait_ready(3)
        address = address_of(service)
        with Http(address) as busy, Http(address) as blocked, Http(address) as idle:
            idle.get()
            gate.hold(busy)
            gate.hold(blocked, "blocked")
            took = kill(service)
            bind(address)
            assert busy.cut() and blocked.cut() and idle.cut()
    return took


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", ["at_import", "in_factory"])
@at_once
def test_nothing_outlives_a_supervisor_that_boots(where: str, mode: str, tmp_path: Path) -> float:
    """Killed while the application is imported, and while the first factory runs."""
    with Gate() as gate:
        deploy(tmp_path, "one", **{where: wait_at(gate)})
        with serve("shop", "-w", "2", "--start", mode, cwd=tmp_path) as service:
            gate.arrival()
            took = kill(service)
    return took


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", ["at_import", "in_factory"])
@at_once
def test_nothing_outlives_a_supervisor_that_rolls(where: str, mode: str, tmp_path: Path) -> float:
    """Killed in the middle of a reload, neither the old nor the new generation lives on."""
    deploy(tmp_path, "one")
    with Gate() as gate, served(tmp_path, "--start", mode) as service:
        address = address_of(service)
        deploy(tmp_path, "two", **{where: wait_at(gate)})
        service.signal(signal.SIGHUP)
        new = gate.arrival()
        assert new.pid in below(service.pid)
        took = kill(service)
        bind(address)
    return took


@at_once
def test_nothing_outlives_a_supervisor_that_stops() -> float:
    """Killed while workers drain: what they still had to finish dies too."""
    with serve("held", "-w", "2", cwd=APPS) as service, Gate() as gate:
        service.wait_ready(2)
        with Http(address_of(service)) as client:
            held = gate.hold(client)
            service.signal(signal.SIGTERM)
            service.wait_line(rf"pid={held.pid} draining")
            took = kill(service)
            assert client.cut()
    return took


@pytest.mark.parametrize("mode", MODES)
def test_at_any_moment_of_its_start(mode: str) -> None:
    """Killed at random moments from its first instruction to serving: nothing is left."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for _ in range(8):
        with serve("hello", "-w", "2", "--start", mode, cwd=APPS) as service:
            moment = dice.uniform(0.05, 0.5)
            with watching(service.pid) as ended:
                assert not ended(moment), "it ended by itself"
            print(f"killed after {moment} s")
            kill(service)


# --- a new start ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_new_start_works_at_once(mode: str) -> None:
    """Same name, same port, right after a SIGKILL: the stale control socket is cleared."""
    with serve("hello", "-w", "2", "--start", mode, cwd=APPS) as old:
        old.wait_ready(2)
        host, port = address_of(old)
        control = Path(old.ps()["control"])
        old.signal(signal.SIGKILL)
        with again(old, "hello", "-w", "2", cwd=APPS, bind=f"{host}:{port}") as new:
            new.wait_ready(2)
            assert get((host, port)).status == 200
            assert new.ps()["pid"] == new.pid != old.pid
            assert control.is_socket()
        assert not control.exists()


@at_once
def test_a_dead_instance_is_told_as_none() -> float:
    """Its socket file is still there; the verbs say that nobody answers: exit code 6."""
    with serve("hello", cwd=APPS) as service:
        service.wait_ready()
        control = Path(service.ps()["control"])
        took = kill(service)
        assert control.is_socket()
        for verb in ("ps", "reload", "stop"):
            done = service.leeward(verb)
            assert done.returncode == 6, (verb, done.stderr)
            assert len(done.stderr.splitlines()) <= 8
    return took


@pytest.mark.parametrize(
    "how", ["subprocess", "shell", "own-session", "stubborn", "daemon", "fork-in-thread"]
)
def test_a_new_start_ends_what_the_old_application_had_started(how: str) -> None:
    """Subprocesses may outlive everything; they hold no port, and the next start ends them."""
    with serve("starts_children", cwd=APPS) as old:
        old.wait_ready()
        address = address_of(old)
        stray = int(get(address, f"/start/{how}").body)
        if how == "shell":
            until(lambda: below(stray), "the shell to start its job")
        left = below(stray) | {stray}
        # In the middle of an exec a process has no environment.
        until(lambda: left <= set(old.family()), "the subprocess to carry our mark")
        with ExitStack() as stack:
            ended = [stack.enter_context(watching(pid)) for pid in sorted(left)]
            workers = below(old.pid) - left
            old.signal(signal.SIGKILL)
            assert all(gone(pid) for pid in workers)
            bind(address)
            assert set(old.family()) == left, "a subprocess ended by itself: nothing to show"
            with again(old, "hello", cwd=APPS, bind=f"127.0.0.1:{address[1]}") as new:
                new.wait_line(rf"ending .+ \(pid {stray}\), left over from pid {old.pid}")
                new.wait_ready()
                assert all(each(0) for each in ended)
                assert get(address).status == 200


@pytest.mark.parametrize("how", ["fork", "multiprocessing"])
@at_once
def test_forks_of_the_application_die_with_everything(how: str) -> float:
    """What a worker forked is no orphan either: gone within 100 ms of the supervisor."""
    with serve("starts_children", cwd=APPS) as service:
        service.wait_ready()
        child = int(get(address_of(service), f"/start/{how}").body)
        assert child in below(service.pid)
        took = kill(service)
        bind(address_of(service))
    return took


# --- a living one --------------------------------------------------------------------------


def refused(live: Service) -> str:
    with again(live, "hello", cwd=APPS) as second:
        assert second.wait() == 2
        return second.log


def serves_on(live: Service) -> None:
    assert get(address_of(live)).status == 200
    assert live.ps()["pid"] == live.pid


def test_a_live_instance_is_never_stolen_from() -> None:
    """A second start of the same name: exit code 2, who has it, and what to type."""
    with serve("hello", cwd=APPS) as live:
        live.wait_ready()
        with serve("hello", cwd=APPS, name=live.name) as elsewhere:
            elsewhere.wait_ready()  # another directory is another name
        error = refused(live).splitlines()
        assert f"{live.name!r} is already running, pid {live.pid}" in error[0]
        assert f"leeward ps {live.name}" in error[1]
        serves_on(live)


def test_not_even_without_its_lock_file() -> None:
    """Somebody tidied the directory up: the answering socket still proves that it lives."""
    with serve("hello", cwd=APPS) as live:
        live.wait_ready()
        for lock in live.directory.glob("leeward/*.lock"):
            lock.unlink()
        assert f"{live.name!r} is already running" in refused(live)
        serves_on(live)


def test_not_even_while_it_is_stopped() -> None:
    """A supervisor that answers nobody (SIGSTOP) is alive all the same."""
    with serve("hello", cwd=APPS) as live:
        live.wait_ready()
        live.signal(signal.SIGSTOP)
        try:
            until(lambda: procfs.state_of(live.pid) == "T", "the supervisor to be stopped")
            assert re.search(rf"already running, pid {live.pid}\b", refused(live))
        finally:
            live.signal(signal.SIGCONT)
        serves_on(live)


def test_only_one_of_many_starts_gets_the_name() -> None:
    """Ten starts at once after a SIGKILL: one serves, nine are refused."""
    with serve("hello", cwd=APPS) as old, ExitStack() as stack:
        old.wait_ready()
        kill(old)
        starts = [stack.enter_context(again(old, "hello", cwd=APPS)) for _ in range(10)]
        codes: list[int] = []

        def refusals() -> bool:
            codes[:] = [it.process.returncode for it in starts if it.process.poll() is not None]
            return len(codes) == 9

        until(refusals, "nine starts to be refused")
        assert codes == [2] * 9
        (winner,) = (it for it in starts if it.process.poll() is None)
        winner.wait_ready()
        serves_on(winner)
