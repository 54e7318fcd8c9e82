"""What an import opens is written down with its line, and afterwards nothing is left of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import leeward

SRC = str(Path(leeward.__file__).parent.parent)
HEAD = f"""
import os, sys
sys.path[:0] = [{SRC!r}, os.getcwd()]
from leeward._zygote.audit import audit, open_descriptors
from leeward._zygote.origins import Origins
from leeward._zygote.watch import Watch, varies
own, watch = open_descriptors(), Watch(Origins())
"""


def run(code: str, directory: Path, **modules: str) -> str:
    """What a new process prints; `modules` are there to be imported."""
    for name, text in modules.items():
        path = directory / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_is_left_when_it_is_over(tmp_path: Path) -> None:
    """`Thread.start` and `Random.seed` are what they were, and nothing is written down."""
    code = """
import random, socket, threading
before = (threading.Thread.start, random.Random.seed, random.seed, random.getstate)
watch.arm()
assert threading.Thread.start is not before[0]
assert threading.Thread.start.__qualname__ == "Thread.start"
watch.disarm()
watch.disarm()
assert (threading.Thread.start, random.Random.seed, random.seed, random.getstate) == before
a = socket.socket(); random.Random(); open(os.devnull, "w").close()
assert not watch.made and list(watch.seeded) == [random._inst] and not watch.files
"""
    run(code, tmp_path)


def test_who_has_wrapped_our_wrapper_keeps_it(tmp_path: Path) -> None:
    """As sentry-sdk does: threads start through both, and nothing is written down any more."""
    code = """
import threading
watch.arm()
ours = threading.Thread.start
def theirs(self): self.seen = True; return ours(self)
threading.Thread.start = theirs
watch.disarm()
thread = threading.Thread(target=int); thread.start(); thread.join()
assert threading.Thread.start is theirs and thread.seen and not watch.threads
"""
    run(code, tmp_path)


def test_a_foreign_object_never_fails_the_applications_call(tmp_path: Path) -> None:
    """A generator without a hash, a path that is none: the call goes on as it would."""
    code = """
import random
watch.arm()
class Odd(random.Random):
    __hash__ = None
odd = Odd(); odd.random()
try:
    open(object(), "w")
except TypeError:
    pass
else:
    raise AssertionError
watch.disarm()
assert audit(own, watch).hazards == ()
"""
    run(code, tmp_path)


def test_a_client_deep_in_a_library_has_both_lines(tmp_path: Path) -> None:
    """The application's innermost line, the library's innermost, and the variable."""
    library = """
import socket
class Pool:
    def __init__(self, address):
        self.free = [socket.create_connection(address)]
class Client:
    def __init__(self, address):
        self.pool = Pool(address)
"""
    shop = """
import socket
from vendor import Client
SERVER = socket.create_server(("127.0.0.1", 0))
def connect():
    return Client(SERVER.getsockname())
CLIENTS = {"first": connect()}
"""
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "vendor.py").write_text(library)
    code = """
