"""Where --log-file leads: what is no file is looked for at the start."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from leeward._core.config import Config
from leeward._core.record import replace
from leeward.cli import logsink
from leeward.cli.resolution import resolve
from leeward.errors import UsageError


@pytest.mark.parametrize(
    ("to", "words", "remedy"),
    [
        ("syslog:{}/log", "{}/log: No such file or directory", "syslog:HOST:514"),
        ("syslog:{}/dead", "{}/dead: nobody listens there", "is a syslog daemon running?"),
        ("syslog:{}/stream", "a stream socket", "datagrams are needed"),
        ("journal:{}/log", "{}/log: No such file or directory", "mounted"),
        ("syslog:no.such.host.invalid:514", "no.such.host.invalid: ", "needs no resolver"),
    ],
)
def test_nobody_is_there(tmp_path: Path, to: str, words: str, remedy: str) -> None:
    """Said with what would do instead."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream,
    ):
        dead.bind(str(tmp_path / "dead"))
        dead.close()
        stream.bind(str(tmp_path / "stream"))
        stream.listen()
        with pytest.raises(UsageError) as caught:
            logsink.check(Config("app", log_file=to.format(tmp_path)))
    assert words.format(tmp_path) in caught.value.message
    assert remedy in caught.value.remedy


def test_somebody_is_there(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "log"))
        logsink.check(Config("app", log_file=f"syslog:{tmp_path}/log"))
        logsink.check(Config("app", log_file=f"journal:{tmp_path}/log"))
    logsink.check(Config("app", log_file="syslog:127.0.0.1"))
    logsink.check(Config("app", log_file=f"{tmp_path}/app.log"))
    assert os.listdir(tmp_path) == ["log"]  # nothing is made
    logsink.check(Config("app"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"log_file": "syslog:host:port"}, "--log-file: expected syslog:"),
        ({"log_file": "journal:here"}, "--log-file: expected journal:"),
        ({"log_file": "syslog:/dev/log{slot}"}, "is for files"),
        ({"log_facility": "deamon"}, 'did you mean "daemon"?'),
    ],
)
def test_what_can_be_nowhere(tmp_path: Path, flags: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("?", r"\?")):
        resolve({"target": "app:app", **flags}, environ={}, cwd=str(tmp_path))


def test_only_paths_are_made_absolute(tmp_path: Path) -> None:
    """From a flag as from a file."""

    def found(to: str) -> str:
        flags = {"target": "app:app", "log_file": to}
        return resolve(flags, environ={}, cwd=str(tmp_path)).config.log_file

    assert found("syslog:") == "syslog:" and found("journal:") == "journal:"
    assert found("./syslog:x") == f"{tmp_path}/./syslog:x"
    (tmp_path / "leeward.toml").write_text('log-file = "syslog:loghost"\n')
    config = resolve({"target": "app:app"}, environ={}, cwd=str(tmp_path)).config
    assert config.log_file == "syslog:loghost"


@pytest.mark.parametrize(
    ("to", "words", "remedy"),
    [
        ("gone/x.log", "there is no directory {}/gone", "mkdir -p {}/gone"),
        ("loop", "Too many levels of symbolic links", "can be appended to"),
        ("dangling", "there is no directory {}/gone", "mkdir -p {}/gone"),
        ("x" * 300, "File name too long", "can be appended to"),
        ("file/x.log", "Not a directory", "can be appended to"),
        ("made", "Is a directory", "can be appended to"),
        ("gone{{slot}}/x.log", "there is no directory {}/gone0", "mkdir -p {}/gone0"),
        ("socket", "No such device or address", "can be appended to"),
    ],
)
def test_a_file_that_cannot_be_opened(tmp_path: Path, to: str, words: str, remedy: str) -> None:
    """Is refused at a start, which would go on without a line of it; nothing is made."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("gone/x.log")
    (tmp_path / "file").touch()
    (tmp_path / "made").mkdir()
    to = f"{tmp_path}/{to.format()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "socket"))
        before = sorted(os.listdir(tmp_path))
        with pytest.raises(UsageError) as caught:
            logsink.check(Config("app", log_file=to))
    assert caught.value.message == f"--log-file {to}: {words.format(tmp_path)}"
    assert remedy.format(tmp_path) in caught.value.remedy
    with pytest.raises(UsageError, match=r"^leeward\.toml:3: log-file /"):
        logsink.check(Config("app", log_file=to), "leeward.toml:3")
    assert sorted(os.listdir(tmp_path)) == before


def test_what_can_be_opened_is_left_as_it_is(tmp_path: Path) -> None:
    """A file, a link to one that is yet to be made, a device, and a FIFO, whose reader stays."""
    (tmp_path / "x.log").write_text("a line\n")
    (tmp_path / "link").symlink_to("later.log")
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "fifo", os.O_WRONLY | os.O_NONBLOCK)
    try:
        before = sorted(os.listdir(tmp_path))
        for name in ("x.log", "link", "fifo", "w{slot}.log"):
            logsink.check(Config("app", log_file=f"{tmp_path}/{name}"))
        logsink.check(Config("app", log_file="/dev/null"))
        os.close(writer)
        assert sorted(os.listdir(tmp_path)) == before
        assert (tmp_path / "x.log").read_text() == "a line\n"
    finally:
        os.close(reader)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_user_that_will_write_it_is_who_is_asked() -> None:
    """Root may write everywhere, and the collector is not root; we are root again afterwards."""
    directory = subprocess.check_output(["mktemp", "-d"], text=True).strip()
    before = os.getresuid(), os.getresgid(), os.getgroups()
    try:
        os.chmod(directory, 0o755)
        config = Config("app", uid=65534, gid=65533, groups=(65533,))
        for name in ("new.log", "there.log"):
            config = replace(config, log_file=f"{directory}/{name}")
            Path(directory, "there.log").touch(0o644)
            with pytest.raises(UsageError, match="Permission denied for user 65534") as caught:
                logsink.check(config)
            assert caught.value.remedy.endswith(f"ls -ld {directory}")
        os.chown(directory, -1, 65533)
        os.chmod(directory, 0o775)
        logsink.check(replace(config, log_file=f"{directory}/new.log"))
        logsink.check(replace(config, uid=-1, log_file=f"{directory}/new.log"))
    finally:
        shutil.rmtree(directory)
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before
    assert os.stat("/proc/self/fd").st_uid == 0
