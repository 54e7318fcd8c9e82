"""Whoever ends `leeward serve` before there is a supervisor ends all that it has begun."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from process.support import PATIENCE, gone, until

PROGRAM = """\
import os, subprocess
from pathlib import Path

helper = subprocess.Popen(["sleep", "3600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
Path("helper.new").write_text(str(helper.pid))
os.rename("helper.new", "helper")
Path("gate").read_bytes()

from tornado.ioloop import IOLoop
from tornado.web import Application

Application([]).listen(0, "127.0.0.1")
IOLoop.current().start()
"""


@contextmanager
def begun(place: Path, verb: str, *before: str) -> Iterator[subprocess.Popen[bytes]]:
    """`leeward serve`, whose rehearsed program waits at a gate; what it has begun is in a file."""
    (place / "own.py").write_text(PROGRAM)
    os.mkfifo(place / "gate")
    run = place / "run"
    run.mkdir(mode=0o700)
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "leeward", verb, "own.py", "--kind", "script"],
        cwd=place,
        env={**os.environ, "XDG_RUNTIME_DIR": str(run)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def helper_of(place: Path) -> int:
    until((place / "helper").exists, "the program's first lines")
    return int((place / "helper").read_text())


@pytest.mark.parametrize("verb", ["serve", "check"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_nothing_is_left_behind(tmp_path: Path, verb: str, signum: signal.Signals) -> None:
    with begun(tmp_path, verb) as process:
        helper = helper_of(tmp_path)
        process.send_signal(signum)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 128 + signum, said
        assert b"Traceback" not in said
    assert gone(helper)
    assert not list((tmp_path / "run").rglob("*.sock"))


def test_what_nohup_has_ignored_stays_ignored(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with begun(tmp_path, "serve", "nohup") as process:
        helper_of(tmp_path)
        process.send_signal(signal.SIGHUP)
        with open(gate, "wb"):
            gate.unlink()
            gate.write_bytes(b"")  # it stands open for the zygote
        assert process.stderr is not None
        assert any(b" ready" in line for line in process.stderr)
        process.terminate()
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0


def test_as_pid_1_it_hears_of_its_end(tmp_path: Path) -> None:
    """The kernel throws away what has its default action there."""
    unshare = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here: apt-get install util-linux")
    tried = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"cannot make a pid namespace here: {tried.stderr.strip()}")
    with begun(tmp_path, "serve", *unshare) as process:
        until((tmp_path / "helper").exists, "the program's first lines")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 128 + signal.SIGTERM
