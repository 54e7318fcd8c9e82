"""A real zygote, driven over its channel: it loads, reports, forks and ends."""

import os
import resource
import signal
import sys

import pytest

from leeward._core.hazards import Hazard
from leeward._core.messages import (
    Descriptor,
    Drain,
    Failed,
    Fork,
    Forked,
    Hello,
    Loaded,
    NotForked,
    Ready,
    Watched,
)
from leeward._sys import procfs
from leeward._sys.posix import read_memfd
from leeward.errors import ChannelClosed

#: Answers `GET /?CODE` with the value of the expression CODE.
APP = """
import os, sys, signal, tornado.web, urllib.parse
from leeward._sys import prctl
class Evaluate(tornado.web.RequestHandler):
    def get(self):
        self.write(str(eval(urllib.parse.unquote(self.request.query))))
async def make_app():
    return tornado.web.Application([("/", Evaluate)])
"""

#: Forks and descriptors that are counted are those of orders.
NO_SPARE = """
from leeward._zygote.spare import Spare
Spare.make = lambda *_: None
"""


def ready(played, worker=1, slot=0):
    """One worker more, ready; its pid."""
    answer, channel = played.fork(worker, slot)
    assert isinstance(answer, Forked), answer
    assert channel.wait(20) == Hello(answer.pid)
    while isinstance(message := channel.wait(20), Watched):
        os.close(message.stack)
    assert isinstance(message, Ready), message
    return answer.pid


def value(played, expression):
    return played.ask("/?" + expression.replace(" ", "%20"))


def closed(channel):
    """Wait until the other end is closed."""
    with pytest.raises(ChannelClosed):
        while channel.wait(20) is not None:
            pass


# --- loading ---------------------------------------------------------------------------


def test_it_says_what_it_loaded(play):
    """Kind, what was found, how long it took, no hazard, a baseline that can be read."""
    loaded = play(APP).begin().says()
    assert isinstance(loaded, Loaded)
    assert (loaded.found, loaded.hazards) == ("factory make_app() in chat", ())
    assert b'"chat"' in read_memfd(loaded.baseline[0])


def test_a_second_zygote_says_what_changed(play, tmp_path):
    """It compares with its generation's baseline and makes none of its own."""
    loaded = play(APP).begin().says()
    again = play(APP + "# edited\n").begin(baseline=loaded.baseline).says()
    assert again.changed == (str(tmp_path / "chat.py"),)
    assert again.baseline == ()


def test_an_application_that_raises_is_reported_and_ends_with_status_3(play):
    """The application's frames travel; the traceback of ours does not."""
    zygote = play("1 / 0").begin()
    failed = zygote.says()
    assert isinstance(failed, Failed) and failed.stage == "import"
    assert "chat.py:1 in <module>: 1 / 0" in failed.text
    assert zygote.ends() == 3


def test_a_spawned_worker_that_cannot_load_says_the_same(play):
    """Status 3, stage import."""
    worker = play("1 / 0", role="worker").begin()
    worker.channel.send(Fork(1, 0, 1, 0))
    assert worker.says().stage == "import"
    assert worker.ends() == 3


@pytest.mark.parametrize("wait", ["time.sleep(60)", "re.match('(a*)*b', 'a' * 40)"])
def test_a_hanging_import_writes_its_stack(play, wait):
    """Before the start time-out, in C code that holds the interpreter lock too."""
    zygote = play(f"import time, re\n{wait}\n", start_timeout=1.0).begin()
    watched = zygote.channel.wait(20)
    assert isinstance(watched, Watched)
    assert zygote.channel.wait(0.9) is None
    assert b'chat.py", line 2 in <module>' in os.pread(watched.stack, 65536, 0)
    os.close(watched.stack)


def test_a_rehearsal_ends_after_the_report(play):
    """`leeward check`: status 0, stdout written, atexit not run."""
    code = APP + "import atexit; atexit.register(print, 'atexit')\nprint('loading')\n"
    zygote = play(code).begin(rehearse=True)
    assert isinstance(zygote.says(), Loaded)
    assert zygote.ends() == 0
    assert zygote.log.read_text() == "loading\n"