sys.path.append(os.path.abspath("site-packages"))
watch.arm(); import shop; watch.disarm()
(hazard,) = audit(own, watch).hazards
print(hazard.code, hazard.where, hazard.library, hazard.who, sep="|")
fd, _, inode = hazard.key.partition(":")
assert os.fstat(int(fd)).st_ino == int(inode)
"""
    assert run(code, tmp_path, shop=shop) == "LW110|shop.py:6|vendor.py:5|shop.CLIENTS, a dict\n"


def test_an_installed_application_is_an_application(tmp_path: Path) -> None:
    """TARGET's own package counts as such in site-packages too."""
    (tmp_path / "site-packages" / "shop").mkdir(parents=True)
    (tmp_path / "site-packages" / "shop" / "__init__.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    code = """
sys.path.append(os.path.abspath("site-packages"))
watch = Watch(Origins("shop"))
watch.arm(); import shop; watch.disarm()
(hazard,) = audit(own, watch).hazards
print(hazard.where)
"""
    assert run(code, tmp_path) == "site-packages/shop/__init__.py:2\n"


def test_a_descriptor_that_was_moved_is_known_by_its_inode(tmp_path: Path) -> None:
    """Another number, another object: the line is that of the connect."""
    shop = """
import os, socket
SERVER = socket.create_server(("127.0.0.1", 0))
OLD = socket.create_connection(SERVER.getsockname())
NEW = socket.socket(fileno=os.dup(OLD.detach()))
"""
    code = """
watch.arm(); import shop; watch.disarm()
found = audit(own, watch).hazards
print(*{it.where for it in found})
"""
    assert run(code, tmp_path, shop=shop) == "shop.py:4\n"


def test_a_connection_that_is_being_made_counts(tmp_path: Path) -> None:
    """It has no peer yet; the kernel's table of connections has."""
    shop = """
import socket
FULL = socket.create_server(("127.0.0.1", 0), backlog=0)
KEPT = [socket.socket() for _ in range(4)]
for it in KEPT:
    it.setblocking(False)
    it.connect_ex(FULL.getsockname())
"""
    code = """
watch.arm(); import shop; watch.disarm()
found = audit(own, watch).hazards
assert len(found) == 1 and found[0].where == "shop.py:7" and "and 3 more" in found[0].what, found
assert "127.0.0.1:%d" % shop.FULL.getsockname()[1] in found[0].what
"""
    run(code, tmp_path, shop=shop)


EXTENSION = """
#include <Python.h>
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "driver", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_driver(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(getenv("TO")))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    Py_XDECREF(PyImport_ImportModule("colorsys"));  /* as Cython's modules do */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) return NULL;
    return PyModule_Create(&module);
}
"""


def test_what_an_extension_opens_has_the_importing_line(tmp_path: Path) -> None:
    """No event, no Python object: counted around its import; the peer is told."""
    compiler = shutil.which("cc")
    include = sysconfig.get_paths()["include"]
    if compiler is None or not Path(include, "Python.h").exists():
        pytest.skip("no C compiler, or no headers of Python")
    (tmp_path / "driver.c").write_text(EXTENSION)
    library = tmp_path / f"driver{sysconfig.get_config_var('EXT_SUFFIX')}"
    command = [compiler, "-shared", "-fPIC", f"-I{include}", "-o", str(library), "driver.c"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=50)
    shop = """
import socket, os
SERVER = socket.create_server(("127.0.0.1", 0))
os.environ["TO"] = str(SERVER.getsockname()[1])
import driver
import wave
"""
    code = """
watch.arm(); import shop; watch.disarm()
(hazard,) = audit(own, watch).hazards
assert os.environ["TO"] in hazard.what and "since the import of driver" in hazard.what, hazard
print(hazard.code, hazard.where)
"""
    assert run(code, tmp_path, shop=shop) == "LW110 shop.py:5\n"


def test_seeds_that_differ_from_process_to_process_are_known(tmp_path: Path) -> None:
    """The kernel's, the time and the pid; not what somebody has typed."""
    code = """
import time
now = time.time()
for seed in (None, now, int(now), int(now * 1000), time.time_ns(), os.getpid(), os.urandom(16),
             int.from_bytes(os.urandom(32)) | 1 << 255):
    assert varies(seed), seed
for seed in (0, 42, 20240101, "shop", b"shop", -7):
    assert not varies(seed), seed
"""
    run(code, tmp_path)


def test_hostile_objects_do_not_end_the_audit(tmp_path: Path) -> None:
    """Unhashable classes, lazy modules, containers that raise, names with line ends."""
    shop = """
import sys, threading, types
class Unhashable(type):
    def __eq__(self, other): raise RuntimeError
class Strange(metaclass=Unhashable): pass
class Rude(dict):
    def __len__(self): raise RuntimeError
    def __hash__(self): raise RuntimeError
class Lazy(types.ModuleType):
    def __getattribute__(self, name): raise RuntimeError(name)
class Liar:
    @property
    def __class__(self): raise RuntimeError
KEPT = [Strange(), Rude(), Liar(), {"deep": [Rude()]}]
sys.modules["lazy"], sys.modules["none"], sys.modules["odd"] = Lazy("lazy"), None, Liar()
threading.Thread(target=threading.Event().wait, name="two\\nlines\\udc80", daemon=True).start()
STARTED = threading.Thread(target=threading.Event().wait, name="x" * 1000, daemon=True)
STARTED.start()
"""
    code = """
watch.arm(); import shop; watch.disarm()
found = audit(own, watch).hazards
assert [it.code for it in found] == ["LW101", "LW101"], found
assert all(it.line.isprintable() and len(it.line) < 1500 for it in found), found
assert any(it.who.startswith("shop.STARTED") for it in found), found
sys.stdout.flush()
os._exit(0)
"""
    run(code, tmp_path, shop=shop)
