"""leeward.cli.serve: what the supervisor is handed, and that a failure takes all of it back."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from leeward._core.config import Handover
from leeward._sys.posix import read_memfd
from leeward.cli import instances, serve
from leeward.cli.resolution import Machine, Resolution, resolve
from leeward.errors import BindError, LeewardError, UsageError


@pytest.fixture
def resolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resolution:
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("PWD", os.environ.get("PWD", "/"))
    monkeypatch.delenv("LISTEN_PID", raising=False)
    monkeypatch.setattr(serve.prctl, "set_child_subreaper", lambda: None)
    return resolve(
        {"target": "chat:make_app", "port": "0", "uds": "app.sock"},
        argv=("chat:make_app", "--port", "0"),
        environ={},
        cwd=str(tmp_path),
        machine=Machine(1, None),
    )


def test_the_supervisor_gets_everything_and_a_failed_exec_leaves_nothing(
    resolution: Resolution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[Handover] = []
    before = set(os.listdir("/proc/self/fd"))

    def execve(path: str, argv: list[str], environ: dict[str, str]) -> None:
        assert os.path.isabs(path)
        assert argv[1:3] == ["-I", "-S"]
        assert argv[-2] == "supervisor"
        assert os.get_inheritable(int(argv[-1]))
        handover = Handover.from_json(read_memfd(int(argv[-1])).decode())
        for fd in (handover.control_fd, handover.lock_fd, *(it.fd for it in handover.listeners)):
            assert os.get_inheritable(fd)
        assert Path(f"{handover.control_path[:-5]}.lock").read_text() == f"{os.getpid()}\n"
        assert environ["PWD"] == str(tmp_path)
        assert set(serve.HELD) <= signal.pthread_sigmask(signal.SIG_BLOCK, ())
        handed.append(handover)
        raise OSError(errno.ENOEXEC, "Exec format error")

    monkeypatch.setattr(os, "execve", execve)
    with pytest.raises(LeewardError, match="cannot execute .*: Exec format error"):
        serve.start(resolution)
    (handover,) = handed
    assert handover.config == resolution.config
    assert [it.path for it in handover.listeners] == ["", str(tmp_path / "app.sock")]
    assert not (tmp_path / "app.sock").exists()
    assert os.listdir(tmp_path / "run" / "leeward") == ["chat.lock"]
    assert set(os.listdir("/proc/self/fd")) == before
    instances.claim("chat", os.environ).release()  # the lock is free again
    assert not set(serve.HELD) & signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_bind_that_fails_gives_the_name_back(resolution: Resolution, tmp_path: Path) -> None:
    (tmp_path / "app.sock").write_text("in the way")
    with pytest.raises(BindError):
        serve.start(resolution)
    assert (tmp_path / "app.sock").read_text() == "in the way"
    instances.claim("chat", os.environ).release()


def test_an_old_kernel_is_told() -> None:
    for release in ("5.9.0-1-amd64", "6.1.0", "5.10", "strange"):
        serve.check_kernel(release)
    for release in ("5.8.18-generic", "4.19.0"):
        with pytest.raises(UsageError, match=rf"needs Linux 5\.9 or newer, this is {release}"):
            serve.check_kernel(release)


def test_a_call_that_is_refused_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is begun, with its name, and with whose doing it may be."""

    def refuse(pid: int) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(
        UsageError, match="system call pidfd_open .*: Operation not perm.*\n.*seccomp"
    ):
        serve.check_kernel("6.1.0")


def test_a_missing_proc_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: not path.startswith("/proc"))
    with pytest.raises(UsageError, match="needs /proc, which is not mounted here\nmount -t proc"):
        serve.check_kernel("6.1.0")
