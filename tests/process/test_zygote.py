"""The zygote is an accelerator: what befalls it touches no worker, and it shares nothing wrong."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from process.clients import Gate, Http, address_of, get
from process.crowd import CALM, Crowd
from process.releases import deploy, releases_of, served, wait_at
from process.support import APPS, links, marks, spares_of, until, watching

from leeward._sys import procfs
from leeward.testing import Service, serve


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate() as gate:
        yield gate


def zygote_of(service: Service) -> int:
    (zygote,) = service.ps()["zygotes"]
    return int(zygote["pid"])


def pids(service: Service) -> dict[int, int]:
    return {it["slot"]: it["pid"] for it in service.workers()}


# --- its death and its silence ------------------------------------------------------------------


def test_a_killed_zygote_is_rebuilt_and_no_worker_notices(tmp_path: Path) -> None:
    """The same workers answer all the while; the new zygote forks the next replacement."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service:
        before, old = pids(service), zygote_of(service)
        with Crowd(address_of(service), pace=CALM) as crowd:
            mark = service.mark()
            os.kill(old, signal.SIGKILL)
            service.wait_line(rf"gen=1 pid={old} zygote died: killed by SIGKILL", mark)
            new = int(service.wait_line(r"gen=1 pid=(\d+) zygote loaded", mark)[1])
            crowd.all_answered()
        assert pids(service) == before
        assert zygote_of(service) == new != old
        mark = service.mark()
        os.kill(before[0], signal.SIGKILL)
        service.wait_line(r"worker=0 gen=1 pid=\d+ ready", mark)
        assert pids(service)[1] == before[1]


def test_zygotes_killed_again_and_again_cost_no_request(tmp_path: Path) -> None:
    """Four in a row: each is rebuilt, with pauses that grow, and the workers serve on."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service, Crowd(address_of(service)) as crowd:
        before, zygote = pids(service), zygote_of(service)
        for _ in range(4):
            mark = service.mark()
            os.kill(zygote, signal.SIGKILL)
            zygote = int(service.wait_line(r"gen=1 pid=(\d+) zygote loaded", mark)[1])
        crowd.all_answered()
        assert pids(service) == before
        assert service.leeward("reload").returncode == 0


def test_a_stopped_zygote_is_noticed_when_a_fork_is_needed(tmp_path: Path) -> None:
    """SIGSTOP: nothing happens until a worker dies; then it is killed, rebuilt, and forks."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service:
        before, old = pids(service), zygote_of(service)
        os.kill(old, signal.SIGSTOP)
        until(lambda: procfs.state_of(old) == "T", "the zygote is stopped")
        mark = service.mark()
        with watching(old) as ended:
            os.kill(before[0], signal.SIGKILL)
            service.wait_line(r"worker=0 gen=1 .*died: killed by SIGKILL", mark)
            # The other worker has the listener to itself, and is not disturbed.
            with Crowd(address_of(service)) as crowd:
                assert ended(10.0)
                service.wait_line(r"did not answer a fork request within 5 s", mark)
                new = int(service.wait_line(r"gen=1 pid=(\d+) zygote loaded", mark)[1])
                replaced = int(service.wait_line(r"worker=0 gen=1 pid=(\d+) ready", mark)[1])
                crowd.all_answered()
        assert pids(service) == {0: replaced, 1: before[1]}
        assert zygote_of(service) == new
        assert service.leeward("reload").returncode == 0


def test_a_zygote_that_goes_on_in_time_is_forgiven(tmp_path: Path) -> None:
    """Stopped, needed, and continued: it forks what was asked for, once."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service:
        before, zygote = pids(service), zygote_of(service)
        os.kill(zygote, signal.SIGSTOP)
        mark = service.mark()
        os.kill(before[0], signal.SIGKILL)
        service.wait_line(r"worker=0 gen=1 .*died", mark)
        os.kill(zygote, signal.SIGCONT)
        service.wait_line(r"worker=0 gen=1 pid=\d+ ready", mark)
        assert zygote_of(service) == zygote
        assert service.log.count("worker=0 gen=1 pid=") == 3  # ready, died, ready


def test_a_fork_request_that_dies_with_its_zygote_is_asked_of_the_next(tmp_path: Path) -> None:
    """Stopped, needed, and killed: the slot does not wait for the deadline of that fork."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service:
        before, zygote = pids(service), zygote_of(service)
        os.kill(zygote, signal.SIGSTOP)
        mark = service.mark()
        os.kill(before[0], signal.SIGKILL)
        service.wait_line(r"worker=0 gen=1 .*died", mark)
        os.kill(zygote, signal.SIGKILL)
        service.wait_line(r"worker=0 gen=1 pid=\d+ ready", mark, timeout=4.5)  # a fork has 5 s
        assert pids(service)[1] == before[1]


