"""The example with real servers: each worker its own connections, no reply crossed, none left."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from process.clients import address_of, get
from process.support import free_port, until

from leeward.testing import serve

EXAMPLE = Path(__file__).parents[2] / "examples" / "resources" / "counter.py"


@contextlib.contextmanager
def server(command: list[str], port: int, log: Path) -> Iterator[None]:
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    try:
        until(lambda: process.poll() is not None or answers(port), f"{command[0]} to answer")
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture
def redis_port(tmp_path: Path) -> Iterator[int]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server here: apt-get install redis-server")
    if importlib.util.find_spec("redis") is None:
        pytest.skip("redis is not installed: pip install redis")
    port = free_port()
    flags = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with server(["redis-server", *flags], port, tmp_path / "redis.log"):
        yield port


@pytest.fixture
def postgres_url(tmp_path: Path) -> Iterator[str]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if shutil.which("psql") else []
    bin_ = next((it for it in reversed(found) if (it / "initdb").exists()), None)
    if bin_ is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    if importlib.util.find_spec("asyncpg") is None:
        pytest.skip("asyncpg is not installed: pip install asyncpg")
    place = Path(f"/tmp/leeward-postgres-{os.getpid()}")
    place.mkdir()
    try:
        user, become = "postgres", []
        if os.getuid() == 0:  # which PostgreSQL refuses
            try:
                who = pwd.getpwnam("postgres")
            except KeyError:
                who = pwd.getpwnam("nobody")
            os.chown(place, who.pw_uid, who.pw_gid)
            become = ["setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups"]
        initdb = [str(bin_ / "initdb"), "-D", str(place / "data"), "-U", user, "-A", "trust", "-N"]
        done = subprocess.run(
            [*become, *initdb], cwd="/", capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"initdb does not work here: {done.stderr.strip()[-200:]}")
        port = free_port()
        flags = ["-D", str(place / "data"), "-p", str(port), "-k", str(place), "-F"]
        command = [*become, str(bin_ / "postgres"), *flags, "-c", "listen_addresses=127.0.0.1"]
        with server(command, port, tmp_path / "postgres.log"):
            yield f"postgresql://{user}@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(place)


def connections(port: int) -> dict[int, int]:
    """Connections to `port` by process, as a server that is asked tells them."""
    text = subprocess.run(
        ["ss", "-Htnp", "state", "established", f"( dport = :{port} )"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found: dict[int, int] = {}
    for line in text.splitlines():
        if "pid=" in line:
            pid = int(line.split("pid=")[1].split(",")[0])
            found[pid] = found.get(pid, 0) + 1
    return found


def test_redis_has_a_connection_of_each_worker(redis_port: int) -> None:
    """120 concurrent counts over 3 workers and a reload: none lost, none crossed, none left."""
    env = {"REDIS_URL": f"redis://127.0.0.1:{redis_port}/0", "DATABASE_URL": ""}
    with serve(f"{EXAMPLE}:make_app", "-w", "3", env=env) as service:
        address = address_of(service.wait_ready(3))
        pids = {worker["pid"] for worker in service.workers()}
        if shutil.which("ss"):
            assert set(connections(redis_port)) == pids

        def visit(number: int) -> tuple[str, int]:
            found = get(address, f"/?name=n{number % 10}").json
            assert found["name"] == f"n{number % 10}"
            return found["name"], found["visits"]

        with ThreadPoolExecutor(10) as pool:
            half = list(pool.map(visit, range(60)))
            service.leeward("reload")
            seen = half + list(pool.map(visit, range(60, 120)))
        assert sorted(seen) == sorted(
            (f"n{n}", visits) for n in range(10) for visits in range(1, 13)
        )
        assert (
            get(address, f"/upstream?url=http://{address[0]}:{address[1]}/alive").json["body"]
            == "alive"
        )
        assert service.stop() == 0
        if shutil.which("ss"):
            assert connections(redis_port) == {}


def test_without_its_redis_there_is_no_worker() -> None:
    """Exit code 3, and the line of the resource."""
    pytest.importorskip("redis", reason="redis is not installed: pip install redis")
    env = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0", "DATABASE_URL": ""}
    with serve(f"{EXAMPLE}:make_app", env=env) as service:
        assert service.wait() == 3
        service_says = service.log
    assert "opening counts (" in service_says and "ConnectionError" in service_says
    assert "in counts: await client.ping()" in service_says


def test_postgres_has_a_pool_of_each_worker(postgres_url: str) -> None:
    """All workers begin at once, and every guest is there."""
    env = {"REDIS_URL": "", "DATABASE_URL": postgres_url}
    with serve(f"{EXAMPLE}:make_app", "-w", "3", env=env) as service:
        address = address_of(service.wait_ready(3))
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda n: get(address, f"/?name=g{n}"), range(30)))
        assert get(address, "/?name=g0").json["guests"] == 30
        service.leeward("reload")
        assert get(address, "/?name=g0").json["guests"] == 30
        assert service.stop() == 0
        assert " error " not in service.log


def test_alone_it_is_a_program(redis_port: int) -> None:
    """`python counter.py`: the same file, opened by its own main, closed at Ctrl-C."""
    if answers(8000):
        pytest.skip("port 8000 is taken")
    env = {**os.environ, "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0", "DATABASE_URL": ""}
    process = subprocess.Popen([sys.executable, str(EXAMPLE)], env=env, stderr=subprocess.PIPE)
    try:
        until(lambda: process.poll() is not None or answers(8000), "the program to answer")
        if process.poll() is not None:
            _, said = process.communicate()
            assert b"Address already in use" in said, said.decode()
            pytest.skip("port 8000 was taken meanwhile")
        assert get(("127.0.0.1", 8000), "/?name=Ada").json["visits"] == 1
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert b"closing" not in said and b"not closed" not in said
