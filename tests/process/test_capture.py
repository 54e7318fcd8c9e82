"""`--capture-output`: what workers print is tagged on a terminal, exact elsewhere, never EPIPE."""

from __future__ import annotations

import calendar
import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from apps.prints import stream
from process.clients import Http, address_of
from process.clients import reload as reload_once
from process.support import APPS, PATIENCE, until, wrapped
from process.test_log_file import collector_of

from leeward._sys import procfs
from leeward.testing import Service, serve

STARTS = pytest.mark.parametrize("start", ["zygote", "spawn"])

#: Of each worker, in the tests that are about octets.
MUCH = 2_500_000


def ask(service: Service, *paths: str) -> int:
    """Ask for these in turn.  The pid of the worker that answered."""
    with Http(address_of(service)) as client:
        return [int(client.get(f"/{path}").body) for path in paths][-1]


class Reader:
    """A pipe for somebody's stdout, which is read only when a test says so."""

    def __init__(self) -> None:
        self.fd, self.writer = os.pipe()
        self.data = bytearray()

    def read(self, until_octets: int) -> None:
        """Until there are so many in all."""
        while len(self.data) < until_octets:
            self.more()

    def more(self) -> None:
        assert readable(self.fd), f"nothing comes behind {len(self.data)} octets"
        data = os.read(self.fd, 1 << 16)
        assert data, f"it ends behind {len(self.data)} octets"
        self.data += data

    def of(self, slot: int) -> bytes:
        """What the worker of this slot has printed."""
        others = bytes(range(128)) if slot else bytes(range(128, 256))
        return bytes(self.data).translate(None, others)


@contextlib.contextmanager
def printing(start: str, octets: int = MUCH) -> Iterator[tuple[Service, Reader]]:
    """Two workers that print octets into a pipe, by way of the collector."""
    reader = Reader()
    flags = ("-w", "2", "--start", start, "--capture-output", "on")
    env = {"PRINTS_OCTETS": str(octets)}
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, reader.fd)
        service = stack.enter_context(
            serve("prints:make_app", *flags, cwd=APPS, env=env, stdout=reader.writer)
        )
        os.close(reader.writer)
        yield service, reader


def printed(service: Service, workers: int) -> None:
    for slot in range(workers):
        service.wait_line(rf"slot {slot} has printed all$")


# --- on a terminal ----------------------------------------------------------------------------


@STARTS
def test_on_a_terminal_each_line_says_whose_it_is(start: str) -> None:
    """And is in the order in which that worker has written it, whatever it was written by."""
    with serve("prints", "--start", start, cwd=APPS, terminal=True) as service:
        service.wait_ready(1)
        ask(service, "both", "colour", "child", "libc", "stderr", "print")
        service.wait_line("GET /print")
        lines = [it for it in service.lines if "worker=0" in it or it.startswith("w0|")]
        told = [it for it in lines if not re.search(r" (ready|tornado.access)", it)]
        assert told[0] == "w0| before"
        assert re.search(r"^\S+ \S+ .*worker=0 gen=1 pid=\d+ prints: between$", told[1])
        assert told[2:] == [
            "w0| after",
            "w0| \x1b[31mred\x1b[0m",
            "w0| from a child",
            "w0| its error",
            "w0| from libc",
            "w0| to stderr",
            "w0| from print True",
        ]
        # A request's line comes behind what was printed for it.
        order = [it for it in service.lines if "w0| to stderr" in it or "GET /stderr" in it]
        assert order[0] == "w0| to stderr" and len(order) == 2


@STARTS
def test_lines_of_different_workers_do_not_mix(start: str) -> None:
    flags = ("-w", "3", "--start", start)
    with serve("prints", *flags, cwd=APPS, env={"PRINTS_LINES": "1500"}, terminal=True) as service:
        printed(service, 3)
        assert service.stop() == 0
    of_workers = [it for it in service.lines if "slot" in it and "all" not in it]
    for slot in range(3):
        mine = [it for it in of_workers if it.startswith(f"w{slot}|")]
        expected = [f"w{slot}| slot {slot} line {n} {'x' * (n * 37 % 300)}." for n in range(1500)]
        assert mine == expected
    assert len(of_workers) == 4500


def test_a_line_without_an_end_is_shown_and_goes_on() -> None:
    """Soon; where something else comes in between it is ended."""
    with serve("prints", "--no-access-log", cwd=APPS, terminal=True) as service:
        service.wait_ready(1)
        ask(service, "partial")
        until(lambda: service.begun == "w0| loading", "a line that is begun")
        ask(service, "done")
        service.wait_line(r"^w0\| loading ... done$")
        ask(service, "partial")
        until(lambda: service.begun == "w0| loading", "a line that is begun")
        service.leeward("set", "log-level=info")
        service.wait_line(r"^w0\| loading$")
        service.wait_line(r"^\d{4}-.* log-level = info")
        ask(service, "done")
        service.wait_line(r"^w0\|  ... done$")