# --- forking ---------------------------------------------------------------------------


def test_a_worker_is_the_supervisors_child(play):
    """Parent, session, group, PDEATHSIG, names; the zygote is left without children."""
    zygote = play(APP + NO_SPARE, env={"LEEWARD_INSTANCE": "/c:1"}).begin()
    zygote.says()
    pid = ready(zygote, slot=4)
    assert value(zygote, "os.getpid(), os.getppid()") == str((pid, os.getpid()))
    assert value(zygote, "os.getsid(0), os.getpgid(0)") == str((pid, pid))
    assert value(zygote, "prctl.get_pdeathsig()") == str(int(signal.SIGKILL))
    assert value(zygote, "os.environ['LEEWARD_SLOT']") == "4"
    assert value(zygote, "os.environ['LEEWARD_GENERATION']") == "3"
    assert value(zygote, "os.environ['LEEWARD_INSTANCE']") == f"/c:1:{pid}"
    assert procfs.children_of(zygote.pid) == []


def test_a_worker_has_no_descriptor_of_its_zygote(play):
    """Neither the zygote's channel nor the pipe; the zygote keeps none of the worker's."""
    zygote = play(APP + NO_SPARE, loop="asyncio").begin()  # uvloop has pipes of its own
    zygote.says()
    ready(zygote, 1)
    before = sorted(os.listdir(f"/proc/{zygote.pid}/fd"))
    ready(zygote, 2, 1)
    assert sorted(os.listdir(f"/proc/{zygote.pid}/fd")) == before
    channel = os.readlink(f"/proc/{zygote.pid}/fd/{_channel(zygote)}")
    held = value(
        zygote, "[os.readlink('/proc/self/fd/'+f) for f in os.listdir('/proc/self/fd')[:-1]]"
    )
    assert channel.startswith("socket:") and channel not in held and "pipe:" not in held


def _channel(zygote):
    """The descriptor number on the zygote's command line."""
    return procfs.cmdline(zygote.pid)[-2]  # the last is its supervisor's pid


def test_siblings_draw_different_numbers(play):
    """random, numpy's global generator, tempfile's names, secrets and uuid1."""
    draw = "import random, tempfile, uuid, secrets\nrandom.seed(1)\n"
    draw += "next(tempfile._get_candidate_names())\n"
    draw += "def numbers():\n    import socket\n"
    draw += (
        "    return random.random(), next(tempfile._get_candidate_names()), secrets.token_hex(4)\n"
    )
    zygote = play(APP + draw).begin()
    zygote.says()
    drawn = set()
    for worker in range(3):
        pid = ready(zygote, worker, worker)
        drawn |= set(eval(value(zygote, "sys.modules['chat'].numbers()")))
        os.kill(pid, signal.SIGKILL)
        zygote.ends(pid)
    assert len(drawn) == 9


def test_what_was_printed_at_import_is_written_once(play):
    """stdout, a logging handler's stream and a plain open file, each unflushed at the fork."""
    code = """
import logging, io, atexit
print("printed")
kept = open("kept.txt", "w"); kept.write("kept\\n")
stream = open("stream.txt", "w")
class Lazy(logging.StreamHandler):
    def flush(self):
        self.stream.flush()
logging.getLogger("x").addHandler(Lazy(stream))
stream.write("streamed\\n")
atexit.register(print, "atexit")
"""
    zygote = play(APP + code, env={"PYTHONUNBUFFERED": ""}).begin()
    zygote.says()
    pids = [ready(zygote, worker, worker) for worker in range(3)]
    for worker, pid in enumerate(pids):
        zygote.workers[worker].send(Drain("stop", 1.0, 0.0))
        assert zygote.ends(pid) == 0
    zygote.channel.close()
    assert zygote.ends() == 0
    folder = zygote.log.parent
    assert (folder / "kept.txt").read_text() == "kept\n"
    assert (folder / "stream.txt").read_text() == "streamed\n"
    assert zygote.log.read_text().count("printed") == 1
    # Once in each worker that ended in good order; never in the zygote or between.
    assert zygote.log.read_text().count("atexit") == 3


