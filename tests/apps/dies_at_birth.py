"""Every worker ends the moment that it begins, in the way that DIES names."""

import ctypes
import os
import signal
import sys


def make_app() -> None:
    how = os.environ["DIES"]
    if how == "exit":
        os._exit(1)
    if how == "sys.exit":
        sys.exit(0)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
