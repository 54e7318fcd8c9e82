"""What is repaired around a fork is right in each child, and written once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import leeward

SRC = str(Path(leeward.__file__).parent.parent)
HEAD = f"""
import json, os, sys
sys.path[:0] = [{SRC!r}, os.getcwd()]
from leeward._zygote import fork
from leeward._zygote.audit import audit, open_descriptors
from leeward._zygote.origins import Origins
from leeward._zygote.watch import Watch
own, watch = open_descriptors(), Watch(Origins())
watch.arm(); import shop; watch.disarm()
audited = audit(own, watch)
codes = [it.code for it in audited.hazards]
fork.freeze()

def child(work):
    "What `work` returns in a child that was made as a worker is."
    reader, writer = os.pipe()
    if os.fork() == 0:
        fork.reseed(); audited.repairs.mend()
        os.write(writer, json.dumps(work()).encode())
        fork.flush()
        os._exit(0)
    os.wait(); os.close(writer)
    return json.loads(os.read(reader, 65536))
"""


def run(shop: str, code: str, directory: Path) -> dict[str, object]:
    (directory / "shop.py").write_text(shop)
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_generators_are_seeded_anew_unless_they_are_meant_to_repeat(tmp_path: Path) -> None:
    """Random(), Random(time), a subclass with a seed() of its own; not Random(42)."""
    shop = """
import random, time
class Own(random.Random):
    def seed(self, *args): super().seed(None)
THESE = [random.Random(), random.Random(time.time()), Own()]
FIXED = random.Random(42)
SAFE = random.SystemRandom()
"""
    code = """
draw = lambda: [[it.random() for it in shop.THESE], shop.FIXED.random(), random.random()]
import random
one, two = child(draw), child(draw)
same = [a == b for a, b in zip(one[0], two[0])]
print(json.dumps({"same": same, "fixed": one[1] == two[1] == random.Random(42).random(),
                  "module": one[2] == two[2], "codes": codes}))
"""
    assert run(shop, code, tmp_path) == {
        "same": [False] * 3,
        "fixed": True,
        "module": False,
        "codes": ["LW170"] * 2,  # of two kinds
    }


def test_however_a_generator_was_given_its_numbers_it_repeats_them(tmp_path: Path) -> None:
    """By name, by a state, by a long number in the source; a copy is as what it was made of."""
    shop = """
import copy, pickle, random, secrets
LONG, BYTES = 0x8d3b_26c1_90af_7e55_1f02_6c4d_a9be_3370, b"sixteen bytes, or more"
NAMED, STATED = random.Random(), random.Random()
NAMED.seed(a=42)
STATED.setstate(random.Random(7).getstate())
FIXED = [NAMED, STATED, copy.copy(STATED), pickle.loads(pickle.dumps(STATED)),
         random.Random(LONG), random.Random(-LONG), random.Random(BYTES),
         random.Random(bytearray(BYTES)), copy.copy(random.Random(LONG))]
FOR_A_WHILE = random.Random()
before = FOR_A_WHILE.getstate()
FOR_A_WHILE.seed(42)
FOR_A_WHILE.setstate(before)
THESE = [FOR_A_WHILE, copy.copy(FOR_A_WHILE), random.Random(secrets.randbits(128) | 1 << 100),
         random.Random(bytearray(secrets.token_bytes(16)))]
LIKE_ALL, LIKE_42 = random.Random(), random.Random()
LIKE_ALL.setstate(random.getstate())
random.seed(42)
LIKE_42.setstate(random.getstate())
THESE.append(LIKE_ALL)
FIXED.append(LIKE_42)
"""
    code = """
draw = lambda: [[it.random() for it in these] for these in (shop.FIXED, shop.THESE)]
one, two = child(draw), child(draw)
print(json.dumps({"same": [[a == b for a, b in zip(*both)] for both in zip(one, two)]}))
"""
    assert run(shop, code, tmp_path) == {"same": [[True] * 10, [False] * 5]}


def test_numpy_generators_are_seeded_anew_unless_they_are_meant_to_repeat(tmp_path: Path) -> None:
    """default_rng(), RandomState(), numpy.random itself; not default_rng(42), nor a long number."""
    pytest.importorskip("numpy")
    shop = """
import numpy
THESE = [numpy.random.default_rng(), numpy.random.RandomState()]
LONG = numpy.random.default_rng(122807528840384100672342137672332424406)
FIXED = [numpy.random.default_rng(42), numpy.random.RandomState(7), LONG]
"""
    code = """
import numpy
numbers = lambda these: [float(it.random()) for it in these]
draw = lambda: [numbers(shop.THESE), numbers(shop.FIXED), float(numpy.random.random())]
one, two = child(draw), child(draw)
print(json.dumps({"same": [a == b for a, b in zip(one[0], two[0])], "fixed": one[1] == two[1],
                  "module": one[2] == two[2], "codes": codes}))