@STARTS
def test_last_words_of_a_crash(start: str) -> None:
    """What a worker has printed before it died, and where, are told."""
    with serve("prints", "--start", start, cwd=APPS, terminal=True) as service:
        service.wait_ready(1)
        with Http(address_of(service)) as client:
            client.send("/crash")
            service.wait_line(r"^w0\| last words$")
            service.wait_line(r"^w0\| Fatal Python error: Segmentation fault$")
            service.wait_line(r'^w0\|   File ".*prints.py", line \d+ in ')
        service.wait_line("worker=0 gen=1 pid=\\d+ died: killed by SIGSEGV")
        service.wait_line(r"^w0\| Extension modules")


def test_an_adopted_program_prints_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import asyncio, tornado.web\n"
        "async def main():\n"
        "    tornado.web.Application([]).listen(8000)\n"
        "    print('it runs')\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    with serve("program.py", "-w", "2", cwd=tmp_path, terminal=True) as service:
        service.wait_line(r"^w0\| it runs$")
        service.wait_line(r"^w1\| it runs$")


def test_a_terminal_that_stands_still_holds_up_no_log(tmp_path: Path) -> None:
    """Lines for files go on, and what was printed comes when somebody looks again."""
    path = tmp_path / "app.log"
    master, slave = os.openpty()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, master)
        service = stack.enter_context(
            serve("prints", "--log-file", str(path), cwd=APPS, stdout=slave)
        )
        os.close(slave)
        ask(service, "much", "record")
        until(lambda: path.exists() and "prints: a record" in path.read_text(), "a record")
        ask(service, "much", "nothing")
        until(lambda: "GET /nothing" in path.read_text(), "the request")
        data = bytearray()
        while data.count(b"\n") < 4000:
            assert readable(master), f"nothing comes behind {len(data)} octets"
            data += os.read(master, 1 << 16)
        lines = data.decode().splitlines()
        assert lines == [f"w0| much {n} {'x' * 70}" for n in range(2000)] * 2
        assert " much " not in path.read_text()


# --- elsewhere --------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["auto", "off"])
def test_nothing_is_captured_where_nobody_looks(tmp_path: Path, setting: str) -> None:
    """A worker's stdout is the supervisor's, and there is no collector."""
    with (
        open(tmp_path / "out", "wb") as out,
        serve("prints", "--capture-output", setting, cwd=APPS, stdout=out.fileno()) as service,
    ):
        pid = ask(service, "child")
        assert os.readlink(f"/proc/{pid}/fd/1") == str(tmp_path / "out")
        family = procfs.children_of(service.pid)
        assert not [it for it in family if procfs.comm(it) == "leeward logs"]
    assert (tmp_path / "out").read_bytes() == b"from a child\n"


@STARTS
def test_octet_for_octet(start: str) -> None:
    """5 MB of two workers through one pipe: the stream of each in order and whole."""
    with printing(start) as (service, reader):
        reader.read(2 * MUCH)
        printed(service, 2)
    for slot in range(2):
        assert reader.of(slot) == stream(slot, MUCH)


@pytest.mark.parametrize(
    ("start", "signum", "name"),
    [("zygote", signal.SIGKILL, "SIGKILL"), ("spawn", signal.SIGRTMIN + 1, "signal 35")],
)
def test_the_collector_is_killed(start: str, signum: int, name: str) -> None:
    """No EPIPE, no dead worker, nothing but what it held is lost, and the rest is in order."""
    with printing(start) as (service, reader):
        reader.read(400_000)
        killed = collector_of(service)
        os.kill(killed, signum)
        service.wait_line(rf"the log collector died \(killed by {name}\)")
        # A reading, and a line without an end, of each.
        reader.read(2 * MUCH - 2 * (2 << 16))
        streams = [stream(slot, MUCH) for slot in range(2)]
        while not all(reader.of(slot).endswith(it[-1000:]) for slot, it in enumerate(streams)):
            reader.more()
        printed(service, 2)
        assert collector_of(service) != killed
        for slot, whole in enumerate(streams):
            got = reader.of(slot)
            begin = next((n for n in range(len(got)) if whole[n] != got[n]), len(got))
            assert whole.endswith(got[begin:])
        assert "died: " not in service.log


@STARTS
def test_the_collector_stands_still(start: str) -> None:
    """The pipe fills up and the writer waits; then it goes on.  Requests are served all along."""
    with printing(start) as (service, reader):
        reader.read(400_000)
        collector = collector_of(service)
        os.kill(collector, signal.SIGSTOP)
        pid = ask(service, "nothing")
        until(lambda: waiting_in_stdout_of(pid) > 1_000_000, "the pipe to be full")
        ask(service, "nothing")
        os.kill(collector, signal.SIGCONT)
        reader.read(2 * MUCH)
        printed(service, 2)
    for slot in range(2):
        assert reader.of(slot) == stream(slot, MUCH)


def readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], PATIENCE)[0])


def waiting_in_stdout_of(pid: int) -> int:
    fd = os.open(f"/proc/{pid}/fd/1", os.O_RDONLY | os.O_NONBLOCK)
    try:
        (octets,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))
        return int(octets)
    finally:
        os.close(fd)