def test_term_and_int_do_not_end_a_zygote(tmp_path: Path) -> None:
    """Service managers and terminals signal whole groups: it stays, and forks."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service:
        before, zygote = pids(service), zygote_of(service)
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(zygote, number)
        mark = service.mark()
        os.kill(before[0], signal.SIGKILL)
        service.wait_line(r"worker=0 gen=1 pid=\d+ ready", mark)
        assert zygote_of(service) == zygote


def test_a_zygote_killed_while_it_imports_fails_that_reload(tmp_path: Path, gate: Gate) -> None:
    """The caller gets 3 and the signal; the old generation and its zygote are as before."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service, Crowd(address_of(service), pace=CALM) as crowd:
        before, zygote = pids(service), zygote_of(service)
        deploy(tmp_path, "two", at_import=wait_at(gate))
        caller = service.begin("reload")
        held = gate.arrival()
        os.kill(held.pid, signal.SIGKILL)
        with caller:
            _, said = caller.communicate(timeout=20)
        assert (caller.returncode, "generation 2 killed by SIGKILL" in said) == (3, True), said
        held.release()
        crowd.all_answered()
        assert (pids(service), zygote_of(service)) == (before, zygote)


def test_both_die_at_once(tmp_path: Path) -> None:
    """Zygote and all workers killed together: all are back, and the listener was never closed."""
    deploy(tmp_path, "one")
    with served(tmp_path) as service:
        victims = [zygote_of(service), *pids(service).values()]
        mark = service.mark()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        # Waits in the kernel's queue until somebody accepts again.
        assert get(address_of(service)).json["release"] == "one"
        for slot in (0, 1):
            service.wait_line(rf"worker={slot} gen=1 pid=\d+ ready", mark)
        assert not set(victims) & {zygote_of(service), *pids(service).values()}


# --- who is whose child ---------------------------------------------------------------------------


def test_forked_workers_are_the_supervisors_children(tmp_path: Path) -> None:
    """Not the zygote's, whose death they would not survive; nobody is left in between."""
    deploy(tmp_path, "one")
    with served(tmp_path, workers=3) as service:
        zygote = zygote_of(service)
        assert {procfs.parent_of(pid) for pid in pids(service).values()} == {service.pid}
        assert procfs.parent_of(zygote) == service.pid
        until(lambda: procfs.children_of(zygote) == [], "nobody in between")
        everybody = {zygote, *pids(service).values(), *spares_of(service)}
        assert set(procfs.children_of(service.pid)) == everybody
        # Killing is by group: each leads its own.
        assert {os.getpgid(pid) for pid in everybody} == everybody


def test_a_retired_zygote_is_gone_after_the_reload(tmp_path: Path) -> None:
    """One per generation, and none for a generation that only drains."""
    deploy(tmp_path, "one")
    with served(tmp_path, "--settle", "0s") as service, Http(address_of(service)) as client:
        old = zygote_of(service)
        assert client.get().status == 200
        assert service.leeward("reload").returncode == 0
        service.wait_line(rf"gen=1 pid={old} zygote gone$")
        assert zygote_of(service) != old
        assert client.get().json["generation"] == 1, "its worker drains on without it"


# --- what must not be shared ------------------------------------------------------------

#: Draws at import what each worker would otherwise go on from; `/draw` draws again.
_DRAWS = """
import random, tempfile, uuid, secrets
import numpy.random
random.seed(42)
numpy.random.seed(42)
random.random(), numpy.random.random(), tempfile.mktemp(), uuid.uuid4()

class Draw(tornado.web.RequestHandler):
    def get(self):
        draws = {
            "random": random.random(),
            "numpy": numpy.random.random(),
            "tempfile": os.path.basename(tempfile.mktemp()),
            "uuid4": str(uuid.uuid4()),
            "secrets": secrets.token_hex(),
        }
        self.write(draws | {"slot": os.environ["LEEWARD_SLOT"]})
"""
#: Stands in for numpy, which takes a minute to install: a global generator, seeded by `seed`.
_NUMPY = """
import random as _python
_generator = _python.Random(1)
seed, random = _generator.seed, _generator.random
"""


def test_no_two_workers_draw_the_same_numbers(tmp_path: Path) -> None:
    """random, numpy.random, tempfile, uuid, secrets: all differ, though seeded at import."""
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy/__init__.py").touch()
    (tmp_path / "numpy/random.py").write_text(_NUMPY)
    deploy(
        tmp_path,
        "one",
        at_end=_DRAWS,
        in_factory="return tornado.web.Application([('/draw', Draw)])",
    )
    with served(tmp_path, "--start", "zygote", workers=3) as service:
        address = address_of(service)
        draws: dict[str, dict[str, object]] = {}

        def everybody_has_drawn(count: int) -> bool:
            answer = get(address, "/draw").json
            draws.setdefault(answer.pop("slot"), answer)
            return len(draws) == count

        until(lambda: everybody_has_drawn(3), "each worker has drawn")
        # A replacement is forked from the same zygote and must not begin where slot 0 began.
        mark = service.mark()
        os.kill(pids(service)[0], signal.SIGKILL)
        service.wait_line(r"worker=0 gen=1 pid=\d+ ready", mark)
        draws["0 before"] = draws.pop("0")
        until(lambda: everybody_has_drawn(4), "the replacement has drawn")
        for kind in ("random", "numpy", "tempfile", "uuid4", "secrets"):
            values = [drawn[kind] for drawn in draws.values()]
            assert len(set(values)) == 4, (kind, values)


