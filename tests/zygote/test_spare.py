"""A spare: forked before there is an order, and then a worker like any other."""

import os
import resource
import signal

import pytest
from process.support import asleep, until
from zygote.test_zygote import APP, ready, value

from leeward._core.messages import Renew, Tune
from leeward._core.record import replace
from leeward._sys import procfs


def spares(played):
    """The pids of the living ones; adopted by us, as a supervisor adopts them."""
    name = f"spare {played.pid}"
    mine = procfs.children_of(os.getpid())
    return [it for it in mine if procfs.comm(it) == name and procfs.state_of(it) not in "ZX"]


def spare(played):
    """The one that it makes when it has been quiet, once it waits for its order."""

    def waits():
        return [it for it in spares(played) if procfs.state_of(it) == "S"]

    (pid,) = until(waits, "a spare")
    played.pids.append(pid)
    return pid


def goes(played, pid):
    """Wait until it has ended, whatever its status."""
    played.ends(pid)
    assert spares(played) == []


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
    until(lambda: asleep(zygote.pid), "the zygote to rest")
    before = sorted(os.listdir(f"/proc/{zygote.pid}/fd"))
    ready(zygote, 2, 1)
    spare(zygote)
    until(lambda: asleep(zygote.pid), "the zygote to rest")
    assert sorted(os.listdir(f"/proc/{zygote.pid}/fd")) == before
    assert procfs.children_of(zygote.pid) == []


def test_no_two_draw_the_same_numbers(play):
    """Neither two spares nor a spare and a worker that was forked on its order."""
    seeded = "import random\nrandom.seed(1)\n"
    zygote = play(APP + seeded).begin()
    zygote.says()
    drawn = set()
    for worker in range(3):
        pid = ready(zygote, worker, worker)
        drawn.add(value(zygote, "sys.modules['chat'].random.random()"))
        next_one = spare(zygote)
        os.kill(pid, signal.SIGKILL)
        zygote.ends(pid)
        assert next_one != pid
    assert len(drawn) == 3


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


def test_none_outlives_its_zygote(zygote):
    """Killed; or at its end in good order, behind which there is none at all."""
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
    """It is killed half a second later."""
    pid = spare(zygote)
    os.kill(pid, signal.SIGSTOP)
    zygote.channel.close()
    assert zygote.ends() == 0
    assert zygote.ends(pid) == -signal.SIGKILL


def test_what_it_would_not_know_of_ends_it(zygote):
    """Settings that change reach the next worker; another spare knows them too."""
    pid = spare(zygote)
    zygote.channel.send(Tune(replace(zygote.config, graceful_timeout=7.5).to_json()))
    goes(zygote, pid)
    assert spare(zygote) != pid


def test_what_is_not_understood_leaves_it(zygote):
    """No certificate is there to be renewed."""
    pid = spare(zygote)
    zygote.channel.send(Renew(()))
    assert ready(zygote, 2, 1) == pid


HOOKED = """
def hook():
    os.write(2, b"hooked %d\\n" % os.getpid())
    {}
os.register_at_fork(after_in_child=hook)
"""


@pytest.mark.parametrize(
    "does",
    [
        "threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "kept.append(open('/dev/null'))",
    ],
)
def test_hooks_that_open_or_start_something_allow_none(play, does):
    """It would wait with that until there is an order.  It is tried once."""
    zygote = play(APP + "import threading\nkept = []\n" + HOOKED.format(does)).begin()
    zygote.says()
    first = ready(zygote, 1)
    before = zygote.log.read_text().count("hooked")
    assert before == 2  # the middle process, and the worker
    until(lambda: zygote.log.read_text().count("hooked") == before + 2, "a spare to be tried")
    tried = int(zygote.log.read_text().split()[-1])
    assert ready(zygote, 2, 1) not in (first, tried)
    zygote.ends(tried)
    assert spares(zygote) == []
    assert zygote.log.read_text().count("hooked") == before + 4
    until(lambda: asleep(zygote.pid), "the zygote to rest")
    assert zygote.log.read_text().count("hooked") == before + 4


def test_a_hook_that_only_looks_allows_one(play):
    """It runs in the spare, whose pid is the worker's."""
    zygote = play(APP + HOOKED.format("seen.append(os.getpid())") + "seen = []\n").begin()
    zygote.says()
    pid = spare(zygote)
    assert ready(zygote, 1) == pid
    assert value(zygote, "sys.modules['chat'].seen[-1]") == str(pid)


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
    until(lambda: asleep(zygote.pid), "its main thread to rest")
    assert spares(zygote) == []
    ready(zygote, 1)


def test_no_descriptor_for_one_costs_nothing(zygote):
    """EMFILE: there is none, and orders are obeyed as soon as they can be."""
    first = spare(zygote)
    until(lambda: asleep(zygote.pid), "the zygote to rest")
    used = {int(name) for name in os.listdir(f"/proc/{zygote.pid}/fd")}
    free = min(set(range(1024)) - used)
    old = resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE)
    # One for the order's channel; two more are free when the spare is none any more.
    resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE, (free + 1, old[1]))
    assert ready(zygote, 2, 1) == first
    until(lambda: asleep(zygote.pid), "the zygote to rest")
    assert spares(zygote) == []
    resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE, old)
    ready(zygote, 3, 2)
    spare(zygote)
