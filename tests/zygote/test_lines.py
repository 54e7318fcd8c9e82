"""Whoever made it, and however: each hazard has its code and the application's innermost line.

`# LW121` in a program is a hazard that is told with that line, and no other is told; of
`# LW121*` the line is known from Python 3.12 on.
"""

from __future__ import annotations

import importlib.util
import re
import sys

import pytest
from zygote.test_hazards import audited

from leeward._core.hazards import Hazard

MONITORED = sys.version_info >= (3, 12)
#: An installed library, that is: a directory of that name.
LIBRARY = """
import socket, threading
SERVER = socket.create_server(("127.0.0.1", 0))
def connect():
    return socket.create_connection(SERVER.getsockname())
class Client:
    def __init__(self):
        self.up = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        self.up.wait(20)
    def run(self):
        self.connection = connect()
        self.up.set()
        threading.Event().wait()
def call(function):
    return function()
"""
PROGRAMS: dict[str, str] = {
    "eventfd in a method": """
import os
class Bell:
    def __init__(self):
        self.fd = os.eventfd(0)  # LW121*
BELLS = [Bell()]
""",
    "one-line functions": """
import os
class A:
    def __init__(self): self.fd = os.eventfd(0)  # LW121*
IT = A()
make = lambda: __import__("select").epoll()  # LW120*
SET = make()
""",
    "called by a library": """
import os
import lib
def make():
    return os.eventfd(0)  # LW121*
FD = lib.call(make)
""",
    "a library's thread": """
import lib
def start():
    return lib.Client()  # LW101 LW110
CLIENT = start()
""",
    "a decorator": """
import functools
import lib
def cached(view):
    client = lib.connect()  # LW110
    @functools.wraps(view)
    def wrapper(): return client.recv(1)
    return wrapper
@cached
def view(): pass
""",
    "exec": """
import lib
exec("IT = lib.connect()")  # LW110
""",
    "dataclass": """
import lib
from dataclasses import dataclass
@dataclass
class Shop:
    name: str = ""
    def __post_init__(self):
        self.client = lib.connect()  # LW110
SHOP = Shop()
""",
    "importlib": "import importlib\nimportlib.import_module('deep.down.below')\n",
    "lazy package": "import lazy\nlazy.client\n",
    "inotify and signalfd": """
import ctypes
LIBC = ctypes.CDLL(None)
def watch():
    mask = ctypes.create_string_buffer(128)
    return LIBC.inotify_init1(0), mask  # LW121*
WATCH = watch()
def signals():
    return LIBC.signalfd(-1, ctypes.create_string_buffer(128), 0)  # LW121*
SIGNALS = signals()
""",
    "wake-up": """
import signal, socket
ONE, OTHER = socket.socketpair()  # LW121
ONE.setblocking(False)
signal.set_wakeup_fd(ONE.fileno())
""",
    "timer": """
import signal
def soon():
    signal.setitimer(signal.ITIMER_VIRTUAL, 3600)  # LW107
soon()
""",
    "a bare child": """
import os, signal
def start():
    actions = [(os.POSIX_SPAWN_DUP2, READ, 0)]
    pid = os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=actions)  # LW141
    return pid
READ, WRITE = os.pipe()
os.set_inheritable(WRITE, False)
CHILD = start()
""",
    "flock": """
import fcntl
FILE = open("lock", "w")
def only_one():
    fcntl.flock(FILE, fcntl.LOCK_EX)  # LW131
only_one()
""",
    "lockf": """
import fcntl
FILE = open("lock", "w")
fcntl.lockf(FILE, fcntl.LOCK_EX)  # LW131
""",
    "unlocked": """
import fcntl
FILE = open("lock", "w")
fcntl.flock(FILE, fcntl.LOCK_EX)
fcntl.flock(FILE, fcntl.LOCK_UN)
""",
    "an sqlite transaction": """
import sqlite3
DB = sqlite3.connect("shop.db")  # LW113
DB.execute("begin immediate")
""",
    "a counter for all": """
import multiprocessing
COUNT = multiprocessing.Value("i", 0)  # LW142
""",
    "memory to read": """
import mmap, os
with open("data", "w+b") as file:
    file.write(b"x" * 4096)
    file.flush()
    READ = mmap.mmap(file.fileno(), 4096, access=mmap.ACCESS_READ)
    COPY = mmap.mmap(file.fileno(), 4096, access=mmap.ACCESS_COPY)
""",
    "a temporary directory": """
import tempfile
def cache():
    return tempfile.TemporaryDirectory()  # LW162
CACHE = cache()
""",
    "one that is gone": """
import tempfile
with tempfile.TemporaryDirectory() as CACHE: pass
""",
    "Pipe": """
import multiprocessing
def ends():
    return multiprocessing.Pipe()  # LW140*
ENDS = (
    ends()
)
""",
    "Lock of multiprocessing": """
import multiprocessing
FREE = multiprocessing.Lock()
HELD = multiprocessing.Lock()  # LW130
HELD.acquire()
""",
    "ThreadPool": """
from multiprocessing.pool import ThreadPool
POOL = ThreadPool(2)  # LW140
""",
    "unused executors": """
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
THREADS = ThreadPoolExecutor(2)
PROCESSES = ProcessPoolExecutor(2)  # LW140
""",
    "a lock in a class": """
import _thread, threading
class Shop:
    name = "shop"
    lock = threading.RLock()  # LW130
HELD = threading.Event()
def hold():
    with Shop.lock:
        HELD.set()
        threading.Event().wait()
_thread.start_new_thread(hold, ())  # LW101*
HELD.wait()
""",
    "made later than None": """
import _thread, threading
LOCK = None
HELD = threading.Event()
def make():
    global LOCK
    LOCK = threading.Lock()  # LW130
def hold():
    with LOCK:
        HELD.set()
        threading.Event().wait()
make()
_thread.start_new_thread(hold, ())  # LW101*
HELD.wait()
""",
    "TLS of asyncio": """
import asyncio, socket, ssl
SERVER = socket.create_server(("127.0.0.1", 0))
def first_byte():
    global PEER
    PEER, _ = SERVER.accept()  # LW110
    PEER.recv(1)
async def connect():
    context = ssl.create_default_context()
    begun = asyncio.create_task(asyncio.open_connection(*SERVER.getsockname(), ssl=context))
    await asyncio.to_thread(first_byte)
    return begun
LOOP = asyncio.new_event_loop()  # LW120
TASK = LOOP.run_until_complete(connect())  # LW111
LOOP.run_until_complete(LOOP.shutdown_default_executor())
""",
    "a GPU": """
import os
REAL = os.readlink
def device():
    return os.open("/dev/null", os.O_RDWR)  # LW106*
NAMES = {f"/proc/self/fd/{device()}": "/dev/nvidia0"}
os.readlink = lambda path, **more: NAMES.get(path) or REAL(path, **more)
""",
    "a native thread that ends": """
import ctypes
LIBC = ctypes.CDLL(None)
LIBC.pthread_create(ctypes.byref(ctypes.c_ulong()), None, LIBC.usleep, ctypes.c_void_p(60_000))
""",
    "a native thread that stays": """
import ctypes
LIBC = ctypes.CDLL(None)
LIBC.pthread_create(ctypes.byref(ctypes.c_ulong()), None, LIBC.sleep, ctypes.c_void_p(60))  # LW104*
""",
    "a loop of lines": """
import os
for number in range(2000):
    number += 1
FD = os.eventfd(0)  # LW121*
""",
}
FILES = {
    "site-packages/lib.py": LIBRARY,
    "deep/__init__.py": "",
    "deep/down/__init__.py": "",
    "deep/down/below.py": "import lib\ndef make():\n  return lib.connect()  # LW110\nIT = make()\n",
    "lazy/__init__.py": """
def __getattr__(name):
    if name != "client":
        raise AttributeError(name)
    from lazy import real
    return real.client
""",
    "lazy/real.py": "import lib\nclient = lib.connect()  # LW110\n",
}
HEAD = "import sys; sys.path.append('site-packages')\n"
#: What happens with those that are installed; none of them needs its server.
REAL = {
    "grpc": """
import grpc
def channel():
    return grpc.insecure_channel("127.0.0.1:1")  # LW112*
CHANNEL = {"orders": channel()}
""",
    "grpc closed": """
import grpc
with grpc.insecure_channel("127.0.0.1:1") as CHANNEL: pass
""",
    "grpc closed, with interceptors": """
import grpc
class Nothing(grpc.UnaryUnaryClientInterceptor):
    def intercept_unary_unary(self, go_on, details, request): return go_on(details, request)
with grpc.intercept_channel(grpc.insecure_channel("127.0.0.1:1"), Nothing()) as CHANNEL: pass
""",
    "grpc closed, its channel forgotten": """
import grpc
def ask():
    with grpc.insecure_channel("127.0.0.1:1"): pass
ask()
""",
    "pymongo": """
from pymongo import MongoClient
DB = MongoClient("127.0.0.1", 1).shop  # LW101 LW112
LATER = MongoClient("127.0.0.1", 1, connect=False)
""",
    "confluent_kafka": """
import confluent_kafka
class Orders(confluent_kafka.Producer): pass
def producer():
    return Orders({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})  # LW112*
PRODUCER = producer()
""",
    "zmq": """
import zmq
SOCKET = zmq.Context.instance().socket(zmq.PUB)  # LW112
""",
}


