"""What the program's text defines is counted no more; what may be closed is counted as ever."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest

import leeward
from leeward._zygote.immortal import _WORDS

SRC = str(Path(leeward.__file__).parent.parent)
HAS_IMMORTALS = (3, 12) <= sys.version_info < (3, 14) and sys.byteorder == "little"
SHOP = """
import abc, enum, functools, gc, json, os, sys, tempfile, weakref

class Meta(type):
    def __eq__(self, other): raise RuntimeError("asked")
    __hash__ = None
class Odd(metaclass=Meta):
    x = ("a", 1.5)
    @property
    def one(self): return 1
    @staticmethod
    def two(): return (2.5, "c d")
class Slotted:
    __slots__ = ("a", "__weakref__")
def plain(a, b=1): return [a for a in (1.25, b"x")]
def outer():
    file = tempfile.TemporaryFile()
    return (lambda: file), file.fileno()
closure, closed_over = outer()
class Holder:
    def __init__(self): self.file, self.back = tempfile.TemporaryFile(), self.end
    def end(self): pass
holder = Holder()
held = holder.file.fileno()
holder.back = None
pair = (tempfile.TemporaryFile(),)
paired = pair[0].fileno()
bound = [tempfile.TemporaryFile()].append
bound_to = bound.__self__[0].fileno()
seen = []
thing = Slotted()
weakref.finalize(thing, seen.append, "gone").atexit = False

def counted(it):
    before = sys.getrefcount(it)
    kept = [it] * 7
    return sys.getrefcount(it) == before + 7
def is_open(fd):
    try: return bool(os.fstat(fd))
    except OSError: return False
"""


def run(code: str, directory: Path) -> object:
    (directory / "shop.py").write_text(SHOP)
    head = f"import sys; sys.path[:0] = [{SRC!r}, {str(directory)!r}]\nfrom shop import *\n"
    head += "import shop\nfrom leeward._zygote import fork, immortal\n"
    head += "from leeward._zygote.objects import take_inventory\n"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", head + code],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_what_is_counted(tmp_path: Path) -> None:
    code = """
fork.freeze()
code = plain.__code__
defined = {"class": Slotted, "odd class": Odd, "its names": Slotted.__mro__, "function": plain,
    "code": code, "constant": Odd.two(), "property": vars(Odd)["one"],
    "static method": vars(Odd)["two"], "slot": vars(Slotted)["a"], "module": json,
    "extension's method": vars(functools.partial)["__reduce__"]}
others = {"instance": thing, "closure": closure, "file": holder.file, "list": seen,
    "bound": bound, "attributes": vars(holder), "tuple": pair, "method": holder.end,
    "later": lambda: 1}
print(json.dumps([[n for n, it in group.items() if counted(it)] for group in (defined, others)]))
"""
    defined, others = run(code, tmp_path)
    assert len(others) == 9, others
    assert len(defined) == (0 if HAS_IMMORTALS else 11), defined


def test_what_the_application_drops_is_closed(tmp_path: Path) -> None:
    code = """
fds = [closed_over, held, paired, bound_to]
fork.freeze()
before = [is_open(fd) for fd in fds]
import warnings; warnings.simplefilter("ignore")
for name in ("closure", "holder", "pair", "bound", "thing"):
    delattr(shop, name); del globals()[name]
print(json.dumps([before, [is_open(fd) for fd in fds], seen]))
"""
    assert run(code, tmp_path) == [[True] * 4, [False] * 4, ["gone"]]


def test_a_process_lives_on_and_ends_as_ever(tmp_path: Path) -> None:
    """New classes, modules loaded anew, collections, forks that end by the interpreter's exit."""
    code = """
import decimal, importlib, multiprocessing, xml.dom.minidom
fork.freeze()
for number in range(3):
    class New(Odd): x = number
    New(), gc.collect()
Odd.y = enum.Enum("E", "a b c"); del Odd.y
importlib.reload(xml.dom.minidom)
del sys.modules["decimal"]; import decimal
sys.intern("a string that is new" * 2)
gc.unfreeze(); gc.collect()
pid = os.fork()
if pid == 0:
    gc.collect()
    sys.exit(3)
child = multiprocessing.get_context("fork").Process(target=plain, args=(1,))
child.start(); child.join(20)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), child.exitcode]))
"""
    assert run(code, tmp_path) == [3, 0]


@pytest.mark.skipif(not HAS_IMMORTALS, reason="this Python has no immortal objects")
@pytest.mark.parametrize("unlike", ["version", "mortal", "immortal"])
def test_where_counts_are_not_as_expected_none_is_written(unlike: str, tmp_path: Path) -> None:
    unlikely = {
        "version": "sys.version_info = (3, 14, 0)",
        "mortal": "immortal._count = lambda address: 2**32 - 1",
        "immortal": "immortal._BY_DEFINITION += (thing,)",
    }
    code = f"{unlikely[unlike]}\nnumber = immortal.immortalize(take_inventory())"
    code += "\nprint(json.dumps([number, counted(plain)]))"
    assert run(code, tmp_path) == [0, True]


def test_counts_are_found_wherever_a_machine_has_its_memory() -> None:
    """arm64 gives a process addresses of 48 bits, and of 52 where it is asked for them."""
    counts = (ctypes.c_uint32 * _WORDS).from_address(0)
    assert len(counts) * ctypes.sizeof(ctypes.c_uint32) > 2**57
    mortal = object()
    assert counts[id(mortal) >> 2] == sys.getrefcount(mortal) - 1
