"""A spare: forked before there is an order, and then a worker like any other."""

import os
import re
import resource
import signal

import pytest
from process.support import asleep, until
from zygote.test_zygote import APP, closed, ready, value

from leeward._core.messages import NotForked, Renew, Tune
from leeward._core.record import replace
from leeward._sys import procfs


def spare(played):
    """The one that it makes when it has been quiet, once it waits for its order."""

    def waits():
        return [it for it in played.spares() if procfs.state_of(it) == "S"]

    (pid,) = until(waits, "a spare")
    played.pids.append(pid)
    return pid


def rests(played):
    """Wait until it has done what it does when nobody asks for anything."""
    until(lambda: asleep(played.pid), "the zygote to rest")


@pytest.fixture
def zygote(play):
    """One that has forked its first worker, as each does, and is quiet."""
    zygote = play(APP, env={"LEEWARD_INSTANCE": "/c:1"}, loop="asyncio").begin()
    zygote.says()
    ready(zygote, 1)
    return zygote


def test_it_takes_the_next_order(zygote):
    """It is that worker: parent, group, PDEATHSIG, names; and there is another behind it."""
    pid = spare(zygote)
    os.kill(zygote.pids[1], signal.SIGKILL)
    assert ready(zygote, 2, 4) == pid
    assert value(zygote, "os.getpid(), os.getppid()") == str((pid, os.getpid()))
    assert value(zygote, "os.getsid(0), os.getpgid(0)") == str((pid, pid))
    assert value(zygote, "prctl.get_pdeathsig()") == str(int(signal.SIGKILL))
    assert value(zygote, "os.environ['LEEWARD_SLOT']") == "4"
    assert value(zygote, "os.environ['LEEWARD_INSTANCE']") == f"/c:1:{pid}"
    assert value(zygote, "open('/proc/self/comm').read()") == "leeward w4 g3\n"
    assert value(zygote, "signal.getsignal(signal.SIGCHLD)") == str(signal.SIG_DFL)
    assert spare(zygote) != pid


def test_it_has_what_a_worker_has_and_no_more(zygote):
    """The same descriptors as a worker that was forked on its order."""
    held = "sorted(os.readlink('/proc/self/fd/'+f).split(':')[0] "
    held += "for f in os.listdir('/proc/self/fd')[:-1])"
    forked = value(zygote, held)
    pid = spare(zygote)
    os.kill(zygote.pids[1], signal.SIGKILL)
    zygote.ends(zygote.pids[1])
    assert ready(zygote, 2) == pid
    assert value(zygote, held) == forked


def test_the_zygote_keeps_nothing_of_one_that_has_gone(zygote):
    """As many descriptors with the second spare as with the first, and no child."""
    spare(zygote)
    rests(zygote)
    before = sorted(os.listdir(f"/proc/{zygote.pid}/fd"))
    ready(zygote, 2, 1)
    spare(zygote)
    rests(zygote)
    assert sorted(os.listdir(f"/proc/{zygote.pid}/fd")) == before
    assert procfs.children_of(zygote.pid) == []


def test_no_two_draw_the_same_numbers(play):
    """Each is seeded anew before its order, as is what forks on one."""
    dice = "import random\ndice = random.Random()\n"  # which Python does not seed in a child
    zygote = play(APP + dice).begin()
    zygote.says()
    drawn = set()
    spare(zygote)
    for worker in range(4):
        pid = ready(zygote, worker, worker)
        drawn.add(value(zygote, "sys.modules['chat'].dice.random()"))
        forked = spare(zygote)
        os.kill(pid, signal.SIGKILL)
        zygote.ends(pid)
        assert ready(zygote, worker + 10, worker) == forked
        drawn.add(value(zygote, "sys.modules['chat'].dice.random()"))
        os.kill(forked, signal.SIGKILL)
        zygote.ends(forked)
        os.kill(spare(zygote), signal.SIGKILL)  # the next is forked on its order
    assert len(drawn) == 8


