"""prctl, each option seen in its effect."""

from __future__ import annotations

import signal

import pytest

from leeward._sys import prctl


def test_orphans_come_to_the_sub_reaper(python):
    """With the flag set a grandchild whose parent ended is ours; the flag survives exec."""
    out = python(
        "import os, sys\n"
        "from leeward._sys import prctl\n"
        "if len(sys.argv) == 1:\n"
        "    assert not prctl.get_child_subreaper()\n"
        "    prctl.set_child_subreaper()\n"
        "    os.execv(sys.executable, [sys.executable, '-c', open('/proc/self/cmdline')\n"
        "        .read().split('\\0')[2], 'again'])\n"
        "assert prctl.get_child_subreaper()\n"
        "if (child := os.fork()) == 0:\n"
        "    assert not prctl.get_child_subreaper()\n"
        "    if os.fork() == 0:\n"
        "        os._exit(7)\n"
        "    os._exit(0)\n"
        "codes = sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(2))\n"
        "prctl.set_child_subreaper(False)\n"
        "print(codes, prctl.get_child_subreaper())"
    )
    assert out == "[0, 7] False"


def test_a_child_dies_with_its_parent(python):
    """SIGKILL arrives when the parent dies, however it dies; fork does not pass it on."""
    out = python(
        "import os, signal\n"
        "from leeward._sys import prctl\n"
        "prctl.set_child_subreaper()\n"
        "ready, say = os.pipe()\n"
        "if (middle := os.fork()) == 0:\n"
        "    if os.fork() == 0:\n"
        "        prctl.set_pdeathsig(signal.SIGKILL)\n"
        "        assert prctl.get_pdeathsig() == signal.SIGKILL\n"
        "        if os.fork() == 0:\n"
        "            os.write(say, str(prctl.get_pdeathsig()).encode())\n"
        "            os._exit(0)\n"
        "        os.wait()\n"
        "        os.write(say, b'!')\n"
        "        signal.pause()\n"
        "    signal.pause()\n"
        "heard = b''\n"
        "while not heard.endswith(b'!'): heard += os.read(ready, 10)\n"
        "os.kill(middle, signal.SIGKILL)\n"
        "print(heard, sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(2)))"
    )
    assert out == "b'0!' [-9, -9]"


def test_names_and_dumpability_are_set(python):
    """A thread's name is cut to 15 bytes; dumpable decides who owns /proc/self."""
    out = python(
        "import os\n"
        "from leeward._sys import prctl\n"
        "prctl.set_name('leeward worker 12')\n"
        "prctl.set_dumpable(False)\n"
        "prctl.set_dumpable(True)\n"
        "print(open('/proc/self/comm').read(), os.stat('/proc/self/fd').st_uid == os.getuid())"
    )
    assert out.split() == ["leeward", "worker", "True"]


def test_each_option_works_in_place():
    """The same calls in this process, put back as they were."""
    was = prctl.get_child_subreaper()
    prctl.set_child_subreaper()
    assert prctl.get_child_subreaper()
    prctl.set_child_subreaper(was)
    prctl.set_dumpable(True)
    with open("/proc/self/comm") as file:
        name = file.read().rstrip("\n")
    prctl.set_name(name)


def test_a_wrong_argument_raises_oserror():
    """The kernel's refusal is an OSError and not a silent -1."""
    before = prctl.get_pdeathsig()
    with pytest.raises(OSError, match="Invalid argument"):
        prctl.set_pdeathsig(signal.NSIG + 1)
    assert prctl.get_pdeathsig() == before


def test_importing_the_module_does_not_import_ctypes(python):
    """ctypes comes with the first call."""
    assert python("import sys; import leeward._sys.prctl; print('ctypes' in sys.modules)") == (
        "False"
    )
