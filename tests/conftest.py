"""What is compiled before the first test, and what never is; and which signals are let in.

A test of processes starts half a dozen interpreters.  Where each compiles Leeward anew
(PYTHONDONTWRITEBYTECODE is set in many a CI image) a service with two workers costs 1.4 s of
CPU instead of 0.8.  So the package, the applications and the tests are compiled once, up front.
From then on nobody writes bytecode: it is known by the second and the size of its source, and a
test writes two versions of a module within a second.
"""

from __future__ import annotations

import compileall
import gc
import os
import signal
import sys
from pathlib import Path

import pytest

import leeward

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    # `nohup` and a shell's `&` have them ignored, and so would be all that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for signum in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)
    sys.dont_write_bytecode = False
    if not hasattr(config, "workerinput"):
        for place in (Path(leeward.__file__).parent, HERE / "apps", HERE.parent / "examples"):
            compileall.compile_dir(place, quiet=2)


def pytest_collection_finish() -> None:
    sys.dont_write_bytecode = True
    # Thousands of tests are collected: looking through them again and again is 9 % of the core's.
    gc.collect()
    gc.freeze()