def test_what_the_application_has_frozen_is_audited_and_flushed(play):
    """gc.freeze() at the end of an import hides all that is there from the collector."""
    code = """
import gc, random, sqlite3
kept = open("kept.txt", "w"); kept.write("kept\\n")
database = sqlite3.connect("shop.db")
dice = random.Random()
gc.freeze()
"""
    zygote = play(APP + code, hazards=("warn",)).begin()
    codes = {Hazard.from_json(it).code for it in zygote.says().findings}
    assert codes == {"LW113", "LW160", "LW170"}
    for worker in (1, 2):
        pid = ready(zygote, worker, worker)
        zygote.workers[worker].send(Drain("stop", 1.0, 0.0))
        assert zygote.ends(pid) == 0
    assert (zygote.log.parent / "kept.txt").read_text() == "kept\n"


def test_what_cannot_be_flushed_costs_nobody_its_life(play):
    """A file that was half made, a class that cannot be hashed, a handler that raises."""
    code = """
import gzip, logging
half = gzip.GzipFile.__new__(gzip.GzipFile)
class Unhashed(type):
    def __eq__(self, other):
        raise TypeError
thing = Unhashed("Thing", (), {})()
class Raises(logging.Handler):
    def flush(self):
        raise RuntimeError
    @property
    def stream(self):
        raise RuntimeError
handler = Raises()
"""
    zygote = play(APP + code).begin()
    zygote.says()
    for worker in (1, 2):
        ready(zygote, worker)


def test_a_fork_that_fails_leaves_nothing(play):
    """EAGAIN at either fork: NotForked, no zombie, no descriptor, and later it works."""
    # RLIMIT_NPROC does not bind root.  In the plan, 1 fails: the zygote's own fork
    # the second time, the middle process's (it goes on in a copy) the third time.
    code = """
import errno
real, plan = os.fork, [0, 1, 0, 0]
nested = [0, 0, 1, 0]
zygote = os.getpid()
def fork():
    fails = plan.pop(0) if os.getpid() == zygote else nested[3 - len(plan)]
    if fails:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return real()
os.fork = fork
"""
    zygote = play(APP + NO_SPARE + code).begin()
    zygote.says()
    ready(zygote, 1)
    before = sorted(os.listdir(f"/proc/{zygote.pid}/fd"))
    for worker in (2, 3):
        answer, channel = zygote.fork(worker)
        assert answer == NotForked(worker, "[Errno 11] Resource temporarily unavailable")
        closed(channel)
        assert sorted(os.listdir(f"/proc/{zygote.pid}/fd")) == before
        assert procfs.children_of(zygote.pid) == []
    ready(zygote, 4, 1)


@pytest.mark.parametrize("reaper", ["signal.SIG_IGN", "lambda *_: os.waitpid(-1, 0)"])
def test_who_minds_its_children_itself_is_forked(play, reaper):
    """The kernel, or the application's handler, may have reaped the middle process.

    That handler is for processes that serve: it raises where there is no child left.
    """
    code = f"signal.signal(signal.SIGCHLD, {reaper})\nreaper = signal.getsignal(signal.SIGCHLD)"
    zygote = play(APP + code).begin()
    zygote.says()
    for worker in (1, 2, 3):
        ready(zygote, worker)
    told = "signal.getsignal(signal.SIGCHLD) is sys.modules['chat'].reaper"
    assert value(zygote, told) == "True"


def test_no_descriptor_for_the_pipe_is_an_answer_too(play):
    """EMFILE: NotForked, and the zygote lives on."""
    zygote = play(APP + NO_SPARE).begin()
    zygote.says()
    ready(zygote, 0)
    used = {int(name) for name in os.listdir(f"/proc/{zygote.pid}/fd")}
    free = min(set(range(1024)) - used)
    # One more for the worker's channel, none for the pipe.
    old = resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE, (free + 1, old[1]))
    answer, _ = zygote.fork(1)
    assert isinstance(answer, NotForked) and "Too many open files" in answer.error
    resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE, old)
    ready(zygote, 2, 1)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="warns since 3.12")