def marks(files: dict[str, str]) -> set[tuple[str, str]]:
    found = set()
    for path, text in files.items():
        for number, line in enumerate(text.splitlines(), 1):
            comment = line.partition("#")[2]
            for code, star in re.findall(r"(LW\d+)(\*?)", comment):
                found.add((code, f"{path}:{number}" if MONITORED or not star else ""))
    return found


def files_of(text: str) -> dict[str, str]:
    return {**FILES, "shop.py": HEAD + text.lstrip("\n")}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Hazard]]:
    real = {name: text for name, text in REAL.items() if importlib.util.find_spec(name.split()[0])}
    programs = {name: files_of(text) for name, text in (PROGRAMS | real).items()}
    return audited(programs, tmp_path_factory.mktemp("lines"))


@pytest.mark.parametrize("name", [*PROGRAMS, *REAL])
def test_each_has_its_code_and_the_innermost_line(name: str, found: dict) -> None:
    """And nothing else is told."""
    if name not in found and name in REAL:
        pytest.skip(f"{name.split()[0]} is not installed")
    text = (PROGRAMS | REAL)[name]
    files = files_of(text)
    used = {path for path in files if path == "shop.py" or path.split("/")[0] in text}
    wanted = marks({path: files[path] for path in used})
    if MONITORED:
        assert {(it.code, it.where) for it in found[name]} == wanted, found[name]
    else:
        assert {it.code for it in found[name]} == {code for code, _ in wanted}, found[name]
        assert {(it.code, it.where) for it in found[name]} >= {it for it in wanted if it[1]}
