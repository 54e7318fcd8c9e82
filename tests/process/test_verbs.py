"""Every verb does what it says, says what it did, and nobody at the control socket disturbs."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import NoneType

import pytest
from process.clients import Gate, Http, address_of, get
from process.support import APPS, gone, links, until

from leeward._core.messages import Answer, Message, PsRequest, ReloadRequest, StopRequest
from leeward._sys.channel import Channel, ChannelFull
from leeward._sys.procfs import fd_count
from leeward.errors import ChannelClosed
from leeward.testing import Service, serve


def leeward(
    *args: str, cwd: Path = APPS, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leeward", *args],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


# --- ps ---------------------------------------------------------------------------------

SNAPSHOT = {
    "name": str,
    "pid": int,
    "version": str,
    "target": str,
    "kind": str,
    "found": str,
    "mode": str,
    "mode_why": str,
    "listeners": list,
    "uid": int,
    "control": str,
    "workers_wanted": int,
    "generation": int,
    "state": str,
    "uptime": float,
    "backoff": dict | None,
    "mixed": list,
    "previous": dict | None,
    "went_back": dict | None,
    "hazards": list,
    "zygotes": list,
    "workers": list,
    "ends": list,
    "pss_bytes": int,
    "cpu_seconds": float,
    "fds": int,
    "fd_limit": int,
}
WORKER = {
    "worker": int,
    "slot": int,
    "generation": int,
    "pid": int,
    "state": str,
    "aside_left": NoneType,
    "uptime": float,
    "connections": int,
    "accepted": int,
    "requests": int,
    "full": bool,
    "evicted": int,
    "shed": int,
    "refused": int,
    "ping_failures": dict,
    "orphans": dict,
    "in_flight": int,
    "ailing": dict,
    "new": int,
    "idle": int,
    "upgraded": int,
    "closing": int,
    "pss_bytes": int,
    "cpu_seconds": float,
    "fds": int,
    "fd_limit": int,
}
#: Of any process; told of once.
PROCESS = {"pss_bytes", "cpu_seconds", "fds", "fd_limit"}
END = {"slot": int, "generation": int, "pid": int, "why": str, "ago": float, "count": int}


def assert_fields(found: dict[str, object], wanted: dict[str, object]) -> None:
    assert found.keys() == wanted.keys()
    for key, kind in wanted.items():
        assert isinstance(found[key], kind), (key, found[key])  # type: ignore[arg-type]


def test_ps_json_has_every_field() -> None:
    """What programs read: each field is there, of its type, and true."""
    with serve("held", "-w", "2", cwd=APPS) as service:
        address = address_of(service.wait_ready(2))
        with Gate() as gate, Http(address) as busy:
            held = gate.hold(busy)
            found = service.ps()
            assert_fields(found, SNAPSHOT)
            for worker in found["workers"]:
                assert_fields(worker, WORKER)
            assert [worker["slot"] for worker in found["workers"]] == [0, 1]
            [active] = [worker for worker in found["workers"] if worker["in_flight"]]
            assert active["pid"] == held.pid
            assert (active["in_flight"], active["connections"]) == (1, 1)
            assert found["pid"] == service.pid
            assert (found["state"], found["generation"], found["mode"]) == ("serving", 1, "zygote")
            [zygote] = found["zygotes"]
            assert zygote["state"] == "serving"
            held.release()
        killed = found["workers"][0]["pid"]
        os.kill(killed, signal.SIGKILL)
        service.wait_line(r"worker=0 .* died: killed by SIGKILL")
        [end] = service.ps()["ends"]
        assert_fields(end, END)
        assert (end["slot"], end["pid"], end["count"]) == (0, killed, 1)
        assert "SIGKILL" in end["why"]


def test_the_reference_has_every_field() -> None:
    """Of an instance, of a worker, and of an end: each in its own table, and no other."""
    page = (Path(__file__).parents[2] / "docs/reference/ps.md").read_text()
    for heading, wanted in (
        ("Of an instance", SNAPSHOT),
        ("Of a worker", WORKER.keys() - PROCESS),
        ("Of a slot's last end", END),
    ):
        (table,) = re.findall(rf"(?ms)^## {heading}$(.*?)(?=^## |\Z)", page)
        cells = re.findall(r"(?m)^\| (`[^|]*) \|", table)
        assert set(re.findall(r"`(\w+)`", " ".join(cells))) == set(wanted)


def test_ps_tells_people_the_same() -> None:
    """A table with slot, generation, pid, state, and why a worker ended."""
    with serve("held", "-w", "2", cwd=APPS) as service:
        service.wait_ready(2)
        one, two = service.workers()
        os.kill(two["pid"], signal.SIGKILL)
        service.wait_line(r"worker=1 gen=1 pid=\d+ died")
        service.wait_line(rf"worker=1 gen=1 pid=(?!{two['pid']})\d+ ready")
        shown = service.leeward("ps").stdout
        for words in (service.name, "serving", "2 of 2 workers", "zygote", "held", service.url):
            assert words in shown, f"{words!r} is not in\n{shown}"
        assert re.search(rf"(?m)^ +0 .*\b{one['pid']}\b.*serving", shown)
        assert re.search(rf"slot 1: killed by SIGKILL.*once.*pid {two['pid']}", shown)


def test_ps_while_it_boots(tmp_path: Path) -> None:
    """An import that takes its time is seen as such."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    env = {"GATE_OF_IMPORT": str(gate)}
    with serve("waits_at_a_gate", cwd=APPS, env=env) as service:
        with open(gate, "w"):
            found = service.ps()
            assert found["state"] == "booting"
            assert found["workers"] == []
            assert [it["state"] for it in found["zygotes"]] == ["starting"]
            assert "booting" in service.leeward("ps").stdout
        service.wait_ready()
        assert service.ps()["state"] == "serving"


