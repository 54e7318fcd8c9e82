"""A system that lacks something from the beginning, or loses it, is told by name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from process.clients import address_of, get
from process.support import APPS, unprivileged, wrapped

from leeward.testing import serve

#: A seccomp filter that answers EPERM to pidfd_open (434 on every machine but alpha), as
#: Docker's did before 20.10; then the interpreter.
FILTER = """
import ctypes, os, struct, sys

OLD = [(0x20, 0, 0, 0), (0x15, 0, 1, 434), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *it) for it in OLD))
program = ctypes.create_string_buffer(struct.pack("@HP", len(OLD), ctypes.addressof(code)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, program, 0, 0):
    sys.exit(f"no seccomp: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("verb", ["serve", "check"])
def test_an_old_seccomp_profile_is_told(tmp_path: Path, verb: str) -> None:
    """One error in two lines, and nothing is begun; not workers that die one after another."""
    (tmp_path / "filter.py").write_text(FILTER)
    python = wrapped(tmp_path, f'exec "$python" {tmp_path}/filter.py "$python" "$@"')
    tried = subprocess.run(
        [python, "-c", "import os; os.pidfd_open(os.getpid())"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if "PermissionError" not in tried.stderr:
        pytest.skip(f"seccomp cannot be used here: {tried.stderr.strip()[-200:]}")
    done = subprocess.run(
        [python, "-m", "leeward", verb, "hello", "--bind", "127.0.0.1:0", "--name", "refused"],
        cwd=APPS,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert first.startswith("leeward: the system call pidfd_open is refused here")
    assert "Operation not permitted" in first and "seccomp" in second
    assert not (tmp_path / "leeward").exists()


def test_files_that_may_not_be_written_are_told(tmp_path: Path) -> None:
    """`ulimit -f` holds for memfds too: EFBIG is the system's doing, and no bug."""
    python = wrapped(tmp_path, 'ulimit -f 1\nexec "$python" "$@"')
    with serve("hello", cwd=APPS, python=python) as service:
        assert service.wait() == 1
        assert (
            service.log == "leeward: cannot start: File too large\nSee what is allowed: ulimit -a"
        )


def test_a_directory_that_is_closed_meanwhile_makes_no_failed_stop(tmp_path: Path) -> None:
    """The control socket cannot be removed: the next start clears it, and this one ends well."""
    with serve("hello", cwd=APPS, python=unprivileged(tmp_path)) as service:
        service.wait_ready(1)
        (directory,) = {it.parent for it in service.directory.rglob("*.sock")}
        directory.chmod(0o500)
        try:
            service.signal(signal.SIGTERM)
            assert service.wait() == 0
        finally:
            directory.chmod(0o700)
        assert service.lines[-1].endswith(" stopped")


def test_an_interpreter_that_vanished_is_named(tmp_path: Path) -> None:
    """A deploy moves the virtual environment away: which file is missing stands in the line."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    for name in ("pyvenv.cfg", "lib"):
        (tmp_path / "venv" / name).symlink_to(Path(sys.prefix) / name)
    python.symlink_to(os.path.realpath(sys.executable))
    flags = ("-w", "2", "--start", "spawn")
    with serve("hello", *flags, cwd=APPS, python=str(python)) as service:
        service.wait_ready(2)
        address, victim = address_of(service), service.workers()[0]["pid"]
        (tmp_path / "venv").rename(tmp_path / "old")
        os.kill(victim, signal.SIGKILL)
        service.wait_line(rf"could not be started: {python}: No such file or directory")
        assert get(address).status == 200
        mark = service.mark()
        (tmp_path / "old").rename(tmp_path / "venv")
        service.wait_line(r"worker=0 gen=1 pid=\d+ ready", mark)
