"""What was made at import goes wrong under `fork_processes`, and is found and right here.

Each module of tests/apps/forked is run by three processes that Tornado forks, and its
fault shows; then all of them by leeward: found, each with its code and its line, isolated
or repaired, and nothing crossed, hung or lost.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import socketserver
import sqlite3
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from certificates import OPENSSL, Authority
from process.clients import address_of, get
from process.support import APPS, free_port

import leeward
from leeward.testing import Service, serve

FORKED = APPS / "forked"
REDIS = shutil.which("redis-server") or ""
#: Module: what it shows when it is forked; those that have the verdict "repaired" are last.
ISOLATED = {
    "redis_raw": "crossed|lost",
    "redis_client": "crossed|lost",
    "tls_client": "crossed|lost",
    "database": "",  # has a test of its own
    "executor": "hung",
    "ticker": "lost",
    "listener": "lost",
    "lock": "hung",
}
REPAIRED = ("dice", "numpy_dice", "report")
PROCESSES = 3
LEEWARD = (sys.executable, "-m", "leeward")


def missing(name: str) -> str:
    """Why this module cannot be run here, or ""."""
    if name.startswith("redis") and not REDIS:
        return "no redis-server here: apt-get install redis-server"
    if name == "tls_client" and not OPENSSL:
        return "makes certificates by the openssl command"
    needed = {"redis_client": "redis", "numpy_dice": "numpy"}.get(name, "json")
    return "" if importlib.util.find_spec(needed) else f"{needed} is not installed"


def usable(names: object) -> list[str]:
    return [name for name in (*names,) if not missing(name)]  # type: ignore[misc]


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):  # a client whose records are mixed up
            for line in self.rfile:
                self.wfile.write(line)


class TlsEcho(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.context = context

    def get_request(self) -> tuple[socket.socket, object]:
        client, address = super().get_request()
        return self.context.wrap_socket(client, server_side=True), address

    def handle_error(self, request: object, client_address: object) -> None:
        """Broken records are what is shown."""


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The peers: a real Redis, a TLS server.  What the modules find them by."""
    place = tmp_path_factory.mktemp("forked")
    found = {name: str(place / name.lower()) for name in ("DATABASE", "LISTENED", "REPORT")}
    with contextlib.ExitStack() as undo:
        if REDIS:
            port = free_port()
            command = [REDIS, "--port", str(port), "--save", "", "--dir", str(place)]
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            undo.callback(server.communicate)
            undo.callback(server.terminate)
            assert server.stdout
            assert any("eady to accept" in line for line in server.stdout)
            found["REDIS_PORT"] = str(port)
        if OPENSSL:
            authority = Authority(place / "ca")
            authority.make(place / "cert.pem", place / "key.pem")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(place / "cert.pem", place / "key.pem")
            echo = TlsEcho(context)
            undo.callback(echo.server_close)
            undo.callback(echo.shutdown)
            threading.Thread(target=echo.serve_forever, daemon=True).start()
            found |= {"TLS_PORT": str(echo.server_address[1]), "TLS_CA": str(authority.certificate)}
        yield found


def emptied(environ: dict[str, str]) -> dict[str, str]:
    """The files that the modules write, as before the first of them."""
    for name in ("DATABASE", "LISTENED", "REPORT"):
        Path(environ[name]).unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(environ["DATABASE"])) as database:
        database.execute("CREATE TABLE starts (who TEXT)")
        database.commit()
    return {**os.environ, **environ, "PYTHONPATH": str(Path(leeward.__file__).parent.parent)}


def starts(environ: dict[str, str]) -> int:
    with contextlib.closing(sqlite3.connect(environ["DATABASE"])) as database:
        return int(database.execute("SELECT count(*) FROM starts").fetchone()[0])


# --- bare -----------------------------------------------------------------------------------