@STARTS
def test_into_the_log_file(tmp_path: Path, start: str) -> None:
    """With a time and whose it is; what went to stderr is a warning."""
    path = tmp_path / "app.log"
    flags = ("--start", start, "--capture-output", "on", "--log-file", str(path))
    with serve("prints", *flags, cwd=APPS) as service:
        service.wait_ready(1)
        ask(service, "print", "stderr", "colour")
        until(lambda: path.exists() and "red" in path.read_text(), "the last line")
        shown = service.leeward("logs", "--level", "warning").stdout
        assert re.search(r"warning  worker=0 gen=1 stderr: to stderr\n", shown)
        assert "from print" not in shown
    text = path.read_text()
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"
    assert re.search(rf"^{stamp} info     worker=0 gen=1 stdout: from print False$", text, re.M)
    assert re.search(rf"^{stamp} warning  worker=0 gen=1 stderr: to stderr$", text, re.M)
    assert "stdout: \\e[31mred\\e[0m\n" in text
    assert "from print" not in service.log


def test_all_lines_of_the_log_file_are_of_the_clock_of_the_application(tmp_path: Path) -> None:
    """Its TZ may stand in its environment file: the supervisor's lines, its own, its requests'
    and what it prints."""
    path, env = tmp_path / "app.log", tmp_path / "app.env"
    env.write_text("TZ=XXX-14\n")
    flags = ("--capture-output", "on", "--log-file", str(path), "--env-file", str(env))
    with serve("prints", *flags, cwd=APPS, env={"TZ": "UTC"}) as service:
        service.wait_ready(1)
        ask(service, "print", "record")
        assert service.stop() == 0
    text = path.read_text()
    told = ("stdout: from print", "prints: a record", "tornado.access: 200", "pid=", "stopped")
    assert all(it in text for it in told), text
    now = time.time() + 14 * 3600
    for line in text.splitlines():
        when = calendar.timegm(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S"))
        assert now - 300 < when <= now, line


def test_a_clock_that_is_taken_out_of_the_environment_file_is_gone_with_the_next_release(
    tmp_path: Path,
) -> None:
    """Then the service's own counts again, as after a restart."""
    env = tmp_path / "app.env"
    env.write_text("TZ=XXX-14\n")
    (tmp_path / "zone.py").write_text(
        "import os, tornado.web\n"
        "class Zone(tornado.web.RequestHandler):\n"
        "    def get(self): self.write(os.environ.get('TZ', 'none'))\n"
        "def make_app(): return tornado.web.Application([('/', Zone)])\n"
    )
    flags = ("--env-file", str(env))
    with serve("zone:make_app", *flags, cwd=tmp_path, env={"TZ": "UTC"}) as service:
        service.wait_ready(1)
        with Http(address_of(service)) as client:
            assert client.get("/").body == b"XXX-14"
        env.write_text("")
        assert service.leeward("reload").returncode == 0
        with Http(address_of(service)) as client:
            assert client.get("/").body == b"UTC"


def test_nobody_reads(tmp_path: Path) -> None:
    """A full disk is no reason to stand still: what cannot be written is counted and told."""
    full = os.open("/dev/full", os.O_WRONLY)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, full)
        env = {"PRINTS_OCTETS": str(MUCH)}
        service = stack.enter_context(
            serve("prints", "--capture-output", "on", cwd=APPS, env=env, stdout=full)
        )
        printed(service, 1)
        service.wait_line(r"worker 0 of generation 1: \d+ octets .* lost: No space left on device")
        ask(service, "print")


def fds(pid: int) -> int:
    return procfs.fd_count(pid) or 0


def test_descriptors_do_not_grow() -> None:
    """Neither the supervisor's nor the collector's, by reloads and kills; nor a worker's."""
    with serve("prints", "-w", "2", "--drain-window", "0", cwd=APPS, terminal=True) as service:
        service.wait_ready(2)
        pid = ask(service, "print")
        service.wait_line(r"^w[01]\| from print")
        collector = collector_of(service)

        def counted() -> tuple[int, int]:
            return fds(service.pid), fds(collector)

        before, of_worker = counted(), fds(pid)
        for generation in (2, 3):
            reload_once(service, 2)
            mark = service.mark()
            os.kill(service.workers()[0]["pid"], signal.SIGKILL)
            service.wait_line(rf"gen={generation} pid=\d+ ready", after=mark)
            ask(service, "print")
        # The zygote of the generation before is kept: a channel, and its certificate's places.
        most = before[0] + 3
        until(lambda: counted()[1] == before[1] and counted()[0] <= most, f"as few as {before}")
        assert fds(ask(service, "print")) <= of_worker + 1


def test_few_descriptors(tmp_path: Path) -> None:
    """Below 128 nothing is captured."""
    few = wrapped(tmp_path, 'ulimit -n 64; exec "$python" "$@"')
    with serve("prints", cwd=APPS, python=few, terminal=True) as service:
        service.wait_ready(1)
        ask(service, "print")
        service.wait_line(r"^from print True$")