def test_its_start_begins_with_its_order(play):
    """However long it has waited: the time-out of a start is that of its factory and resources."""
    code = """
import asyncio, leeward
@leeward.per_worker
async def opened():
    await asyncio.sleep(0.3)
    yield 1
"""
    zygote = play(APP + code, start_timeout=2.0).begin()
    zygote.says()
    pid = spare(zygote)
    until(lambda: (procfs.age(pid) or 0) > 2.2, "it to be older than a start may last")
    assert ready(zygote, 1) == pid


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_one_that_was_killed_is_not_missed(zygote, signum):
    """The zygote forks, as it does without one."""
    pid = spare(zygote)
    os.kill(pid, signum)
    assert zygote.ends(pid) == -signum
    assert ready(zygote, 2, 1) != pid
    assert spare(zygote) != pid


def test_one_that_is_stopped_is_not_waited_for(zygote):
    """The zygote forks; what was stopped never comes back as a second worker."""
    pid = spare(zygote)
    os.kill(pid, signal.SIGSTOP)
    assert ready(zygote, 2, 1) != pid
    assert zygote.ends(pid) == -signal.SIGKILL


def test_none_outlives_a_killed_zygote(zygote):
    """It sees the end of it."""
    pid = spare(zygote)
    os.kill(zygote.pid, signal.SIGKILL)
    zygote.ends()
    assert zygote.ends(pid, 1.0) == 0


def test_it_leaves_before_its_zygote(zygote):
    """Whoever waits for the end of the zygote finds none."""
    pid = spare(zygote)
    zygote.channel.close()
    assert zygote.ends() == 0
    assert procfs.state_of(pid) == "Z"
    assert zygote.ends(pid) == 0


def test_a_stopped_one_does_not_keep_its_zygote(zygote):
    """It is killed half a second later, and its end awaited."""
    pid = spare(zygote)
    os.kill(pid, signal.SIGSTOP)
    zygote.channel.close()
    assert zygote.ends() == 0
    assert procfs.state_of(pid) == "Z"
    assert zygote.ends(pid) == -signal.SIGKILL


def test_what_it_would_not_know_of_ends_it(zygote):
    """Settings that change reach the next worker; another spare knows them too."""
    pid = spare(zygote)
    zygote.channel.send(Tune(replace(zygote.config, graceful_timeout=7.5).to_json()))
    zygote.ends(pid)
    assert spare(zygote) != pid


def test_what_is_not_understood_leaves_it(zygote):
    """No certificate is there to be renewed."""
    pid = spare(zygote)
    zygote.channel.send(Renew(()))
    assert ready(zygote, 2, 1) == pid


HOOKED = """
import subprocess, threading
kept = [open("/dev/null")]
def hook():
    os.write(2, b"hooked %d\\n" % os.getpid())
    {}
os.register_at_fork(after_in_child=hook)
"""


def hooked(played):
    """The pids in which the hook was run, once each."""
    return list(dict.fromkeys(re.findall(r"hooked (\d+)", played.log.read_text())))


@pytest.mark.parametrize(
    ("does", "word"),
    [
        ("threading.Thread(target=threading.Event().wait, daemon=True).start()", "a thread"),
        ("kept.append(open(sys.executable))", "python"),
        ("kept.pop().close(); kept.append(open(sys.executable))", "python"),
        ("kept.append(subprocess.Popen(['sleep', '2']))", "a process"),
    ],
    ids=["thread", "opened", "opened-anew", "process"],
)
def test_hooks_that_open_or_start_something_allow_none(play, does, word):
    """It would wait with that until there is an order.  It is tried once, and why is said."""
    zygote = play(APP + HOOKED.format(does), log_level="debug").begin()
    zygote.says()
    until(lambda: len(hooked(zygote)) == 2, "a spare to be tried, by way of a middle process")
    tried = int(hooked(zygote)[-1])
    rests(zygote)
    assert ready(zygote, 1) != tried
    zygote.ends(tried)
    rests(zygote)
    assert zygote.spares() == []
    assert len(hooked(zygote)) == 4
    why = f"zygote gen=3: no spare: an at-fork hook of the application has .*{word}"
    assert re.search(why, zygote.log.read_text())


