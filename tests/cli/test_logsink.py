"""Where --log-file leads: what is no file is looked for at the start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from leeward._core.config import Config
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
    logsink.check(Config("app", log_file="/var/log/app.log"))
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