def test_ps_while_it_rolls(tmp_path: Path) -> None:
    """During a reload: rolling, and the generation that still serves."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    release = tmp_path / "release.py"
    release.write_text((APPS / "hello.py").read_text())
    with serve("release", cwd=tmp_path) as service:
        service.wait_ready()
        release.write_text(f"open({str(gate)!r}).read()\n" + (APPS / "hello.py").read_text())
        service.signal(signal.SIGHUP)
        with open(gate, "w"):
            found = service.ps()
            assert (found["state"], found["generation"]) == ("rolling", 1)
            assert [it["generation"] for it in found["zygotes"]] == [1, 2]
            assert "rolling" in service.leeward("ps").stdout
        service.wait_line("generation 2 serves")
        assert service.ps()["state"] == "serving"


def test_ps_while_it_backs_off(tmp_path: Path) -> None:
    """Workers that die at once: backing off, until when and why, and how often."""
    with breaking(tmp_path) as service:
        service.wait_ready()
        (tmp_path / "broken").touch()
        os.kill(service.workers()[0]["pid"], signal.SIGKILL)
        # The fifth pause lasts 1.6 s: time enough to look, and a late one sees the next.
        service.wait_line(r"\(5 in a row\)")
        found = service.ps()
        assert found["state"] == "backing off"
        assert 0 < found["backoff"]["until"] <= 30
        assert "exited with code 9" in found["backoff"]["why"]
        shown = service.leeward("ps").stdout
        assert re.search("backing off for .*exited with code 9", shown), shown
        assert "no worker is alive" in shown
        mark = service.mark()
        (tmp_path / "broken").unlink()
        service.wait_line(r"pid=\d+ ready", after=mark)
        assert service.ps()["state"] == "serving"


def breaking(directory: Path) -> contextlib.AbstractContextManager[Service]:
    """An application whose workers die at birth while there is a file `broken`."""
    (directory / "breaking.py").write_text(
        "import os, tornado.web\n"
        "def make_app():\n"
        f"    if os.path.exists({str(directory / 'broken')!r}):\n"
        "        os._exit(9)\n"
        "    return tornado.web.Application()\n"
    )
    return serve("breaking:make_app", cwd=directory)


def test_verbs_of_a_stopped_supervisor_end() -> None:
    """SIGSTOP: the asker is told so, within seconds, with what to type; CONT mends it.

    Those that wait for something, too.
    """
    with serve("hello", cwd=APPS) as service:
        service.wait_ready()
        service.signal(signal.SIGSTOP)
        try:
            begun = time.monotonic()
            waiting = [("reload",), ("reload", "--no-wait"), ("recycle",), ("rollback",)]
            with ThreadPoolExecutor(len(waiting) + 1) as side_by_side:
                answers = list(
                    side_by_side.map(lambda it: service.leeward(*it), [("ps",), *waiting])
                )
            assert time.monotonic() - begun < 10
            for asked in answers:
                assert asked.returncode == 1
                assert "did not answer within 5 s: its process is stopped (SIGSTOP)" in asked.stderr
                assert f"kill -CONT {service.pid}" in asked.stderr
            assert get(address_of(service)).status == 200  # nobody else is disturbed
        finally:
            service.signal(signal.SIGCONT)
        assert service.ps()["pid"] == service.pid


# --- which instance ---------------------------------------------------------------------


@pytest.mark.parametrize("verb", [("ps",), ("reload",), ("stop",), ("scale", "2")])
def test_no_such_instance_is_exit_code_6(verb: tuple[str, ...]) -> None:
    """A name that nobody has: 6, and what to type."""
    done = leeward(*verb, "nobody-is-called-so")
    assert done.returncode == 6
    assert "nobody-is-called-so" in done.stderr
    assert len(done.stderr.splitlines()) <= 8


def test_of_several_instances_one_must_be_named() -> None:
    """No verb guesses; `ps` shows them all."""
    with serve("hello", cwd=APPS) as one, serve("hello", cwd=APPS) as two:
        one.wait_ready(), two.wait_ready()
        runtime = {"XDG_RUNTIME_DIR": str(one.directory)}
        asked = leeward("reload", env=runtime)
        if os.getuid() == 0:  # who sees the instances of all directories
            assert asked.returncode == 2
            assert one.name in asked.stderr and two.name in asked.stderr
        shown = json.loads(leeward("ps", "--json", env=runtime).stdout)
        assert {one.name, two.name} <= {each["name"] for each in shown}
        assert leeward("reload", two.name, env=runtime).returncode == 0
        assert [it.ps()["generation"] for it in (one, two)] == [1, 2]


def test_a_name_is_had_once() -> None:
    """The second start of a name is refused with exit code 2, and disturbs nothing."""
    with serve("hello", cwd=APPS) as first:
        first.wait_ready()
        runtime = {"XDG_RUNTIME_DIR": str(first.directory)}
        again = leeward("serve", "hello", "--name", first.name, "-b", "127.0.0.1:0", env=runtime)
        assert again.returncode == 2
        assert "already running" in again.stderr and str(first.pid) in again.stderr
        assert first.ps()["state"] == "serving"


# --- reload, scale, stop ----------------------------------------------------------------


def test_reload_answers_with_exit_codes(tmp_path: Path) -> None:
    """0 when the new code serves, 3 with its traceback, 2 for what needs a restart."""
    release = tmp_path / "release.py"
    good = (APPS / "hello.py").read_text()
    release.write_text(good)
    settings = tmp_path / "leeward.toml"
    settings.write_text("backlog = 100\n")
    with serve("release", cwd=tmp_path) as service:
        service.wait_ready()
        done = service.leeward("reload")
        assert (done.returncode, done.stderr) == (0, "")
        assert "generation 2 serves" in done.stdout
        release.write_text(good + "\nraise RuntimeError('not today')\n")
        done = service.leeward("reload")
        assert done.returncode == 3
        assert "RuntimeError: not today" in done.stderr and "release.py" in done.stderr
        release.write_text(good)
        settings.write_text("backlog = 200\n")
        done = service.leeward("reload")
        assert done.returncode == 2
        assert "backlog" in done.stderr and "100 -> 200" in done.stderr
        settings.write_text("backlog = many\n")
        done = service.leeward("reload")
        assert done.returncode == 2
        assert "leeward.toml:1" in done.stderr
        settings.write_text("backlog = 100\n")
        mark = service.mark()
        assert service.leeward("reload", "--no-wait").returncode == 0
        service.wait_line(r"generation \d serves", after=mark)
        assert service.ps()["state"] == "serving"


def test_scale_by_verb_and_by_signal() -> None:
    """N, +1, -1, TTIN and TTOU; never below one."""
    with serve("hello", cwd=APPS) as service:
        service.wait_ready(1)

        def slots(count: int) -> None:
            until(lambda: len(service.workers()) == count, f"{count} workers")
            shown = service.ps()
            assert [worker["slot"] for worker in service.workers()] == list(range(count))
            assert shown["workers_wanted"] == count

        done = service.leeward("scale", "3")
        assert (done.returncode, done.stderr) == (0, "")
        assert "3 workers wanted, 1 before" in done.stdout
        slots(3)
        assert service.leeward("scale", "+1").returncode == 0
        slots(4)
        assert service.leeward("scale", "-1").returncode == 0
        slots(3)
        service.signal(signal.SIGTTIN)
        service.wait_line("scaled: 4 workers wanted")
        slots(4)
        service.signal(signal.SIGTTOU)
        slots(3)
        assert service.leeward("scale", "-100").returncode == 0
        slots(1)
        for nonsense in ("many", "1.5", "--3", ""):
            assert service.leeward("scale", nonsense).returncode == 2
        slots(1)


def test_scaling_down_finishes_what_is_in_flight() -> None:
    """The worker of the slot that goes answers first."""
    with serve("held", "-w", "2", cwd=APPS) as service:
        address = address_of(service.wait_ready(2))
        with Gate() as gate, contextlib.ExitStack() as stack:
            # Whoever has the first one is blocked, so the two are on both workers.
            first = stack.enter_context(Http(address))
            one = gate.hold(first, "blocked")
            second = stack.enter_context(Http(address))
            other = gate.hold(second)
            assert service.leeward("scale", "1").returncode == 0
            one.release()
            service.wait_line(r"worker=1 gen=1 pid=\d+ draining")
            other.release()
            assert first.answer().json["pid"] == one.pid
            answer = second.answer()
            assert answer.json["pid"] == other.pid
        service.wait_line(r"worker=1 gen=1 pid=\d+ gone$")


def test_a_scale_survives_a_reload() -> None:
    """What was scaled by hand stays until the settings say another number."""
    with serve("hello", cwd=APPS) as service:
        service.wait_ready(1)
        service.leeward("scale", "2")
        service.wait_line(r"worker=1 gen=1 pid=\d+ ready")
        assert service.leeward("reload").returncode == 0
        service.wait_line(r"worker=1 gen=2 pid=\d+ ready")
        assert len(service.workers()) == 2


# --- check, config, --version -----------------------------------------------------------


def test_check_of_what_would_serve() -> None:
    """What was found, in which mode and why, exit code 0, and nothing is left running."""
    done = leeward("check", "hello", "-b", "127.0.0.1:0")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("settings   ok", "addresses  127.0.0.1:", "app in hello", "mode       zygote"):
        assert words in done.stdout
    done = leeward("check", "has_a_thread:make_app", "-b", "127.0.0.1:0")
    assert done.returncode == 0
    assert "mode       spawn" in done.stdout and "thread 'metrics'" in done.stdout


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        ("raises_at_import", 3, "KeyError"),
        ("exits_at_import", 3, "exit code 7"),
        ("syntax_error", 3, "SyntaxError"),
        ("no_such_module", 3, "no_such_module"),
    ],
)
def test_check_of_what_would_not(target: str, code: int, words: str) -> None:
    """The same refusal and exit code as `serve`, in at most 8 lines of complaint."""
    done = leeward("check", target, "-b", "127.0.0.1:0")
    assert done.returncode == code, done
    assert words in done.stderr
    assert len(done.stderr.splitlines()) <= 8, done.stderr


def test_check_beside_the_running_instance() -> None:
    """`check && reload`: its own instance may hold the address; another's may not."""
    with serve("hello", cwd=APPS) as service:
        address = address_of(service.wait_ready())
        bind = f"{address[0]}:{address[1]}"
        runtime = {"XDG_RUNTIME_DIR": str(service.directory)}
        done = leeward("check", "hello", "--name", service.name, "-b", bind, env=runtime)
        assert done.returncode == 0, done
        assert "which is running" in done.stdout
        done = leeward("check", "hello", "--name", "other", "-b", bind, env=runtime)
        assert done.returncode == 4
        assert "in use" in done.stderr