def test_warnings_as_errors_do_not_break_the_fork(play):
    """Python warns of threads at a fork; raised, that would be after the fork."""
    code = (
        APP
        + "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    zygote = play(code, flags=("-W", "error::DeprecationWarning")).begin()
    assert len(zygote.says().hazards) == 1
    ready(zygote)


# --- signals and ends ------------------------------------------------------------------


def test_term_and_int_do_not_end_a_zygote(play):
    """A service manager sends TERM to the whole control group."""
    zygote = play(APP).begin()
    zygote.says()
    os.kill(zygote.pid, signal.SIGTERM)
    os.kill(zygote.pid, signal.SIGINT)
    ready(zygote)


def test_a_worker_has_the_default_action_until_it_is_ready(play):
    """Or what the application has installed; and SIGCHLD is at its default."""
    look = """
seen = []
signal.signal(signal.SIGINT, print)
async def make_app():
    seen[:] = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)]
    return tornado.web.Application([("/", Evaluate)])
"""
    zygote = play(APP + look).begin()
    zygote.says()
    ready(zygote)
    seen = value(zygote, "sys.modules['chat'].seen")
    assert seen.startswith(
        "[<Handlers.SIG_DFL: 0>, <built-in function print>, <Handlers.SIG_DFL: 0>"
    )


def test_what_the_application_executes_is_not_deaf(play):
    """A handler is not inherited by exec, SIG_IGN would be."""
    code = (
        "import subprocess\nout = subprocess.run(['cat', '/proc/self/status'], capture_output=True)"
    )
    zygote = play(APP + code + "\nprint(out.stdout.decode())").begin(rehearse=True)
    zygote.ends()
    line = next(x for x in zygote.log.read_text().splitlines() if x.startswith("SigIgn"))
    assert int(line.split()[1], 16) & (1 << signal.SIGTERM - 1 | 1 << signal.SIGINT - 1) == 0


def test_what_the_application_forks_obeys_a_signal(play):
    """`multiprocessing` ends its children by TERM and waits for them."""
    code = """
import multiprocessing, time
child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
child.start()
child.terminate()
child.join(20)
print("ended by", child.exitcode, flush=True)
"""
    zygote = play(APP + code).begin(rehearse=True)
    zygote.ends()
    assert "ended by -15\n" in zygote.log.read_text()


def test_the_end_of_its_channel_ends_a_zygote(play):
    """At once, with status 0, and its workers serve on."""
    zygote = play(APP).begin()
    zygote.says()
    ready(zygote)
    zygote.channel.close()
    assert zygote.ends() == 0
    assert value(zygote, "1 + 1") == "2"


def test_the_end_before_begin_ends_it_too(play):
    """A supervisor that died at once."""
    zygote = play(APP)
    zygote.channel.close()
    assert zygote.ends() == 0


def test_somebody_elses_child_does_not_start(play, monkeypatch):
    """The supervisor on its command line is not its parent: there would be nobody to end it."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    zygote = play(APP)
    monkeypatch.undo()
    assert zygote.ends() == 0


def test_a_message_that_is_not_for_it_is_survived(play):
    """It says so and forks on."""
    zygote = play(APP).begin()
    zygote.says()
    zygote.channel.send(Drain("stop", 1.0, 0.0))
    zygote.channel.send(Fork(7, 0, 1, 0, (Descriptor(0), Descriptor(1))))
    ready(zygote)
    assert "not for a zygote: Drain" in zygote.log.read_text()


def test_a_spawned_worker_serves_like_a_forked_one(play):
    """Same names, its own import, a baseline for those who come after."""
    worker = play(APP + "at_import = os.environ['LEEWARD_SLOT']", role="worker").begin()
    worker.channel.send(Fork(9, 2, 1, 1))
    assert worker.says() == Hello(worker.pid)
    message = worker.says()
    assert isinstance(message, Ready) and len(message.baseline) == 1
    assert value(worker, "sys.modules['chat'].at_import, os.environ['LEEWARD_GENERATION']") == str(
        ("2", "3")
    )
    assert value(worker, "prctl.get_pdeathsig()") == str(int(signal.SIGKILL))
