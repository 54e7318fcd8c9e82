"""What makes a fork wrong is found and can be found again by its line."""

import subprocess
import sys
from pathlib import Path

import pytest

import leeward

ROOT = str(Path(leeward.__file__).parent.parent)
CODE = """
import sys
sys.path.insert(0, {root!r})
from leeward._zygote.audit import audit, open_descriptors
from leeward._core.config import Config
from leeward._zygote.warm import warm
own = open_descriptors()
{code}
for hazard in audit(own).hazards:
    print(hazard.code + "|" + hazard.line)
"""


def hazards(code, flags=()):
    done = subprocess.run(
        [sys.executable, *flags, "-c", CODE.format(root=ROOT, code=code)],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(line.split("|", 1)) for line in done.stdout.splitlines()]


def test_nothing_is_nothing():
    """A process that only imports has no hazard."""
    assert hazards("import asyncio, logging, ssl, concurrent.futures, multiprocessing") == []


def test_numpy_that_has_computed_is_allowed():
    """OpenBLAS's threads spin for a while after a multiplication; that is waited for."""
    pytest.importorskip("numpy")
    assert hazards("import numpy; a = numpy.ones((600, 600)); a @ a") == []


def test_the_warm_up_leaves_no_hazard():
    """No loop, no descriptor, no thread, no handler, no current loop."""
    code = """
import logging
for engine in ("leeward", "tornado"):
    failure = warm(Config("", engine=engine))
    assert failure == "", failure
from leeward.engine.accelerate.install import installed
assert installed.active() == ()
from tornado.ioloop import IOLoop
assert not IOLoop._ioloop_for_asyncio and not logging.getLogger().handlers
assert open_descriptors() == own
import asyncio
assert asyncio.events._event_loop_policy is None or (
    asyncio.get_event_loop_policy()._local._loop is None)
"""
    assert hazards(code) == []


def test_a_warm_up_that_fails_is_harmless():
    """Its reason is returned, and nothing is left open."""
    code = """
import tornado.web
tornado.web.RequestHandler.write = None
assert "500" in warm(Config(""))
def no(*args, **more): raise RuntimeError("patched")
tornado.web.Application.__init__ = no
assert "patched" in warm(Config(""))
assert open_descriptors() == own
"""
    assert hazards(code) == []


def test_a_thread_is_named_with_its_target():
    """Name, file and line of the function."""
    code = """
import threading
def work(): threading.Event().wait()
threading.Thread(target=work, name="poller", daemon=True).start()
"""
    ((code, line),) = hazards(code)
    assert code == "LW101" and "'poller'" in line and "work" in line and "<string>:10" in line


def test_a_subclass_of_thread_is_named_with_its_run():
    """So is a bound method."""
    code = """
import threading
class Poller(threading.Thread):
    def run(self): threading.Event().wait()
    def other(self): threading.Event().wait()
p = Poller(daemon=True); p.start()
threading.Thread(target=p.other, daemon=True).start()
"""
    lines = [line for _, line in hazards(code)]
    assert len(lines) == 2
    assert any("Poller.run" in line for line in lines)
    assert any("Poller.other" in line for line in lines)


def test_a_thread_without_an_object_is_found():
    """`_thread.start_new_thread`: once, by its frame."""
    code = """
import _thread
lock, up = _thread.allocate_lock(), _thread.allocate_lock()
lock.acquire(); up.acquire()
def work(): up.release(); lock.acquire()
_thread.start_new_thread(work, ())
up.acquire()
"""
    # The lock that it waits for is held too, and told of.
    ((code, line),) = (it for it in hazards(code) if it[0] != "LW130")
    assert code == "LW101" and "without a name" in line and "work" in line


def test_an_executor_that_was_used_is_found():
    """Its threads would be missing in each worker, silently."""
    code = "import concurrent.futures as c; e = c.ThreadPoolExecutor(); e.submit(int).result()"
    ((code, line),) = hazards(code)
    assert code == "LW102" and "ThreadPoolExecutor" in line


def test_a_native_thread_of_unknown_origin_is_found():
    """faulthandler's watchdog stands for all that no library accounts for."""
    code = "import faulthandler; faulthandler.dump_traceback_later(40, exit=False)"
    ((code, _),) = hazards(code)
    assert code == "LW104"


_RUNTIMES = [
    "libgomp.so.1",
    "libgomp-24e2ab19.so.1.0.0",
    "libiomp5.so",
    "libomp.so.5",
    "libtorch_cpu.so",
    "polars.abi3.so",
    "_polars_runtime.abi3.so",
]


@pytest.mark.parametrize("name", _RUNTIMES)
def test_a_loaded_runtime_is_found_by_its_file(name, tmp_path):
    """Used or not: that cannot be told."""
    code = f"""
import mmap
with open({str(tmp_path / name)!r}, "w+b") as file:
    file.write(b"x"); file.flush()
    kept = mmap.mmap(file.fileno(), 1)
"""
    ((code, line),) = hazards(code)
    assert code == "LW105" and name in line


@pytest.mark.parametrize("name", ["torch", "libtorch", "polars-app", "libgomp-1", "libcudart"])
def test_a_directory_of_a_runtimes_name_is_none(name, tmp_path):
    """Where the application, or its interpreter, is installed."""
    (tmp_path / name).mkdir()
    code = f"""
import mmap
with open({str(tmp_path / name / "_ssl.so")!r}, "w+b") as file:
    file.write(b"x"); file.flush()
    kept = mmap.mmap(file.fileno(), 1, access=mmap.ACCESS_READ)
"""
    assert hazards(code) == []


@pytest.mark.parametrize(
    "code",
    [
        "import asyncio; loop = asyncio.new_event_loop()",
        "from tornado.ioloop import IOLoop; loop = IOLoop()",
        "import select; kept = select.epoll()",
    ],
)
def test_a_live_loop_is_found(code):
    """Whatever made it, once each (a bare IOLoop brings two)."""
    found = hazards(code)
    assert found and all(code == "LW120" and "epoll" in line for code, line in found)


def test_a_connection_is_named_by_its_peer():
    """TCP and unix; not a listener, not a socketpair, not a datagram to syslog."""
    code = """
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
print("peer|%s:%s" % server.getsockname())
pair = socket.socketpair()
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); log.bind("\\0leeward-test-%d" % id(log))
line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); line.connect(log.getsockname())
unix = socket.socket(socket.AF_UNIX); unix.bind("\\0leeward-unix-%d" % id(log)); unix.listen()
to = socket.socket(socket.AF_UNIX); to.connect(unix.getsockname())
"""
    (_, peer), *found = hazards(code)
    assert [code for code, _ in found] == ["LW110", "LW110"]
    assert peer in found[0][1] and "leeward-unix" in found[1][1]


def test_descriptors_that_were_there_before_are_not_judged():
    """Ours, and what the service manager gave as stdio."""
    assert hazards("import select; e = select.epoll(); own = open_descriptors()") == []
