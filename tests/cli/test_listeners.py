"""leeward.cli.listeners: everything that was asked for, or nothing at all."""

from __future__ import annotations

import contextlib
import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from leeward._core.config import Config
from leeward._core.record import replace
from leeward._sys import sockets
from leeward.cli import listeners
from leeward.cli.resolution import Machine, resolve
from leeward.errors import BindError, UsageError

CONFIG = Config(target="chat:app", backlog=16)


def test_what_was_bound_is_told_and_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with ExitStack() as undo:
        tcp, unix = listeners.open_each(("127.0.0.1:0", f"unix:{path}"), CONFIG, undo)
        assert not tcp.address.endswith(":0")
        assert unix.path == str(path)
        with socket.create_connection(("127.0.0.1", int(tcp.address.split(":")[1])), 5):
            pass
    assert not path.exists()


def test_one_that_fails_takes_the_others_with_it(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BindError, match="in use"), ExitStack() as undo:
            listeners.open_each((f"unix:{path}", f"127.0.0.1:{port}"), CONFIG, undo)
    assert not path.exists()


def test_more_than_a_process_can_be_given_is_refused(tmp_path: Path) -> None:
    """By the flag and the number, before anything is started; 246 are not too many."""
    wanted = [f"unix:{tmp_path / str(number)}" for number in range(247)]
    with pytest.raises(UsageError, match=r"--bind: 247 listeners, and 246"), ExitStack() as undo:
        listeners.open_each(wanted, CONFIG, undo)
    assert not list(tmp_path.iterdir())
    with ExitStack() as undo:
        assert len(listeners.open_each(wanted[1:], CONFIG, undo)) == 246


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("127.0.0.1:{port}", ":{port}"),
        (":{port}", "127.0.0.1:{port}"),
        ("localhost:{port}", "127.0.0.1:{port}"),
        ("0.0.0.0:{port}", "127.1:{port}"),
        ("unix:{path}/app.sock", "unix:{path}/run/../app.sock"),
        ("fd://{fd}", "fd://0{fd}"),
        ("fd://{fd}", "127.0.0.1:{handed}"),
    ],
)
def test_two_that_are_one_are_both_named(tmp_path: Path, one: str, other: str) -> None:
    """And nobody is told to stop the process that says so.  All is closed again."""
    (tmp_path / "run").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    handed = socket.create_server(("127.0.0.1", 0))
    has = handed.getsockname()[1]
    fd = handed.detach()
    one, other = (it.format(port=port, handed=has, fd=fd, path=tmp_path) for it in (one, other))
    with pytest.raises(UsageError) as caught, ExitStack() as undo:
        listeners.open_each((one, other), CONFIG, undo)
    assert f"--bind: {one} and {other} overlap" in caught.value.message
    assert os.listdir(tmp_path) == ["run"]
    with contextlib.suppress(OSError):
        os.close(fd)


def test_a_path_that_cannot_be_is_told_as_that_of_a_first_address_is(tmp_path: Path) -> None:
    """To ask whether it is the socket of the first one must not be what fails."""
    (tmp_path / "file").touch()
    one, other = f"unix:{tmp_path}/run", f"unix:{tmp_path}/file/run"
    with pytest.raises(BindError, match="cannot bind .*Not a directory"), ExitStack() as undo:
        listeners.open_each((one, other), CONFIG, undo)
    assert os.listdir(tmp_path) == ["file"]


def test_a_port_of_somebody_else_is_not_called_an_overlap() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, ExitStack() as undo:
        port = taken.getsockname()[1]
        with pytest.raises(BindError, match="in use by"):
            listeners.open_each(("127.0.0.2:0", f"127.0.0.1:{port}"), CONFIG, undo)


def test_sockets_handed_in_are_taken_unless_bind_was_said(tmp_path: Path) -> None:
    environ = {"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid())}

    def wanted(flags: dict[str, str], environ: dict[str, str]) -> tuple[str, ...]:
        found = resolve(
            {"target": "chat:app", **flags},
            environ={},
            cwd=str(tmp_path),
            machine=Machine(1, None),
        )
        return listeners.addresses(found, environ)

    assert wanted({}, environ) == ("fd://3", "fd://4")
    assert wanted({"port": "0"}, environ) == ("127.0.0.1:0",)
    assert wanted({}, {**environ, "LISTEN_PID": "1"}) == ("127.0.0.1:8000",)
    assert wanted({}, {}) == ("127.0.0.1:8000",)


def test_an_adopted_unix_socket_is_not_ours_to_remove(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    made.listen()
    with ExitStack() as undo:
        (found,) = listeners.open_each((f"fd://{made.detach()}",), CONFIG, undo)
        assert found.path == ""
    assert path.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("trick", ["symlink", "file", "hard link", "other's socket", "gone"])
def test_what_is_put_in_the_sockets_place_is_not_given_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trick: str
) -> None:
    """Whoever the directory belongs to may do so between any two calls: root's file stays root's,
    the start is refused, and what was put there is not removed as if it were the socket."""
    path, secret = tmp_path / "app.sock", tmp_path / "secret"
    secret.write_text("root's only")
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(tmp_path / "other.sock"))
    bind_all = sockets.bind_all

    def raced(*args: Any) -> list[socket.socket]:
        made = bind_all(*args)
        path.unlink()
        if trick == "symlink":
            path.symlink_to(secret)
        elif trick == "file":
            os.rename(secret, path)
            os.link(path, secret)
        elif trick == "hard link":
            os.link(tmp_path / "other.sock", path)
        elif trick == "other's socket":
            os.rename(tmp_path / "other.sock", path)
            os.chown(path, 1, 1)
        return made

    monkeypatch.setattr(sockets, "bind_all", raced)
    config = replace(CONFIG, uid=65534, gid=65534)
    with other, pytest.raises(BindError, match="cannot give"), ExitStack() as undo:
        listeners.open_each((f"unix:{path}",), config, undo)
    assert (secret.stat().st_uid, secret.stat().st_gid) == (0, 0)
    assert all(it.lstat().st_uid in (0, 1) for it in tmp_path.iterdir())
    assert os.path.lexists(path) == (trick in ("symlink", "file"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_the_socket_is_given_to_the_applications_user(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    config = replace(CONFIG, uid=65534, gid=65533, uds_mode=0o600)
    with ExitStack() as undo:
        listeners.open_each((f"unix:{path}",), config, undo)
        it = path.stat()
        assert (it.st_uid, it.st_gid, it.st_mode & 0o777) == (65534, 65533, 0o600)
    assert not path.exists()
