"""A program that listens by itself is served unmodified, in each worker; or it is said why not."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from process.clients import Http, address_of
from process.support import APPS, PATIENCE, gone, until

from leeward.testing import Service, serve

#: What each form does: (workers, mode).
FORMS = {
    "listen": (1, "zygote"),
    "listen_start": (2, "zygote"),
    "bind_start": (2, "zygote"),
    "fork_processes": (2, "zygote"),
    "asyncio_run": (1, "zygote"),
    "run_sync": (1, "spawn"),
    "run_until_complete": (1, "spawn"),
    "listen_then_asyncio_run": (1, "zygote"),
    "subclass": (1, "zygote"),
}


def adopt(form: str, *flags: str, **more: Any) -> Any:
    more = {"cwd": APPS, "bind": None, **more}
    return serve("adopted.py", "--kind", "script", *flags, args=(form, "--port=0"), **more)


def get(service: Service, *headers: str) -> Any:
    with Http(address_of(service)) as client:
        return client.get("/", *headers).json


def refused(form: str, *flags: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and words of a `serve` that does not come to serve."""
    done = subprocess.run(
        [
            *[sys.executable, "-m", "leeward", "serve", "adopted.py", "--kind", "script"],
            *[*flags, "--name", f"refused-{os.getpid()}", "--", form, "--port=0"],
        ],
        cwd=APPS,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stderr


# --- forms ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_served(form: str) -> None:
    """Each way to listen serves, with the program's own number of processes, as ``__main__``."""
    workers, mode = FORMS[form]
    with adopt(form) as service:
        service.wait_ready(workers)
        ps = service.ps()
        assert (ps["kind"], ps["mode"]) == ("Tornado program", mode), service.log
        assert ps["workers_wanted"] == workers
        answer = get(service)
        assert answer["pid"] in {it["pid"] for it in ps["workers"]}
        assert answer["task_id"] in range(workers)
        assert answer["name"] == "__main__"
        assert answer["argv"] == ["adopted.py", form, "--port=0"]
        assert service.stop() == 0


@pytest.mark.parametrize("form", ["listen_start", "fork_processes", "asyncio_run"])
def test_every_form_is_served_in_spawn_mode(form: str) -> None:
    """Where each worker runs the program for itself, all is as it is after a fork."""
    with adopt(form, "--start", "spawn", "-w", "2") as service:
        service.wait_ready(2)
        assert service.ps()["mode"] == "spawn"
        assert get(service)["task_id"] in (0, 1)
        assert service.stop() == 0
        assert "Traceback" not in service.log


def test_flags_replace_what_the_program_says() -> None:
    """--bind takes the place of its address and -w that of its number; nothing is rehearsed."""
    with adopt("listen_start", "-w", "3", bind="127.0.0.1:0") as service:
        service.wait_ready(3)
        assert service.ps()["workers_wanted"] == 3
        assert get(service)["task_id"] in range(3)


def test_processes_for_each_core(tmp_path: Path) -> None:
    """start(0) asks for a process on each core, as `-w auto` does."""
    with adopt("bind_start_cores", "-w", "auto") as auto:
        auto.wait_ready()
        wanted = auto.ps()["workers_wanted"]
    with adopt("bind_start_cores") as service:
        service.wait_ready()
        assert service.ps()["workers_wanted"] == wanted


def test_the_programs_own_arguments_are_honoured() -> None:
    """xheaders and max_body_size of its HTTPServer are in force."""
    with adopt("bind_start") as service:
        service.wait_ready(2)
        answer = get(service, "X-Real-Ip: 203.0.113.9", "X-Scheme: https")
        assert (answer["ip"], answer["protocol"]) == ("203.0.113.9", "https")
        with Http(address_of(service)) as client:
            client.sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
            assert client.sock.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_program_with_tls(tmp_path: Path) -> None:
    """ssl_options are honoured, and the address says https."""
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem"]
    name = ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", *key, *name],
        cwd=tmp_path,
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    with adopt("tls", env={"CERTIFICATES": str(tmp_path)}) as service:
        service.wait_ready(1)
        url = service.url
        assert url.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
        with opener.open(url, timeout=PATIENCE) as answer:
            assert json.load(answer)["protocol"] == "https"
        # A client that speaks no TLS is cut and disturbs nobody.
        host, port = url.removeprefix("https://").split(":")
        with Http((host, int(port))) as client:
            client.send("/")
            assert client.cut()
        with opener.open(url, timeout=PATIENCE) as answer:
            assert answer.status == 200
        assert until(lambda: service.workers()[0]["connections"] == 0, "closed connections")
        assert service.stop() == 0


def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    """Said at the start with its cause, where Tornado would fail each connection."""
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("no certificate")
    code, words = refused("tls", env={"CERTIFICATES": str(tmp_path)})
    assert code == 3, words
    assert "serving adopted.py failed: ssl.SSLError" in words


@pytest.mark.parametrize("start", ["uvloop.run(main())", "uvloop.install(); asyncio.run(main())"])
def test_a_program_on_uvloop(tmp_path: Path, start: str) -> None:
    """The program's own loop is uvloop's, and ends like the others."""
    pytest.importorskip("uvloop")
    (tmp_path / "fast.py").write_text(
        "import asyncio, uvloop, warnings\nfrom tornado import web\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "class Loop(web.RequestHandler):\n"
        "    def get(self): self.write({'loop': type(asyncio.get_running_loop()).__module__})\n"
        "async def main():\n"
        "    web.Application([('/', Loop)]).listen(0, '127.0.0.1')\n"
        f"    await asyncio.Event().wait()\n{start}\n"
    )
    with serve("fast.py", cwd=tmp_path, bind=None) as service:
        service.wait_ready(1)
        assert get(service)["loop"].startswith("uvloop")
        assert service.stop() == 0
        assert "Traceback" not in service.log


def test_one_server_at_two_addresses() -> None:
    """Two ports of one server are both bound, and both served."""
    with adopt("two_ports") as service:
        service.wait_ready(1)
        found = service.ps()["listeners"]
        hosts = [re.fullmatch(r"http://([\d.]+):(\d+)", url) for url in found]
        assert [it[1] for it in hosts if it] == ["127.0.0.1", "127.0.0.2"]
        for it in hosts:
            assert it is not None
            with Http((it[1], int(it[2]))) as client:
                assert client.get("/").status == 200


# --- its life ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_a_reload_runs_the_program_anew(mode: str) -> None:
    """A reload keeps the port and the number, takes the new text, and fails no request."""
    with adopt("listen_start", "--start", mode) as service:
        service.wait_ready(2)
        before = get(service)["pid"]
        done = service.leeward("reload")
        assert done.returncode == 0, done.stderr
        ps = service.ps()
        assert (ps["workers_wanted"], ps["generation"]) == (2, 2)
        assert get(service)["pid"] != before
        assert service.stop() == 0


def test_all_interfaces_are_kept_over_a_reload() -> None:
    """listen(port) means each interface of both families, as in Tornado, at every generation."""
    with adopt("debug_in_asyncio_run") as service:
        service.wait_ready(1)
        assert len(service.ps()["listeners"]) == 2
        done = service.leeward("reload")
        assert done.returncode == 0, done.stderr
        assert get(service)["name"] == "__main__"


def test_a_release_that_wants_another_port_is_refused(tmp_path: Path) -> None:
    """An instance keeps its address: new code with another one is told so, the old serves."""
    text = (APPS / "adopted.py").read_text()
    (tmp_path / "adopted.py").write_text(text)
    with adopt("listen", cwd=tmp_path) as service:
        service.wait_ready(1)
        (tmp_path / "adopted.py").write_text(text.replace('"127.0.0.1"', '"127.0.0.9"'))
        done = service.leeward("reload")
        assert done.returncode == 3
        assert re.search(r"adopted\.py:\d+: the program wants 127\.0\.0\.9:0", done.stderr)
        assert get(service)["name"] == "__main__"


def test_a_release_that_is_no_python(tmp_path: Path) -> None:
    """The caller gets its file and line, the old program serves on; put right, it is taken."""
    program = tmp_path / "adopted.py"
    text = (APPS / "adopted.py").read_text(encoding="utf-8")
    program.write_text(text, encoding="utf-8")
    with adopt("listen", cwd=tmp_path) as service:
        service.wait_ready(1)
        program.write_text(f"def broken(:\n{text}", encoding="utf-8")
        done = service.leeward("reload")
        assert done.returncode == 3, done
        assert re.search(r"adopted\.py:1\b", done.stderr) and "SyntaxError" in done.stderr, done
        assert "serves on" in done.stderr
        assert get(service)["pid"]
        program.write_text(text, encoding="utf-8")
        assert service.leeward("reload").returncode == 0


def test_the_program_ends_as_by_itself() -> None:
    """After the drain IOLoop.start() returns, and what stands behind it is done."""
    with adopt("listen_start") as service:
        service.wait_ready(2)
        assert service.stop() == 0
    done = adopted_output("listen_start")
    assert done.count("the program goes on") == 2


def test_asyncio_run_ends_as_by_ctrl_c() -> None:
    """The main task is cancelled and cleans up, and KeyboardInterrupt comes out of run()."""
    done = adopted_output("asyncio_run")
    assert "the program cleans up\nthe program goes on\n" in done
    assert "Traceback" not in done


def test_run_until_complete_ends_as_by_ctrl_c() -> None:
    done = adopted_output("run_until_complete")
    assert "the program goes on\nthe program cleans up\n" in done
    assert "Traceback" not in done


def adopted_output(form: str) -> str:
    """What the program printed on stdout in its workers, until it was stopped."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as output:
        service = subprocess.Popen(
            [
                *[sys.executable, "-m", "leeward", "serve", "adopted.py", "--kind", "script"],
                *["--name", f"output-{os.getpid()}", "--", form, "--port=0"],
            ],
            cwd=APPS,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writer)
        assert service.stderr is not None
        with service, service.stderr:
            try:
                for line in service.stderr:
                    if line.startswith("  next "):
                        break
                service.send_signal(signal.SIGTERM)
                service.stderr.read()
                assert service.wait(PATIENCE) == 0
            finally:
                service.kill()  # no harm to one that has ended
        return output.read()


@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_a_stop_waits_for_nothing(mode: str) -> None:
    """The port is free and no process is left when `stop` returns."""
    with adopt("fork_processes", "--start", mode) as service:
        service.wait_ready(2)
        pids = [it["pid"] for it in service.workers()]
        assert service.leeward("stop").returncode == 0
        assert all(gone(pid, 1.0) for pid in pids)


def test_a_killed_worker_is_replaced() -> None:
    """Crashes are what they are for an application."""
    with adopt("listen_start") as service:
        service.wait_ready(2)
        mark = service.mark()
        victim = service.workers()[0]
        os.kill(victim["pid"], signal.SIGKILL)
        service.wait_line(rf"worker={victim['slot']} gen=1 pid=\d+ ready", after=mark)
        assert get(service)["task_id"] in (0, 1)


@pytest.mark.parametrize("how", ["http", "lines", "sockets", "bind"])
def test_a_port_that_is_opened_later_is_the_workers_own(how: str) -> None:
    """As by itself; who is connected meanwhile stays, and one line says what it is."""
    with adopt("opens_more") as service:
        before = get(service)["pid"]
        with Http(address_of(service)) as client:
            port = int(client.get(f"/more/{how}").body)
            assert ("127.0.0.1", port) != address_of(service)
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as other:
                if how == "http":
                    other.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert other.recv(100).startswith(b"HTTP/1.1 200" if how == "http" else b"a line")
            client.sock.sendall(b"POST /more/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            assert client.answer().status == 200
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), PATIENCE)
        assert get(service)["pid"] == before, "its own server accepts on"
        service.wait_line("is its worker's own, and ends with it")
        said = [line for line in service.lines if "is its worker's own, and ends with it" in line]
        assert len(said) == 1 and re.search(r"adopted\.py:\d+: ", said[0])
        assert service.stop() == 0


def test_the_port_that_is_held_cannot_be_had_by_another_server() -> None:
    """As by itself: it raises in the program, and the worker serves on."""
    with adopt("opens_more") as service:
        before = get(service)["pid"]
        with Http(address_of(service)) as client:
            assert client.get(f"/more/held?port={address_of(service)[1]}").status == 500
        assert get(service)["pid"] == before
        service.wait_line("Address already in use")


def test_another_server_behind_a_wait() -> None:
    with adopt("opens_another_behind_a_wait") as service:
        assert get(service)["name"] == "__main__"
        service.wait_line("is its worker's own, and ends with it")
        assert service.stop() == 0


# --- bad days ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["debug", "debug_in_asyncio_run"])
@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_autoreload_is_off(mode: str, form: str) -> None:
    """debug=True neither executes a worker anew nor keeps the zygote away; one line says so."""
    with adopt(form, "--start", mode, "-w", "2") as service:
        service.wait_ready(2)
        assert service.ps()["mode_why"] in ("safe to fork", "--start asks for it")
        said = [line for line in service.lines if "autoreload" in line]
        assert len(said) == 1, service.log


def test_two_servers_are_listed() -> None:
    """A program with two servers is refused with the list of them, exit code 2."""
    code, words = refused("two_servers")
    assert code == 2, words
    assert "2 servers" in words
    assert re.search(r"HTTPServer at 127\.0\.0\.1:8888 \(adopted\.py:\d+\)", words)
    assert re.search(r"HTTPServer at :8889 \(adopted\.py:\d+\)", words)


def test_two_servers_are_found_out_without_a_rehearsal() -> None:
    """With its address and number given, it is the first worker that finds them."""
    code, words = refused("two_servers", "--bind", "127.0.0.1:0", "-w", "1")
    assert code == 3, words
    assert "HTTPServer at :8889" in words


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("ends", r"adopted\.py ended and has not listened \(exit code 0\)"),
        ("ends", r"imported is \S*adopted\.py:ATTR, or has --kind tornado"),
        ("listens_and_ends", r"adopted\.py ended before it served \(exit code 0\)"),
        ("listens_and_raises", r"running adopted\.py failed: KeyboardInterrupt"),
        ("returns_at_once", r"has to wait: await asyncio\.Event\(\)\.wait\(\)"),
        ("calls_sys_exit", r"adopted\.py called sys\.exit\('no configuration was given'\)"),
        ("raises", r"running adopted\.py failed: KeyError: 'database'"),
        ("in_a_thread", r"adopted\.py calls \S+ in the thread 'server'"),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--bind", "127.0.0.1:0", "-w", "1")], ids=["", "flags"])
def test_a_program_that_does_not_serve(form: str, words: str, flags: tuple[str, ...]) -> None:
    """It says why in the program's own lines and ends with exit code 3, rehearsed or not."""
    code, said = refused(form, *flags)
    assert code == 3, said
    assert re.search(words, said), said
    assert "Traceback" not in said


def test_what_a_program_printed_before_it_ended_is_shown() -> None:
    """Its own last words are the best explanation."""
    assert "nothing to do today" in refused("ends")[1]


@pytest.mark.parametrize("flags", [(), ("--bind", "127.0.0.1:0", "-w", "1")], ids=["", "flags"])
def test_a_program_that_never_listens(flags: tuple[str, ...]) -> None:
    """The start time-out ends it, and it is said what was waited for."""
    code, said = refused("never_listens", "--start-timeout", "3s", *flags)
    assert code == 3, said
    assert re.search(r"has not listened within 3 s|not ready within 3 s", said), said


def test_a_socket_of_its_own() -> None:
    """A socket that the program opened itself cannot be kept: said with its line."""
    code, words = refused("own_socket")
    assert code == 2, words
    assert re.search(r"adopted\.py:\d+: add_sockets\(\) of a socket", words)


@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_a_program_that_forks_by_itself(mode: str) -> None:
    """Its children are told that leeward makes the processes, and end; the program serves."""
    with adopt("forks_by_itself", "--start", mode, "-w", "1") as service:
        service.wait_ready(1)
        service.wait_line(r"listen\(\) in a process that the program forked itself")
        workers = service.workers()
        assert len(workers) == 1
        assert get(service)["pid"] == workers[0]["pid"]
        assert service.stop() == 0


@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_its_own_signal_handlers_are_kept(mode: str) -> None:
    """A handler of SIGTERM stays the program's; a drain by the channel needs none."""
    with adopt("handles_signals", "--start", mode) as service:
        service.wait_ready(1)
        mark = service.mark()
        (worker,) = service.workers()
        os.kill(worker["pid"], signal.SIGTERM)
        service.wait_line("the program stopped its event loop and ended", after=mark)
        service.wait_line(r"worker=0 gen=1 pid=\d+ ready", after=mark)
        assert get(service)["pid"] != worker["pid"]
        assert service.log.count("the program got 15") == 1
        assert "Traceback" not in service.log
        assert service.stop() == 0


@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_a_loop_that_starts_twice(mode: str) -> None:
    """The program may stop and start its loop; after the drain it does not start again."""
    with adopt("starts_twice", "--start", mode) as service:
        service.wait_ready(1)
        assert get(service)["name"] == "__main__"
        assert service.stop() == 0
        assert "and again" not in service.log


def test_a_program_that_stops_its_loop() -> None:
    """Its worker ends in order and is replaced."""
    with adopt("stops_its_loop") as service:
        service.wait_ready(1)
        mark = service.mark()
        with Http(address_of(service)) as client:
            assert client.get("/stop").status == 200
        service.wait_line("the program stopped its event loop and ended", after=mark)
        service.wait_line(r"worker=0 gen=1 pid=\d+ ready", after=mark)
        assert get(service)["name"] == "__main__"


def test_a_program_that_exits_while_it_serves() -> None:
    """sys.exit in a callback ends its worker with that status, and it is replaced."""
    with adopt("exits_while_it_serves") as service:
        service.wait_ready(1)
        mark = service.mark()
        with Http(address_of(service)) as client:
            client.send("/exit")
            service.wait_line(r"called sys\.exit: status 7", after=mark)
        service.wait_line(r"worker=0 gen=1 pid=\d+ ready", after=mark)
        assert get(service)["name"] == "__main__"


# --- which files are programs -------------------------------------------------------------


def test_auto_tells_a_program_from_an_application(tmp_path: Path) -> None:
    """A file without an application that listens is run; the banner says so."""
    (tmp_path / "wild.py").write_text(
        "import sys\nfrom tornado import web, ioloop\n"
        "if __name__ == '__main__':\n"
        "    web.Application([('/', web.RedirectHandler, {'url': '/x'})]).listen(0, '127.0.0.1')\n"
        "    ioloop.IOLoop.current().start()\n"
    )
    with serve("wild.py", cwd=tmp_path, bind=None) as service:
        service.wait_ready(1)
        service.wait_line(r"found +Tornado program: wild\.py")


def test_auto_tells_a_program_whose_serving_stands_in_its_package(tmp_path: Path) -> None:
    """As of a library's launcher, which looks at the socket that it was given."""
    (tmp_path / "launcher.py").write_text(
        "from adopted import IOLoop, HTTPServer, application\n"
        "from tornado import netutil\n"
        "def launch(port):\n"
        "    sockets = netutil.bind_sockets(port, '127.0.0.1')\n"
        "    for each in sockets:\n"
        "        assert each.getsockname()[0] == '127.0.0.1', each.getsockname()\n"
        "    HTTPServer(application()).add_sockets(sockets)\n"
        "    IOLoop.current().start()\n"
    )
    (tmp_path / "run.py").write_text(
        "import sys\nfrom launcher import launch\nsys.exit(launch(int(sys.argv[1])))\n"
    )
    more: Any = {"cwd": tmp_path, "bind": None, "env": {"PYTHONPATH": str(APPS)}}
    with serve("run.py", "-w", "2", args=("0",), **more) as service:
        service.wait_ready(2)
        assert get(service)["argv"] == ["run.py", "0"]
        service.wait_line(r"found +Tornado program: run\.py")


@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_a_package_is_run_as_by_python_m(tmp_path: Path, mode: str) -> None:
    """Its `__main__.py` imports from beside it, from its package and from the directory."""
    package = tmp_path / "shop" / "till"
    package.mkdir(parents=True)
    (tmp_path / "beside.py").write_text("PORT = 0\n")
    (tmp_path / "shop" / "__init__.py").write_text("SIGN = 'open'\n")
    (package / "__init__.py").write_text("")
    (package / "server.py").write_text(
        "from tornado import ioloop, web\n"
        "class Says(web.RequestHandler):\n"
        "    def initialize(self, what): self.what = what\n"
        "    def get(self): self.write(self.what)\n"
        "def run(port, **what):\n"
        "    web.Application([('/', Says, {'what': what})]).listen(port, '127.0.0.1')\n"
        "    ioloop.IOLoop.current().start()\n"
    )
    (package / "__main__.py").write_text(
        "import beside, sys\nfrom .. import SIGN\nfrom . import server\n"
        "server.run(beside.PORT, sign=SIGN,"
        " package=__package__, spec=__spec__.name, name=__name__)\n"
    )
    with serve("shop/till/__main__.py", "--start", mode, cwd=tmp_path, bind=None) as service:
        service.wait_ready(1)
        assert get(service) == {
            "sign": "open",
            "package": "shop.till",
            "spec": "shop.till.__main__",
            "name": "__main__",
        }
        service.wait_line(r"found +Tornado program: shop/till/__main__\.py")


def test_a_program_that_compares_its_port_is_served_at_another(tmp_path: Path) -> None:
    """Bokeh's server does: it is shown the port that it asked for."""
    (tmp_path / "compares.py").write_text(
        "from adopted import IOLoop, HTTPServer, application\n"
        "from tornado import netutil\n"
        "sockets = netutil.bind_sockets(5006, '127.0.0.1')\n"
        "assert {each.getsockname()[1] for each in sockets} == {5006}\n"
        "HTTPServer(application()).add_sockets(sockets)\n"
        "IOLoop.current().start()\n"
    )
    more: Any = {"cwd": tmp_path, "env": {"PYTHONPATH": str(APPS)}}
    with serve("compares.py", **more) as service:
        service.wait_ready(1)
        assert get(service)["name"] == "adopted"
    with serve("compares.py", bind=f"unix:{tmp_path}/s", **more) as service:
        service.wait_ready(1)


def test_auto_prefers_an_application(tmp_path: Path) -> None:
    """A file with both is imported, and a note says how to have it run."""
    (tmp_path / "both.py").write_text(
        "from tornado import web, ioloop\n"
        "def make_app(): return web.Application([])\n"
        "if __name__ == '__main__':\n"
        "    make_app().listen(8888)\n    ioloop.IOLoop.current().start()\n"
    )
    with serve("both.py", cwd=tmp_path) as service:
        service.wait_ready(1)
        service.wait_line(r"note +make_app is served; --kind script runs both\.py")


def test_check_tells_of_a_program() -> None:
    """`leeward check` rehearses it: what it wants, and whether it can be forked."""
    done = subprocess.run(
        [
            *[sys.executable, "-m", "leeward", "check", "adopted.py", "--kind", "script"],
            *["--", "listen_start", "--port=0"],
        ],
        cwd=APPS,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "found      Tornado program: adopted.py" in done.stdout + done.stderr
    assert "mode       zygote" in done.stdout + done.stderr
