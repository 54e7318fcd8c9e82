"""leeward.cli.instances: a name has one owner, a dead one is cleared, a live one never touched."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leeward.cli import instances
from leeward.errors import NoInstanceError, UsageError


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment whose instances are alone in the world."""
    monkeypatch.setattr(instances.procfs, "unix_sockets", list)
    only = str(tmp_path / "leeward")
    monkeypatch.setattr(instances, "candidates", lambda environ, uid: [only])
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


@pytest.fixture
def claimed(environ: dict[str, str]) -> Iterator[instances.Claim]:
    claim = instances.claim("chat", environ)
    claim.settle()
    yield claim
    claim.release()


def test_the_socket_and_its_directory_are_for_their_owner_only(claimed: instances.Claim) -> None:
    assert stat.S_IMODE(os.stat(claimed.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(claimed.path)).st_mode) == 0o700
    assert not os.get_inheritable(claimed.lock_fd)
    assert claimed.former == 0


def test_a_live_instance_is_never_stolen(claimed: instances.Claim, environ: dict[str, str]) -> None:
    with pytest.raises(
        UsageError, match=rf"'chat' is already running, pid {os.getpid()}\n.*--name"
    ):
        instances.claim("chat", environ)
    assert instances.find("chat", environ).path == claimed.path


def test_not_even_when_its_lock_was_removed_by_hand(
    claimed: instances.Claim, environ: dict[str, str]
) -> None:
    os.unlink(claimed.path.replace(".sock", ".lock"))
    with pytest.raises(UsageError, match="is already running\n"):
        instances.claim("chat", environ)
    assert os.path.exists(claimed.path)


def two_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Where a service of this user has its instances, and where a session of his looks first."""
    service, session = (str(tmp_path / it / "leeward") for it in ("service", "session"))
    for it in ("service", "session"):
        (tmp_path / it).mkdir()
    monkeypatch.setattr(instances.procfs, "unix_sockets", list)
    monkeypatch.setattr(
        instances,
        "candidates",
        lambda environ, uid: [session, service] if "XDG_RUNTIME_DIR" in environ else [service],
    )
    return service, session


def test_a_name_is_taken_wherever_its_instance_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No verb could tell two of one name apart."""
    _, session = two_directories(tmp_path, monkeypatch)
    with_session = {"XDG_RUNTIME_DIR": str(tmp_path / "session")}
    claim = instances.claim("chat", {})
    with pytest.raises(UsageError, match="'chat' is already running"):
        instances.claim("chat", with_session)
    claim.release()
    again = instances.claim("chat", with_session)
    assert os.path.dirname(again.path) == session
    again.release()


def test_of_two_with_one_name_the_one_of_this_session_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be there from before: an instance of the session that outlived its lock."""
    service, session = two_directories(tmp_path, monkeypatch)
    with_session = {"XDG_RUNTIME_DIR": str(tmp_path / "session")}
    monkeypatch.setattr(instances, "_is_elsewhere", lambda *_: False)
    claims = [instances.claim("chat", {}), instances.claim("chat", with_session)]
    assert instances.find("chat", with_session).path == f"{session}/chat.sock"
    assert instances.find("chat", {}).path == f"{service}/chat.sock"
    for claim in claims:
        claim.release()


def test_a_lock_that_a_full_disk_refuses_is_told(
    claimed: instances.Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(instances.os, "pwrite", full)
    with pytest.raises(UsageError, match=r"^lock .*chat\.lock: No space left on device$"):
        claimed.settle()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told(
    environ: dict[str, str], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XDG_RUNTIME_DIR on NFS without a lock daemon: ENOLCK.  Nothing stays open."""

    def refuse(fd: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(instances.fcntl, "flock", refuse)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(UsageError, match=rf"chat\.lock: {os.strerror(number)}\n.*XDG_RUNTIME_DIR"):
        instances.claim("chat", environ)
    assert os.listdir("/proc/self/fd") == before


def test_a_dead_socket_that_may_not_be_removed_is_told(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = instances.claim("chat", environ)
    claim.control.close()
    os.close(claim.lock_fd)

    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr(instances.os, "unlink", refuse)
        with pytest.raises(
            UsageError, match=r"control socket \S*chat\.sock: Permission denied\nrm"
        ):
            instances.claim("chat", environ)
    instances.claim("chat", environ).release()


def test_a_dead_one_is_cleared_and_its_pid_told(environ: dict[str, str]) -> None:
    claim = instances.claim("chat", environ)
    claim.settle()
    claim.control.close()  # as SIGKILL would: descriptors closed, files left
    os.close(claim.lock_fd)
    assert instances.every(environ) == []
    again = instances.claim("chat", environ)
    assert again.former == os.getpid()
    assert [each.name for each in instances.every(environ)] == ["chat"]
    again.release()
    assert not os.path.exists(again.path)


def test_the_lock_outlives_whoever_made_it_and_ends_with_its_holder(
    environ: dict[str, str],
) -> None:
    claim = instances.claim("chat", environ)
    claim.settle()
    os.set_inheritable(claim.lock_fd, True)
    holder = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[claim.lock_fd]
    )
    assert holder.stdin is not None
    claim.release()
    with pytest.raises(UsageError, match="already running"):
        instances.claim("chat", environ)
    holder.stdin.close()
    holder.wait(10)
    instances.claim("chat", environ).release()


def test_something_that_is_no_socket_is_not_removed(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "leeward").mkdir(mode=0o700)
    (tmp_path / "leeward" / "chat.sock").write_text("precious")
    with pytest.raises(UsageError, match="is in the way: it is no socket"):
        instances.claim("chat", environ)
    assert (tmp_path / "leeward" / "chat.sock").read_text() == "precious"


def test_a_lock_that_is_a_link_is_told_with_what_to_do(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "leeward").mkdir(mode=0o700)
    (tmp_path / "leeward" / "chat.lock").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match=r"chat\.lock: .*\n.*remove it: ls -l \S*chat\.lock"):
        instances.claim("chat", environ)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".", "a b", "x" * 65, "ä", "a\n"])