def test_hooks_that_close_what_is_not_theirs_allow_one(play):
    """As they should."""
    zygote = play(APP + HOOKED.format("kept.pop().close() if kept else None")).begin()
    zygote.says()
    pid = spare(zygote)
    assert ready(zygote, 1) == pid


def test_what_raises_in_it_is_told_by_who_is_forked_on_its_order(play):
    """No exit function runs, and nothing is written, for a process that is nobody yet."""
    code = """
import atexit
from leeward._zygote.repair import Repairs
atexit.register(print, "atexit")
def mend(self):
    raise TypeError("not in here")
Repairs.mend = mend
"""
    zygote = play(APP + code, log_level="debug").begin()
    zygote.says()
    rests(zygote)
    assert zygote.log.read_text() == ""
    _, channel = zygote.fork(1)
    closed(channel)
    said = zygote.log.read_text()
    assert "no spare: TypeError: not in here" in said and said.count("Traceback") == 1


def test_a_hook_that_only_looks_allows_one(play):
    """It runs in the spare, whose pid is the worker's."""
    zygote = play(APP + HOOKED.format("kept.append(os.getpid())")).begin()
    zygote.says()
    pid = spare(zygote)
    assert ready(zygote, 1) == pid
    assert value(zygote, "sys.modules['chat'].kept[-1]") == str(pid)


def test_a_second_thread_allows_none(play):
    """It goes on changing what a spare would have an old copy of."""
    code = """
import threading, time
def count():
    while True:
        time.sleep(0.01)
        counted.append(1)
counted = []
threading.Thread(target=count, daemon=True).start()
"""
    zygote = play(APP + code, hazards=("warn",)).begin()
    zygote.says()
    rests(zygote)
    assert zygote.spares() == []
    ready(zygote, 1)


def test_no_descriptor_for_one_costs_nothing(zygote):
    """EMFILE: there is none, and orders are obeyed as soon as they can be."""
    first = spare(zygote)
    rests(zygote)
    used = {int(name) for name in os.listdir(f"/proc/{zygote.pid}/fd")}
    free = min(set(range(1024)) - used)
    old = resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE)
    # One for the order's channel; two more are free when the spare is none any more.
    resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE, (free + 1, old[1]))
    assert ready(zygote, 2, 1) == first
    rests(zygote)
    assert zygote.spares() == []
    resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE, old)
    ready(zygote, 3, 2)
    spare(zygote)


def test_of_a_thousand_descriptors(play):
    """Its own numbers are above those that select(2) knows."""
    code = "import resource\nkept = [open('/dev/null') for _ in range(1100)]\n"
    zygote = play(APP + code, flags=("-X", "faulthandler"))
    resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE, (4096, 4096))
    zygote.begin().says()
    pid = spare(zygote)
    zygote.channel.send(Tune(zygote.config.to_json()))
    zygote.ends(pid)
    assert ready(zygote, 1) != pid


def test_a_middle_process_that_is_stopped_is_given_up(play):
    """In less time than the supervisor gives its zygote: it need not import anew.

    And none is forked ahead any more, behind which an order would have to wait.
    """
    code = """
import signal
from leeward._zygote import fork, spare
fork.fork_twice.__defaults__ = (1.0,)
spare.FORKING = 0.5
zygote = os.getpid()
def stop():
    if os.getppid() == zygote:
        os.write(2, b"stopped ")
        os.kill(os.getpid(), signal.SIGSTOP)
os.register_at_fork(after_in_child=stop)
"""
    zygote = play(APP + code, log_level="debug").begin()
    zygote.says()
    why = "the middle process ended before it could fork"
    until(lambda: f"no spare: {why}" in zygote.log.read_text(), "a spare to be given up")
    answer, channel = zygote.fork(1)
    assert answer == NotForked(1, why)
    closed(channel)
    rests(zygote)
    assert zygote.log.read_text().count("stopped") == 2
    assert procfs.children_of(zygote.pid) == []
