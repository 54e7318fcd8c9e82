"""Where a start hangs is found in what faulthandler has written."""

import faulthandler
import os
import sys

from leeward._supervisor.stacks import where
from leeward._sys.posix import memfd_create

SAMPLE = b"""Timeout (0:00:00.500000)!
Thread 0x00007f0b0b7fe6c0 (most recent call first):
  File "/srv/app/metrics.py", line 9 in run
Thread 0x00007f2baba85b80 (most recent call first):
  File "/srv/venv/lib/python3.13/site-packages/redis/connection.py", line 380 in connect
  File "/srv/app/cache.py", line 12 in connect
  File "/srv/app/chat.py", line 5 in <module>
  File "<frozen importlib._bootstrap>", line 488 in _call_with_frames_removed
"""


def written(data):
    fd = memfd_create("stack")
    os.write(fd, data)
    return fd


def test_the_applications_frames_of_the_main_thread_are_shown():
    """Outermost first, without libraries, the import system and other threads."""
    fd = written(SAMPLE)
    assert where(fd) == "  /srv/app/chat.py:5 in <module>\n  /srv/app/cache.py:12 in connect"
    os.close(fd)


def test_a_real_stack_is_understood():
    """As this interpreter writes it."""
    fd = memfd_create("stack")
    faulthandler.dump_traceback(fd)
    assert f"{__file__}:{sys._getframe().f_lineno - 1} in test_a_real_stack" in where(fd)
    os.close(fd)


def test_nothing_written_and_rubbish_are_nothing_to_show():
    """A process that died before its stack was due."""
    for data in (b"", b"\xff\xfe\x00rubbish\n  File\n"):
        fd = written(data)
        assert where(fd) == ""
        os.close(fd)
