"""A process stays with its supervisor, or learns at once that it cannot."""

import os
import select
import signal

import pytest

from leeward._sys import prctl
from leeward._sys.parentage import Orphaned, stay_with


def run(child):
    """Exit status of a forked process that runs `child`; bounded by a pidfd."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(child() or 0)
        except Orphaned:
            os._exit(77)
        except BaseException:
            os._exit(1)
    pidfd = os.pidfd_open(pid)
    try:
        assert select.select([pidfd], [], [], 10)[0]
    finally:
        os.close(pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_of_the_supervisor_is_armed_at_once():
    """PDEATHSIG is SIGKILL afterwards."""
    supervisor = os.getpid()

    def child():
        stay_with(supervisor)
        return 0 if prctl.get_pdeathsig() == signal.SIGKILL else 1

    assert run(child) == 0


def test_an_orphan_waits_for_its_adoption():
    """The middle process ends, the sub-reaper becomes the parent, and then it is armed."""
    reader, writer = os.pipe()

    def child():
        prctl.set_child_subreaper()
        supervisor = os.getpid()
        if os.fork() == 0:  # the middle process
            if os.fork() == 0:
                stay_with(supervisor)
                os.write(writer, b"%d" % prctl.get_pdeathsig())
                os._exit(0)
            os._exit(0)
        for _ in range(2):
            os.wait()
        return 0

    assert run(child) == 0
    assert os.read(reader, 10) == b"9"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("zombie", [True, False])
def test_a_dead_supervisor_is_noticed_at_once(zombie):
    """Reaped or not: nobody waits five seconds for a parent that cannot come."""
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    pidfd = os.pidfd_open(dead)
    assert select.select([pidfd], [], [], 10)[0]
    os.close(pidfd)
    if not zombie:
        os.waitpid(dead, 0)
    reader, writer = os.pipe()

    def child():
        try:
            stay_with(dead)
        except Orphaned:
            os.write(writer, b"orphaned")
        return 0

    pid = os.fork()
    if pid == 0:
        child()
        os._exit(0)
    assert select.select([reader], [], [], 2)[0], "still waiting after 2 s"
    assert os.read(reader, 20) == b"orphaned"
    os.waitpid(pid, 0)
    if zombie:
        os.waitpid(dead, 0)
    os.close(reader)
    os.close(writer)
