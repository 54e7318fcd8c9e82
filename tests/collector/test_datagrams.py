"""Lines reach syslog and the journal as messages, each whole, in order and once, while daemons
are restarted, slow or gone, and collectors are killed."""

from __future__ import annotations

import errno
import os
import random
import re
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from collector.daemons import PROTOCOL, Daemon, fields
from collector.harness import ACCEPTED, Scene, fork

from leeward._core.sinks import Spec

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 30)))


@pytest.fixture
def scenes() -> Iterator[Callable[..., Scene]]:
    print(f"SEED={SEED}")
    made: list[Scene] = []

    def make(spec: Spec, **settings: object) -> Scene:
        made.append(Scene(spec, Random(SEED), **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for it in made:
        it.close()


def spec_of(kind: str, path: str) -> Spec:
    return Spec(kind, path, name="shop", facility=3, who="worker=2 gen=5 pid=7")


def test_a_syslog_that_is_restarted(tmp_path: Path, scenes: Callable[..., Scene]) -> None:
    """The message that nobody took is sent to the successor; while there is none, lines wait.
    Collectors are killed meanwhile: each may send one message once more."""
    daemon = Daemon(str(tmp_path / "log"))
    scene = scenes(spec_of("syslog", str(tmp_path / "log")), sizes=(60, 200, 3000))
    scene.collect()
    writers = [scene.write(3000) for _ in range(2)]
    for n in range(4):
        daemon.wait(len(daemon.came) + 50)
        daemon.stop()
        if n % 2:
            os.unlink(tmp_path / "log")
            scene.wait_complaint(os.strerror(errno.ENOENT))
            scene.complaints.clear()
            scene.kill_collector()
            daemon.start()
            scene.collect()
        else:
            daemon.start()
    for it in writers:
        scene.end(it)
    scene.wait_drained()
    scene.finish()
    daemon.stop()
    accepted, _ = scene.check(daemon.lines(), twice=scene.kills)
    assert accepted > 200 and scene.kills == 2


def test_collectors_that_are_killed_under_load(
    tmp_path: Path, scenes: Callable[..., Scene]
) -> None:
    """At any moment: nothing is lost, and no more doubled than one message for each."""
    daemon = Daemon(str(tmp_path / "log"))
    scene = scenes(spec_of("syslog", str(tmp_path / "log")))
    scene.collect()
    writers = [scene.write(4000) for _ in range(3)]
    for _ in range(8):
        time.sleep(scene.rng.random() * 0.03)  # the moment of a kill: there is no event
        scene.kill_collector()
        scene.collect()
    for it in writers:
        scene.end(it)
    scene.wait_drained()
    scene.finish()
    daemon.stop()
    scene.check(daemon.lines(), twice=scene.kills)


def test_a_daemon_that_is_killed(tmp_path: Path, scenes: Callable[..., Scene]) -> None:
    """What it had taken and not read is lost with it, and nothing else."""
    path = str(tmp_path / "log")
    queue = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 1
    ours, theirs = socket.socketpair()

    def lives_a_little() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(path)
            theirs.send(b"up")
            for _ in range(20):
                sock.recv(1000)
            os.kill(os.getpid(), signal.SIGKILL)

    pid = fork(lives_a_little)
    assert ours.recv(2) == b"up"
    scene = scenes(spec_of("syslog", path), sizes=(60,))
    scene.collect()
    writer = scene.write(500)
    os.waitpid(pid, 0)
    scene.wait_complaint(os.strerror(errno.ECONNREFUSED))
    daemon = Daemon(path)
    scene.end(writer)
    scene.wait_drained()
    scene.finish()
    daemon.stop()
    ours.close()
    theirs.close()
    lines = daemon.lines()
    # What the first has read it took with it.
    kept = writer.states().count(ACCEPTED)
    assert 20 <= kept - len(lines) <= 20 + queue
    scene.check(lines, gone=20 + queue)


def test_one_that_is_slow(tmp_path: Path, scenes: Callable[..., Scene]) -> None:
    """With a queue that is full: lines wait, then are refused and counted, and those of other
    sinks go on meanwhile."""
    daemon = Daemon(str(tmp_path / "log"), pause=0.02)
    scene = scenes(spec_of("syslog", str(tmp_path / "log")), size=1 << 16)
    scene.collect()
    slow = scene.write(3000)
    scene.wait_complaint("refused by a full ring")
    syslog, file = scene.spec, Spec("file", str(tmp_path / "app.log"))
    scene.spec = file
    quick = scene.write(20, here=True)
    scene.tell_ended(quick)
    scene.wait_drained(only=[quick])
    assert not slow.drained
    scene.spec = syslog
    daemon.pause = 0.0
    daemon.stopped.set()
    scene.end(slow)
    scene.wait_drained()
    scene.finish()
    daemon.stop()
    scene.writers.remove(quick)
    accepted, refused = scene.check(daemon.lines())
    assert accepted > 0 and refused > 0
    assert (tmp_path / "app.log").read_bytes().count(b"\n") == 20
    scene.writers.append(quick)


def test_the_journal(tmp_path: Path, scenes: Callable[..., Scene]) -> None:
    """Its fields, one message of several lines, and one that fits in no datagram: by a
    sealed file."""
    daemon = Daemon(str(tmp_path / "socket"))
    scene = scenes(spec_of("journal", str(tmp_path / "socket")), sizes=(100, 300_000), level=30)
    scene.collect()
    writer = scene.write(40)
    scene.end(writer)
    scene.wait_drained()
    scene.finish()
    daemon.stop()
    entries = [fields(it) for it in daemon.came]
    scene.check([it.pop("MESSAGE") + b"\n" for it in entries])
    assert [int(it.pop("LEEWARD_SEQUENCE")) for it in entries] == sorted(range(len(entries)))
    assert all(it.pop("SYSLOG_TIMESTAMP") for it in entries)
    assert entries[0] == {
        "PRIORITY": b"4",
        "SYSLOG_FACILITY": b"3",
        "SYSLOG_IDENTIFIER": b"shop",
        "SYSLOG_PID": b"7",
        "LEEWARD_SLOT": b"2",
        "LEEWARD_GENERATION": b"5",
    }
    assert max(map(len, daemon.came)) > 300_000 > min(map(len, daemon.came))


def test_what_no_socket_takes_is_cut(tmp_path: Path, scenes: Callable[..., Scene]) -> None:
    """And says so, in the message and to the operator; what comes next is whole."""
    daemon = Daemon(str(tmp_path / "log"))
    scene = scenes(spec_of("syslog", str(tmp_path / "log")), sizes=(400_000,))
    scene.collect()
    long = scene.write(1, here=True)
    scene.tell_ended(long)
    scene.wait_complaint("messages are cut to")
    scene.sizes = (100,)
    short = scene.write(3, here=True)
    scene.tell_ended(short)
    scene.wait_drained()
    scene.finish()
    daemon.stop()
    assert 50_000 < len(daemon.came[0]) < 400_000
    note = re.search(rb" \[(\d+) octets cut\]$", daemon.came[0])
    assert note and len(daemon.came[0]) - len(note[0]) + int(note[1]) > 400_000
    daemon.came.pop(0)
    scene.writers.remove(long)
    assert scene.check(daemon.lines()) == (3, 0)
    scene.writers.append(long)


def test_a_host_by_udp(scenes: Callable[..., Scene]) -> None:
    """RFC 5424.  Nobody listens on this machine: that is seen, and no message lost by it."""
    daemon = Daemon(("127.0.0.1", 0))
    scene = scenes(spec_of("syslog", f"localhost:{daemon.address[1]}"), sizes=(100,))
    scene.first = lambda: daemon.socket.close()  # it was forked with it
    scene.collect()
    first = scene.write(50)
    scene.end(first)
    scene.wait_drained()
    daemon.stop()
    second = scene.write(50)
    scene.end(second)
    scene.wait_complaint(os.strerror(errno.ECONNREFUSED))
    daemon.start()
    scene.wait_drained()
    scene.finish()
    daemon.stop()
    assert scene.check(daemon.lines(PROTOCOL)) == (100, 0)


def test_a_journal_that_stands_still(tmp_path: Path, scenes: Callable[..., Scene]) -> None:
    """Nobody reads: it is tried ever more rarely, and at the end what is left is told."""
    silent = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    silent.bind(str(tmp_path / "socket"))
    scene = scenes(spec_of("journal", str(tmp_path / "socket")))
    scene.collect()
    writer = scene.write(2000)
    scene.end(writer)
    scene.finish(0.3)
    left = next(it for it in scene.complaints if "could not be written" in it)
    many = 0
    while select.select([silent], [], [], 0)[0]:
        silent.recv(1 << 20)
        many += 1
    assert 0 < many == writer.states().count(ACCEPTED) - int(left.split()[0])
    silent.close()