def test_config_says_where_each_value_comes_from(tmp_path: Path) -> None:
    """Flag, variable, file with its line, default with its reason."""
    (tmp_path / "leeward.toml").write_text('\nworkers = 3\nlog-level = "debug"\n')
    done = leeward(
        "config",
        "--origin",
        "hello",
        "--backlog",
        "99",
        cwd=tmp_path,
        env={"LEEWARD_DRAIN_WINDOW": "3s", "LEEWARD_LOG_LEVEL": "error"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    origin = dict(re.findall(r"(?m)^(?:# )?([a-z-]+) (?:=|is).*?  # (.*)$", done.stdout))
    values = dict(re.findall(r"(?m)^([a-z-]+) = (.*?) *(?:#.*)?$", done.stdout))
    assert "--backlog" in origin["backlog"] and values["backlog"] == "99"
    assert "LEEWARD_DRAIN_WINDOW" in origin["drain-window"] and values["drain-window"] == '"3s"'
    assert "leeward.toml:2" in origin["workers"] and values["workers"] == "3"
    assert "LEEWARD_LOG_LEVEL" in origin["log-level"] and values["log-level"] == '"error"'
    assert origin["graceful-timeout"].startswith("default")


def test_version() -> None:
    """Ours and Python's, in one line."""
    done = leeward("--version")
    python = ".".join(map(str, sys.version_info[:3]))
    assert re.fullmatch(rf"leeward \d+\.\d+\.\d+ \(Python {re.escape(python)}\)\n", done.stdout)


# --- the banner -------------------------------------------------------------------------


def banner(service: Service) -> list[str]:
    start = next(n for n, line in enumerate(service.lines) if " serves " in line)
    return service.lines[start : service.lines.index(service.lines[-1], start) + 1]


def test_the_banner_says_what_is_needed_in_ten_lines() -> None:
    """URL, what was found, the mode, how fast, the next command; idle cores with -w 1."""
    with serve("hello", cwd=APPS) as service:
        service.wait_line(r"^  next ")
        shown = banner(service)
        assert len(shown) <= 10
        text = "\n".join(shown)
        assert re.search(r"(?m)^  at +http://127\.0\.0\.1:\d+$", text)
        assert re.search(r"(?m)^  found +Tornado application: app in hello$", text)
        assert re.search(r"(?m)^  with +1 worker, ready after \d+ ms, zygote mode$", text)
        assert re.search(rf"(?m)^  next +leeward ps {service.name} ", text)
        if len(os.sched_getaffinity(0)) > 1:
            assert re.search(r"(?m)^  note +1 worker, \d+ cores? idle: --workers auto", text)


def test_the_banner_stays_short() -> None:
    """With nine addresses and spawn mode too; two workers leave no note of idle cores."""
    binds = [word for n in range(9) for word in ("-b", f"127.0.0.{n + 1}:0")]
    with serve("has_a_thread:make_app", "-w", "2", *binds, cwd=APPS, bind=None) as service:
        service.wait_line(r"^  next ")
        shown = banner(service)
        assert len(shown) <= 10
        text = "\n".join(shown)
        assert "and 6 more" in text
        assert re.search(r"spawn mode \(LW101 a thread 'metrics'", text)
        assert "idle" not in text


# --- whoever comes to the control socket ------------------------------------------------


@contextlib.contextmanager
def at(control: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(control)  # blocking: only then it waits for a place in the queue
        sock.settimeout(20)
        yield sock


def send(sock: socket.socket, *messages: Message) -> None:
    """Says them and waits for no answer.  Raises ChannelClosed."""
    with contextlib.closing(Channel(sock.dup())) as channel:
        for message in messages:
            channel.send(message)


def fds_of_all(supervisor: int) -> int:
    """How many it holds when all have come: behind Ready comes that of the worker's stack."""

    def stack() -> bool:
        return any("leeward-stack" in it for it in links(supervisor).values())

    until(stack, "the descriptor of a stack")
    count = fd_count(supervisor)
    assert count is not None
    return count


def assert_undisturbed(service: Service, fds: int) -> None:
    shown = service.ps()
    assert (shown["state"], shown["ends"], shown["generation"]) == ("serving", [], 1)
    assert get(address_of(service)).status == 200
    until(lambda: fd_count(service.pid) <= fds, "all descriptors given back")


def test_rubbish_is_refused_and_nothing_else_happens() -> None:
    """Random bytes, half messages, huge ones, descriptors: an answer or an end, no more."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    weather = random.Random(seed)
    with serve("hello", cwd=APPS) as service:
        service.wait_ready()
        control = service.ps()["control"]
        fds = fds_of_all(service.pid)
        honest = json.dumps({"type": "PsRequest"}).encode()
        rubbish = [b"\0", b"{}", b"[]", b"null", b"{" * 50_000, honest[:-1], b"\xff" * 1000]
        rubbish += [json.dumps({"type": kind}).encode() for kind in ("Ready", "Drain", "Exit", 7)]
        rubbish += [weather.randbytes(weather.randrange(1, 60_000)) for _ in range(40)]
        for data in rubbish:
            with at(control) as sock, open(os.devnull) as null:
                with contextlib.suppress(BrokenPipeError):
                    socket.send_fds(sock, [data], [null.fileno()] * weather.randrange(4))
                with contextlib.suppress(ConnectionResetError):
                    sock.recv(65536)  # an answer or the end; a timeout fails the test
        assert_undisturbed(service, fds)


def test_silent_clients_keep_nobody_out() -> None:
    """More who connect and say nothing than there is room for: `ps` is answered."""
    with serve("hello", cwd=APPS) as service:
        service.wait_ready()
        control = service.ps()["control"]
        fds = fds_of_all(service.pid)
        with contextlib.ExitStack() as stack:
            for _ in range(60):
                stack.enter_context(at(control))
            assert service.ps()["state"] == "serving"
        assert_undisturbed(service, fds)


def test_many_who_wait_for_a_reload_keep_nobody_out(tmp_path: Path) -> None:
    """40 jobs wait for a generation that hangs: `ps`, `rollback` and `stop` do what they say."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    release = tmp_path / "release.py"
    release.write_text((APPS / "hello.py").read_text())
    with serve("release", cwd=tmp_path) as service, contextlib.ExitStack() as stack:
        control = service.wait_ready().ps()["control"]
        release.write_text(f"open({str(gate)!r}).read()\n")
        jobs = []
        for _ in range(40):  # each asks before the next one comes: who is silent makes room
            jobs.append(job := Channel(stack.enter_context(at(control)).dup()))
            stack.callback(job.close)
            job.send(ReloadRequest(wait=True))
        with open(gate, "w"):
            assert service.ps()["state"] == "rolling"
            done = service.leeward("rollback")
            assert done.returncode == 0, done
            assert service.leeward("stop").returncode == 0
        assert service.wait() == 0
        for job in jobs:
            while not isinstance(message := job.wait(5), Answer):
                assert message is not None
            assert message.code in (1, 3)


def test_a_full_queue_is_waited_for_and_not_for_ever() -> None:
    """More at the door than the kernel queues: the asker takes its turn, or is told."""
    with serve("hello", cwd=APPS) as service, contextlib.ExitStack() as stack:
        service.wait_ready()
        control = service.ps()["control"]
        service.signal(signal.SIGSTOP)
        try:
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                    sock.setblocking(False)
                    sock.connect(control)
            begun = time.monotonic()
            asked = service.leeward("ps")
            assert 1 < time.monotonic() - begun < 10
            assert asked.returncode != 0
            assert "stopped" in asked.stderr
        finally:
            service.signal(signal.SIGCONT)
        assert service.ps()["state"] == "serving"


def test_a_flood_leaves_room_for_the_rest() -> None:
    """Thousands of requests, unread answers, connections that leave at once."""
    with serve("hello", cwd=APPS) as service:
        service.wait_ready()
        control = service.ps()["control"]
        fds, said = fds_of_all(service.pid), service.mark()
        for _ in range(1000):
            with at(control):
                pass
        with at(control) as greedy, contextlib.suppress(ChannelClosed, ChannelFull):
            send(greedy, *[PsRequest()] * 3000)
        assert_undisturbed(service, fds)
        assert service.mark() == said, "none of it is worth a line"


def test_who_asks_and_leaves_has_asked() -> None:
    """A reload goes on without its asker, and so does a stop."""
    with serve("hello", cwd=APPS) as service:
        service.wait_ready()
        control = service.ps()["control"]
        with at(control) as sock:
            send(sock, ReloadRequest(wait=True))
        service.wait_line("generation 2 serves")
        with at(control) as sock:
            send(sock, StopRequest(now=False))
        assert service.wait() == 0


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be another user for a moment")
def test_another_user_is_not_answered() -> None:
    """Even if the socket and its directories were open to all: the kernel says who asks."""
    nobody = 65534
    with serve("hello", cwd=APPS) as service:
        service.wait_ready()
        control = Path(service.ps()["control"])
        assert control.stat().st_mode & 0o777 == 0o600
        assert control.parent.stat().st_mode & 0o777 == 0o700
        for path in (service.directory, control.parent, control):
            path.chmod(0o777)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(20)
            os.seteuid(nobody)
            try:
                sock.connect(str(control))
            finally:
                os.seteuid(0)
            with contextlib.suppress(ChannelClosed):
                send(sock, StopRequest(now=True))
            sock.settimeout(20)
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(100) == b""
        assert service.ps()["state"] == "serving"


def test_the_control_socket_goes_with_its_instance() -> None:
    """After a stop neither the socket nor an answer is left, and the name is free."""
    with serve("hello", cwd=APPS) as service:
        service.wait_ready()
        control = Path(service.ps()["control"])
        pid = service.pid
        assert service.leeward("stop").returncode == 0
        service.wait()
        assert gone(pid)
        assert not control.exists()
        assert service.leeward("ps").returncode == 6