def test_a_name_is_a_plain_word(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        instances.check_name(name)


def test_a_path_that_the_kernel_would_cut_is_refused(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(instances, "candidates", lambda environ, uid: [str(deep / "leeward")])
    with pytest.raises(UsageError, match="bytes, the kernel takes 107\nchoose a shorter"):
        instances.claim("chat", environ)


def test_a_directory_that_others_could_write_to_is_refused(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "leeward").mkdir()
    (tmp_path / "leeward").chmod(0o777)
    with pytest.raises(UsageError, match="nobody else can write to"):
        instances.own_directory(environ, os.getuid())
    (tmp_path / "leeward").rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "leeward").symlink_to("elsewhere")
    with pytest.raises(UsageError, match="must be a directory of user"):
        instances.own_directory(environ, os.getuid())


def test_the_runtime_directory_counts_only_if_it_is_ours(tmp_path: Path) -> None:
    uid = os.getuid()
    mine = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert instances.candidates(mine, uid)[0] == str(tmp_path / "leeward")
    for environ in ({}, {"XDG_RUNTIME_DIR": "/proc/1/gone"}, {"XDG_RUNTIME_DIR": "relative"}):
        assert str(tmp_path / "leeward") not in instances.candidates(environ, uid)
    assert str(tmp_path / "leeward") not in instances.candidates(mine, uid + 1)
    assert instances.candidates(mine, uid + 1)[-1] == f"/tmp/leeward-{uid + 1}"
    assert ("/run/leeward" in instances.candidates({}, uid)) == (uid == 0)


def test_an_instance_is_found_by_the_kernels_list_where_no_directory_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "candidates", lambda environ, uid: [])
    home = tmp_path / "leeward"
    home.mkdir(mode=0o700)
    name = f"t{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.bind(str(home / f"{name}.sock"))
        sock.listen()
        assert instances.find(name, {}).path == str(home / f"{name}.sock")
    with pytest.raises(NoInstanceError):
        instances.find(name, {})


def test_an_instance_is_found_once_by_two_names_of_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as /var/run, a link to /run; the one that was asked for is the one that is told."""
    home = tmp_path / "run" / "leeward"
    home.mkdir(mode=0o700, parents=True)
    (tmp_path / "var").symlink_to("run")
    linked = str(tmp_path / "var" / "leeward")
    monkeypatch.setattr(instances, "candidates", lambda environ, uid: [linked])
    name = f"t{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.bind(str(home / f"{name}.sock"))
        sock.listen()
        assert instances.find(name, {}).path == f"{linked}/{name}.sock"
        assert [it.name for it in instances.every({})].count(name) == 1


def test_who_is_missing_and_who_is_there_is_said(
    claimed: instances.Claim, environ: dict[str, str]
) -> None:
    with pytest.raises(NoInstanceError, match="no instance is called 'web'; running: chat"):
        instances.find("web", environ)
    assert instances.find("", environ).name == "chat"
    second = instances.claim("web", environ)
    with pytest.raises(UsageError, match="several instances are running: chat, web\n.*NAME"):
        instances.find("", environ)
    second.release()


def test_without_any_instance_the_next_command_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(NoInstanceError, match="is running.*\nleeward serve"):
        instances.find("", environ)
