"""Readers of /proc, against the processes that they are read from."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from leeward._sys import procfs

#: Above the kernel's PID_MAX_LIMIT: nobody has it.
NOBODY = 2**22 + 1


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for its stdin to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", "a b", ""],
        env={"MARK": "x=y", "EMPTY": "", "PATH": "/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout and process.stdout.readline() == b"\n"
    yield process
    process.communicate(timeout=30)


def test_a_process_is_seen(child):
    """In the list of all, as our child, with its arguments, environment and name."""
    assert child.pid in procfs.processes()
    assert child.pid in procfs.children_of(os.getpid())
    assert procfs.parent_of(child.pid) == os.getpid()
    assert procfs.cmdline(child.pid)[-2:] == ["a b", ""]
    assert procfs.environ_of(child.pid)["MARK"] == "x=y"
    assert procfs.environ_of(child.pid)["EMPTY"] == ""
    assert procfs.comm(child.pid).startswith("python")
    assert procfs.threads_of(child.pid) == [child.pid]


def test_a_namespace_is_shared_or_not_to_be_seen(child):
    """What was started here is where we are; of what has gone nothing is known."""
    assert procfs.shares_namespace(child.pid, "pid") and procfs.shares_namespace(child.pid, "mnt")
    child.communicate(timeout=30)
    assert not procfs.shares_namespace(child.pid, "pid")


def test_states_are_told_apart(child):
    """Asleep, stopped, a zombie, gone."""
    assert procfs.state_of(os.getpid()) == "R"
    os.kill(child.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    assert procfs.state_of(child.pid) == "T"
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert procfs.state_of(child.pid) == "Z"
    assert child.pid in procfs.children_of(os.getpid())
    assert procfs.cmdline(child.pid) == []
    child.wait(10)
    assert procfs.state_of(child.pid) is None


def test_a_name_with_brackets_and_spaces_is_no_trap(python):
    """A process may call itself ') R 1 ('."""
    out = python(
        "import os\n"
        "from leeward._sys import posix, procfs\n"
        "posix.set_comm(') Z 1 (x')\n"
        "print(procfs.state_of(os.getpid()), procfs.comm(os.getpid()),"
        " procfs.parent_of(os.getpid()) == os.getppid())"
    )
    assert out == "R ) Z 1 (x True"


def test_a_start_time_tells_processes_apart(child):
    """Later processes start later, and it does not change."""
    child_age, our_age = procfs.age(child.pid), procfs.age(os.getpid())
    assert 0.0 <= child_age <= our_age + 0.01
    assert procfs.start_time(child.pid) == procfs.start_time(child.pid)
    assert procfs.start_time(child.pid) >= procfs.start_time(os.getpid()) > procfs.start_time(1)


def test_numbers_agree_with_what_the_process_knows_of_itself():
    """Processor time, descriptors, limits, memory, threads."""
    me = os.getpid()
    times = os.times()
    assert procfs.cpu_seconds(me) == pytest.approx(times.user + times.system, abs=0.5)
    before = procfs.fd_count(me)
    files = [os.dup(0) for _ in range(10)]
    assert procfs.fd_count(me) == before + 10
    for fd in files:
        os.close(fd)
    assert procfs.fd_limit(me) == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert 1_000_000 < procfs.pss_bytes(me) <= procfs.rss(me) * 1.2
    go = threading.Event()
    thread = threading.Thread(target=go.wait, args=(10,))
    thread.start()
    assert {me, thread.native_id} <= set(procfs.threads_of(me))
    go.set()
    thread.join()


def test_children_of_another_thread_are_children(python):
    """The kernel lists them under the thread that made them."""
    out = python(
        "import os, subprocess, threading\n"
        "from leeward._sys import procfs\n"
        "made = []\n"
        "done, asked = threading.Event(), threading.Event()\n"
        "def make():\n"
        "    made.append(subprocess.Popen(['cat'], stdin=subprocess.PIPE)); done.set()\n"
        "    asked.wait(10)\n"
        "thread = threading.Thread(target=make); thread.start(); done.wait(10)\n"
        "print(procfs.children_of(os.getpid()) == [made[0].pid])\n"
        "asked.set(); made[0].communicate()"
    )
    assert out == "True"


def test_a_kernel_without_lists_of_children_is_asked_process_by_process(child, monkeypatch):
    """CONFIG_PROC_CHILDREN is not everywhere."""
    real = procfs.read
    monkeypatch.setattr(
        procfs,
        "read",
        lambda path, *limit: None if path.endswith("/children") else real(path, *limit),
    )
    assert child.pid in procfs.children_of(os.getpid())


def test_a_kernel_that_does_not_count_descriptors_is_counted_for(monkeypatch):
    """Before Linux 6.2 the size of /proc/PID/fd is 0."""
    me = os.getpid()
    right = procfs.fd_count(me)

    class Zero:
        st_size = 0

    monkeypatch.setattr(procfs.os, "stat", lambda path: Zero)
    assert procfs.fd_count(me) in (right, right + 1)  # the listing is one itself


@pytest.mark.parametrize(
    ("reader", "nothing"),
    [
        (procfs.state_of, None),
        (procfs.parent_of, None),
        (procfs.start_time, None),
        (procfs.age, None),
        (procfs.cpu_seconds, None),
        (procfs.cmdline, None),
        (procfs.comm, None),
        (procfs.fd_count, None),
        (procfs.fd_limit, None),
        (procfs.pss_bytes, None),
        (procfs.rss, None),
        (procfs.threads_of, []),
        (procfs.children_of, []),
        (procfs.environ_of, {}),
    ],
)
def test_a_process_that_has_gone_is_no_error(reader, nothing):
    """None for one number, empty for several."""
    assert reader(NOBODY) == nothing


def test_an_unlimited_number_of_descriptors_is_none(monkeypatch):
    """No number to compare with."""
    monkeypatch.setattr(
        procfs, "read", lambda path: b"Max open files            unlimited  unlimited  files\n"
    )
    assert procfs.fd_limit(1) is None


def test_a_large_environment_is_read_whole():
    """300 kB, with what matters at its end."""
    environ = {f"V{number}": "x" * 1000 for number in range(300)} | {"ZZ": "last"}
    process = subprocess.Popen(
        ["cat"], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    try:
        # Once it answers it is past its exec, during which it has no environment.
        process.stdin.write(b"?")
        assert process.stdout.read(1) == b"?"
        assert procfs.environ_of(process.pid)["ZZ"] == "last"
    finally:
        process.communicate(timeout=30)


def test_listening_unix_sockets_are_listed(tmp_path):
    """With odd names too; not those that nobody listens on, and no abstract ones."""
    names = ["plain", "a b", "ü", "line\nfeed 0 0 0 0 0 0"]
    socks = [socket.socket(socket.AF_UNIX) for _ in range(len(names) + 2)]
    for sock, name in zip(socks, names, strict=False):
        sock.bind(f"{tmp_path}/{name}")
        sock.listen()
    socks[-2].bind(f"{tmp_path}/idle")
    socks[-1].bind("\0abstract")
    socks[-1].listen()
    found = procfs.unix_sockets()
    for sock in socks:
        sock.close()
    assert [path for path in found if path.startswith(f"{tmp_path}/")] == sorted(
        f"{tmp_path}/{name}" for name in ("plain", "a b", "ü", "line")
    )
    assert all(path.startswith("/") for path in found)


def test_who_catches_what():
    """A handler, and not the default action; for a process that has gone: no."""
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        assert procfs.catches(os.getpid(), signal.SIGUSR2)
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        assert not procfs.catches(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert not procfs.catches(NOBODY, signal.SIGUSR2)


def test_nobody_debugs_us():
    """No tracer here, and none of a process that has gone."""
    assert procfs.tracer_of(os.getpid()) == 0
    assert procfs.tracer_of(NOBODY) == 0


@pytest.mark.parametrize(("code", "waits"), [("select.epoll().poll()", True), ("input()", False)])
def test_who_waits_for_events(code, waits):
    """A child in epoll_wait and one that reads; None where /proc does not tell."""
    with subprocess.Popen(
        [sys.executable, "-c", f"import select; print(flush=True); {code}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        try:
            child.stdout.readline()
            deadline = time.monotonic() + 10
            while procfs.state_of(child.pid) != "S":
                assert time.monotonic() < deadline
                select.select([], [], [], 0.005)
            assert procfs.waits_for_events(child.pid) in (waits, None)
        finally:
            child.kill()
    assert procfs.waits_for_events(NOBODY) is None


def test_where_system_calls_are_hidden_the_place_in_the_kernel_is_read(monkeypatch):
    """/proc/PID/syscall is for root and parents; wchan may be "0" for whoever may not know."""
    for place, waits in ((b"ep_poll", True), (b"hrtimer_nanosleep", False), (b"0", None)):
        shown = {"/proc/7/wchan": place}
        monkeypatch.setattr(procfs, "read", shown.get)
        assert procfs.waits_for_events(7) is waits


def test_the_users_of_a_process() -> None:
    assert procfs.uids(os.getpid()) == os.getresuid()
    assert procfs.uids(2**22) is None