"""
    assert run(shop, code, tmp_path) == {
        "same": [False, False],
        "fixed": True,
        "module": False,
        "codes": ["LW171", "LW171"],
    }


def test_what_is_to_be_ignored_is_left_as_it_is(tmp_path: Path) -> None:
    """`--hazards ignore:LW170`: the copies draw alike."""
    code = """
audited.repairs.drop(["LW170"])
one, two = child(shop.DICE.random), child(shop.DICE.random)
print(json.dumps({"same": one == two}))
"""
    assert run("import random\nDICE = random.Random()\n", code, tmp_path) == {"same": True}


def test_each_child_connects_its_log_for_itself(tmp_path: Path) -> None:
    """SocketHandler and SysLogHandler over TCP: as many connections as processes."""
    shop = """
import logging, logging.handlers, socket
SERVER = socket.create_server(("127.0.0.1", 0))
FIRST = logging.handlers.SocketHandler(*SERVER.getsockname())
FIRST.createSocket()
SECOND = logging.handlers.SysLogHandler(SERVER.getsockname(), socktype=socket.SOCK_STREAM)
LOG = logging.getLogger("shop")
LOG.addHandler(FIRST); LOG.addHandler(SECOND)
"""
    code = """
def say():
    shop.LOG.warning("a line")
    return [it.getsockname()[1] for it in (shop.FIRST.sock, shop.SECOND.socket)]
import threading
ours = [it.getsockname()[1] for it in (shop.FIRST.sock, shop.SECOND.socket)]
ports = [*ours, *child(say), *child(say)]
print(json.dumps({"connections": len(set(ports)), "codes": codes}))
"""
    assert run(shop, code, tmp_path) == {"connections": 6, "codes": ["LW151", "LW151"]}


def test_a_handler_that_would_not_connect_again_keeps_its_connection(tmp_path: Path) -> None:
    """One of the application's own, and a SocketHandler that sends in a way of its own."""
    shop = """
import logging, logging.handlers, socket
SERVER = socket.create_server(("127.0.0.1", 0))
class Tcp(logging.Handler):
    def __init__(self):
        super().__init__()
        self.sock = socket.create_connection(SERVER.getsockname())
    def emit(self, record):
        self.sock.sendall(self.format(record).encode())
class Framed(logging.handlers.SocketHandler):
    def send(self, packet):
        self.sock.sendall(packet)
OWN, FRAMED = Tcp(), Framed(*SERVER.getsockname())
FRAMED.createSocket()
LOG = logging.getLogger("shop")
LOG.addHandler(OWN); LOG.addHandler(FRAMED)
"""
    code = """
def say():
    shop.LOG.warning("a line")
    return [it.sock.getpeername()[1] for it in (shop.OWN, shop.FRAMED)]
port = shop.SERVER.getsockname()[1]
print(json.dumps({"connected": child(say) == [port, port], "codes": codes}))
"""
    assert run(shop, code, tmp_path) == {"connected": True, "codes": ["LW110", "LW110"]}


def test_buffers_are_written_once(tmp_path: Path) -> None:
    """A file, a gzip file, a MemoryHandler, and what C code has printed."""
    shop = """
import ctypes, gzip, logging, logging.handlers
OUT = open("report", "w"); OUT.write("a report\\n")
RAW = open("raw", "wb"); RAW.write(b"raw\\n")
ZIP = gzip.open("zip", "wb"); ZIP.write(b"zipped\\n")
HANDLER = logging.handlers.MemoryHandler(100, target=logging.FileHandler("log"))
logging.getLogger().addHandler(HANDLER); logging.getLogger().error("a record")
C = ctypes.CDLL(None); C.printf(b"by C\\n")
"""
    code = """
def leave():
    for it in (shop.OUT, shop.RAW, shop.ZIP, shop.HANDLER): it.close()
    if os.fork() == 0: shop.C.exit(0)
    os.wait()
fork.flush()
child(leave); child(leave)
import gzip
found = {name: open(name).read().count("\\n") for name in ("report", "raw", "log")}
found["codes"] = sorted(codes)
print(json.dumps(found))
"""
    found = run(shop, code, tmp_path)
    assert found == {"report": 1, "raw": 1, "log": 1, "codes": found["codes"]}
    assert {"LW160"} == set(found["codes"])  # type: ignore[call-overload]


def test_c_printed_once(tmp_path: Path) -> None:
    """A child that ends by exit(3) writes nothing again that C code had printed before."""
    (tmp_path / "shop.py").write_text(
        "import ctypes\nC = ctypes.CDLL(None)\nC.printf(b'by C\\n')\n"
    )
    code = "child(lambda: os.fork() or shop.C.exit(0))\n"
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout == "by C\n", done.stderr
