"""Locks that other threads of a zygote hold do not hang its workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SRC = str(Path(__file__).parents[2] / "src")

#: Forks as a zygote does, and has the child use what every worker uses, within 10 s.
FORKS = """
import logging, os, signal, sys, threading, time
sys.path.insert(0, {src!r})
from leeward._zygote import fork, quiet
quiet.PATIENCE = {patience}
{setup}
begun = time.monotonic()
reader, writer = os.pipe()
if fork.fork_twice() == 0:
    signal.alarm(10)
    {child}
    os.write(writer, b"child is well")
    os._exit(0)
took = time.monotonic() - begun
os.close(writer)
os.write(2, os.read(reader, 100) + f" {{took < {patience} + 5}}".encode())
os._exit(0)
"""

#: What holds a lock, and what a child does that wants it.
HOLDERS = {
    "a handler of logging": (
        """
handler = logging.StreamHandler(sys.stderr)
logging.getLogger().addHandler(handler)
def hold():
    with handler.lock:
        ready.set(); go.wait()
""",
        "logging.getLogger().error('from the child')",
        "StreamHandler",
    ),
    "stdout, in a full pipe": (
        """
stuck, full = os.pipe()
os.set_blocking(full, False)
try:
    while True: os.write(full, b"x" * 4096)
except BlockingIOError: os.set_blocking(full, True)
sys.stdout = open(full, "w")
def hold():
    ready.set()
    sys.stdout.write("x" * 1000000); sys.stdout.flush()
""",
        "os.dup2(os.open('/dev/null', os.O_WRONLY), sys.stdout.fileno()); print('x', flush=True)",
        "the lock of stdout",
    ),
    "an import": (
        """
import tempfile
place = tempfile.mkdtemp()
open(place + "/slowly.py", "w").write(
    "import __main__, threading\\n__main__.ready.set()\\n"
    "if threading.current_thread() is not threading.main_thread(): __main__.go.wait()\\n"
    "done = True\\n")
sys.path.insert(0, place)
def hold():
    import slowly
""",
        "import slowly; assert slowly.done",
        "the import of slowly (in thread 'holder')",
    ),
}

THREAD = """
ready, go = threading.Event(), threading.Event()
{code}
threading.Thread(target=hold, name="holder", daemon=True).start()
ready.wait()
time.sleep(0.05)  # to be in it
"""


def run(setup: str, child: str, patience: float) -> str:
    done = subprocess.run(
        [sys.executable, "-c", FORKS.format(src=SRC, setup=setup, child=child, patience=patience)],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stderr


@pytest.mark.parametrize("name", HOLDERS)
def test_a_lock_that_stays_is_told_and_made_new(name: str) -> None:
    """The fork is made after a bounded wait, says who holds what, and the child works."""
    code, child, words = HOLDERS[name]
    said = run(THREAD.format(code=code), child, 0.2)
    assert "child is well True" in said, said
    assert "forks while another thread holds" in said and words in said, said


@pytest.mark.parametrize("name", ["a handler of logging", "an import"])
def test_a_lock_that_is_given_back_is_waited_for(name: str) -> None:
    """Nothing is said, and the child has everything as it should be."""
    code, child, _ = HOLDERS[name]
    released = THREAD.format(code=code) + "threading.Timer(0.1, go.set).start()\n"
    said = run(released, child, 8.0)
    assert "child is well True" in said, said
    assert "forks while" not in said, said


def test_without_loggings_own_lock_there_is_no_fork() -> None:
    """Its own hook would wait for ever: the supervisor is told instead, and tries again."""
    holds = """
def hold():
    with logging._lock:
        ready.set(); go.wait()
"""
    tries = """
try:
    fork.fork_twice()
except OSError as error:
    os.write(2, str(error).encode() + b"; ")
go.set()
[it.join() for it in threading.enumerate() if it.name == "holder"]
"""
    said = run(THREAD.format(code=holds) + tries, "pass", 0.2)
    assert "another thread of the zygote holds logging's lock; child is well True" in said, said


def test_alone_nothing_is_waited_for() -> None:
    assert "child is well True" in run("", "print('x', flush=True)", 0.0)


def test_the_zygote_has_its_locks_back() -> None:
    """What was taken for the fork is free after it."""
    after = """
handler2 = logging.StreamHandler(sys.stderr)
import leeward._zygote.quiet as q
with q.quiet() as held:
    assert not held.words, held.words
    assert handler2.lock.acquire(blocking=False); handler2.lock.release()
def other(found=[]):
    found += [handler2.lock.acquire(timeout=5), logging._lock.acquire(timeout=5)]
    handler2.lock.release(); logging._lock.release()
    return found
result = []
t = threading.Thread(target=lambda: result.extend(other())); t.start(); t.join()
assert result == [True, True], result
"""
    thread = "threading.Thread(target=time.sleep, args=(20,), daemon=True).start()"
    assert "child is well True" in run(thread + after, "pass", 1.0)