def bare(name: str, environ: dict[str, str]) -> list[str]:
    """What each of the processes has answered, a line each."""
    if why := missing(name):
        pytest.skip(why)
    done = subprocess.run(
        [sys.executable, str(FORKED / "bare.py"), name, str(PROCESSES), "300"],
        env={**emptied(environ), "PATIENCE": "0.5"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=50,
        check=False,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", [name for name in ISOLATED if name != "database"])
def test_the_fault_shows_when_it_is_forked(name: str, environ: dict[str, str]) -> None:
    """Replies cross, locks are never free, records are lost."""
    assert re.search(ISOLATED[name], " ".join(bare(name, environ)))


def test_a_forked_database_loses_what_is_written(environ: dict[str, str]) -> None:
    """Each process takes its parent's lock for its own: nobody can write."""
    told = bare("database", environ)
    assert len(told) < PROCESSES
    assert starts(environ) < 1 + PROCESSES


@pytest.mark.parametrize("name", ["dice", "numpy_dice"])
def test_forked_dice_fall_alike(name: str, environ: dict[str, str]) -> None:
    """All processes draw the same numbers."""
    drawn = bare(name, environ)
    assert len(drawn) == PROCESSES and len(set(drawn)) == 1


def test_a_forked_buffer_is_written_by_each(environ: dict[str, str]) -> None:
    """Its one line stands there once for each process, and once for their parent."""
    bare("report", environ)
    assert Path(environ["REPORT"]).read_text().count("the head\n") == PROCESSES + 1


# --- under leeward --------------------------------------------------------------------------


@contextlib.contextmanager
def served(names: list[str], environ: dict[str, str], *flags: str) -> Iterator[Service]:
    env = {**emptied(environ), "FORKED": " ".join(names)}
    with serve("served:make_app", "-w", "2", *flags, cwd=FORKED, env=env) as service:
        yield service.wait_ready(2)


def marked(name: str) -> tuple[str, str]:
    """The code that a module is marked with, and the line."""
    for number, line in enumerate((FORKED / f"{name}.py").read_text().splitlines(), 1):
        if mark := re.search(r"# (LW\d+)", line):
            return mark[1], f"{name}.py:{number}"
    raise AssertionError(f"{name}.py has no mark")


def answers(service: Service, name: str, calls: int = 24) -> list[str]:
    """Of calls that come four at a time, until both workers have answered some."""
    address = address_of(service)

    def ask(number: int) -> tuple[str, int]:
        found = get(address, f"/{name}/{number}").json
        return found["answer"], found["pid"]

    found: list[tuple[str, int]] = []
    with ThreadPoolExecutor(4) as clients:
        # Brief connections are for whoever wakes first: on a busy machine one may have them all.
        while len({pid for _, pid in found}) < 2 and len(found) < 50 * calls:
            found += clients.map(ask, range(len(found), len(found) + calls))
    assert len({pid for _, pid in found}) == 2, found
    return [answer for answer, _ in found]


def told(service: Service, names: list[str]) -> None:
    """`ps` has each hazard with its code and line, and the log its two lines."""
    hazards = service.ps()["hazards"]
    for name in names:
        code, where = marked(name)
        assert [it for it in hazards if (it["code"], it["where"]) == (code, where)], hazards
        service.wait_line(rf"zygote {code} .*{re.escape(where)}")


def test_leeward_isolates_what_a_fork_would_break(environ: dict[str, str]) -> None:
    """All of them in one program: spawned, each told with its line, 0 crossed, hung or lost."""
    names = usable(ISOLATED)
    with served(names, environ) as service:
        assert service.ps()["mode"] == "spawn"
        told(service, names)
        for name in names:
            assert set(answers(service, name)) == {"right"}, name
        assert starts(environ) == 4  # an import and a start in each worker


def test_leeward_repairs_what_can_be_repaired(environ: dict[str, str]) -> None:
    """Forked all the same: other numbers in each worker, the buffer written once."""
    names = usable(REPAIRED)
    with served(names, environ) as service:
        assert service.ps()["mode"] == "zygote"
        told(service, names)
        for name in names:
            found = answers(service, name)
            assert set(found) == {"right"} if name == "report" else len(set(found)) == len(found)
        assert Path(environ["REPORT"]).read_text().count("the head\n") == 1


def test_under_spawn_there_is_no_hazard(environ: dict[str, str]) -> None:
    """`check --start spawn` of the same program names none."""
    names = usable([*ISOLATED, *REPAIRED])
    done = subprocess.run(
        [*LEEWARD, "check", "served:make_app", "--start", "spawn", "--bind", "127.0.0.1:0"],
        cwd=FORKED,
        env={**emptied(environ), "FORKED": " ".join(names)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "mode       spawn (as --start says)" in done.stdout
    assert "LW1" not in done.stdout
