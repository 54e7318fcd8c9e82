"""How a process ended, in words and in facts."""

import signal

import pytest

from leeward._supervisor.ends import Coroner
from leeward._sys import cgroup


@pytest.mark.parametrize(
    ("status", "why", "sigkill"),
    [
        (0, "exited with code 0", False),
        (3 << 8, "exited with code 3", False),
        (signal.SIGSEGV, "killed by SIGSEGV", False),
        (signal.SIGABRT | 0x80, "killed by SIGABRT, core dumped", False),
        (signal.SIGKILL, "killed by SIGKILL", True),
        (60, "killed by signal 60", False),
        (35, "killed by signal 35", False),
    ],
)
def test_a_wait_status_is_told_by_name(status, why, sigkill):
    """By the signal's name, with the exit code, and with a core dump."""
    death = Coroner().death(status, served=True)
    assert (death.why, death.sigkill, death.served) == (why, sigkill, True)


@pytest.mark.parametrize("status", [0, signal.SIGSEGV])
def test_a_zygote_that_has_not_loaded_says_so(status):
    """Else nobody would look for the cause in what a module does when it is imported."""
    why = Coroner().death(status, served=False, loading=True).why
    assert why.endswith(" before the application was loaded")


def test_the_kernels_kill_is_told_from_somebody_elses(monkeypatch):
    """By the control group's counter, which rises once for each."""
    count = [4]
    monkeypatch.setattr(cgroup, "oom_kills", lambda: count[0])
    coroner = Coroner()
    assert coroner.death(signal.SIGKILL, False).why == "killed by SIGKILL"
    count[0] = 5
    found = coroner.death(signal.SIGKILL, False)
    assert found.why == "killed by the kernel: out of memory" and not found.sigkill
    assert coroner.death(signal.SIGKILL, False).why == "killed by SIGKILL"


def test_the_kernels_kill_of_somebody_unknown_is_not_the_next_ones(monkeypatch):
    """A child that has no place (a spare, a stray) ended so; then somebody kills a worker."""
    count = [4]
    monkeypatch.setattr(cgroup, "oom_kills", lambda: count[0])
    coroner = Coroner()
    count[0] = 5
    coroner.unknown(signal.SIGKILL)
    assert coroner.death(signal.SIGKILL, False).why == "killed by SIGKILL"
    count[0] = 6
    coroner.unknown(signal.SIGTERM)
    assert coroner.death(signal.SIGKILL, False).why == "killed by the kernel: out of memory"