def test_what_was_buffered_at_the_fork_is_written_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """stdout, a file and a log handler that the import left unflushed: each line appears once."""
    deploy(
        tmp_path,
        "one",
        at_import=(
            "import logging, logging.handlers\n"
            "sys.stdout.write('to stdout|')\n"
            "REPORT = open('report.txt', 'w')\n"
            "REPORT.write('to a file|')\n"
            "LATER = logging.handlers.MemoryHandler(99, target=logging.FileHandler('log.txt'))\n"
            "LATER.emit(logging.makeLogRecord({'msg': 'to a handler', 'levelno': 20}))"
        ),
    )
    with served(tmp_path, "--start", "zygote", workers=3):
        pass
    assert capfd.readouterr().out.count("to stdout|") == 1
    assert (tmp_path / "report.txt").read_text().count("to a file|") == 1
    assert (tmp_path / "log.txt").read_text().count("to a handler") == 1


def test_what_workers_share_is_kept_from_the_collector(tmp_path: Path) -> None:
    """gc.freeze before the first fork: a full collection in a worker copies no shared page."""
    frozen = (
        "import gc\n"
        "class Frozen(tornado.web.RequestHandler):\n"
        "    def get(self):\n"
        "        self.write(str(gc.get_freeze_count()))\n"
    )
    routes = "return tornado.web.Application([('/', Frozen)])"
    deploy(tmp_path, "one", at_end=frozen, in_factory=routes)
    with served(tmp_path, "--start", "zygote") as service:
        assert int(get(address_of(service)).body) > 10_000
    with served(tmp_path, "--start", "spawn") as service:
        # Python 3.12 freezes a few hundred itself.
        assert int(get(address_of(service)).body) < 1_000


def test_workers_count_no_references_to_what_the_text_defines(tmp_path: Path) -> None:
    """Nor do they copy the pages where the counts are; Python 3.11 counts everything."""
    counts = (
        "import sys\n"
        "class Counts(tornado.web.RequestHandler):\n"
        "    def get(self):\n"
        "        before, kept = sys.getrefcount(Counts), [Counts] * 5\n"
        "        self.write(str(sys.getrefcount(Counts) - before))\n"
    )
    routes = "return tornado.web.Application([('/', Counts)])"
    deploy(tmp_path, "one", at_end=counts, in_factory=routes)
    with served(tmp_path, "--start", "zygote") as service:
        many = get(address_of(service)).body
        assert many == (b"0" if (3, 12) <= sys.version_info < (3, 14) else b"5")
    with served(tmp_path, "--start", "spawn") as service:
        assert get(address_of(service)).body == b"5"


def test_exit_functions_belong_to_the_workers(tmp_path: Path) -> None:
    """atexit runs once in each worker that leaves, never in a zygote that retires or stops."""
    with serve(
        "held", "-w", "2", "--settle", "0s", cwd=APPS, env={"MARKS": str(tmp_path)}
    ) as service:
        service.wait_ready(2)
        workers, zygotes = set(pids(service).values()), {zygote_of(service)}
        assert service.leeward("reload").returncode == 0
        for slot in (0, 1):
            service.wait_line(rf"worker={slot} gen=1 pid=\d+ gone")
        service.wait_line(r"gen=1 pid=\d+ zygote gone")
        workers |= set(pids(service).values())
        zygotes.add(zygote_of(service))
        assert service.stop() == 0
    assert len(workers) == 4 and len(zygotes) == 2
    assert marks(tmp_path, "atexit") == dict.fromkeys(workers, 1)
    assert marks(tmp_path, "factory-atexit") == dict.fromkeys(workers, 1)


def test_a_zygote_holds_no_connection_of_a_client(tmp_path: Path) -> None:
    """Once forked, it has the listener and its own few descriptors: clients are the workers'."""
    deploy(tmp_path, "one")
    with served(tmp_path, workers=1) as service, Http(address_of(service)) as client:
        assert client.get().status == 200
        port = address_of(service)[1]
        theirs = connections_to(port, pids(service)[0])
        assert len(theirs) == 1
        mark = service.mark()
        service.leeward("scale", "2")
        service.wait_line(r"worker=1 gen=1 pid=\d+ ready", mark)
        assert not connections_to(port, zygote_of(service))
        assert not connections_to(port, pids(service)[1])
        assert releases_of(address_of(service)) == {"one"}


def connections_to(port: int, pid: int) -> set[str]:
    """Inodes of the established connections to our `port` that `pid` has a descriptor of."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    here = {it[9] for it in fields if it[1].endswith(f":{port:04X}") and it[3] == "01"}
    sockets = (re.fullmatch(r"socket:\[(\d+)\]", it) for it in links(pid).values())
    return here & {it[1] for it in sockets if it}
