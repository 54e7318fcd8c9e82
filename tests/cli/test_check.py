"""leeward.cli.check: a rehearsal tells what it found, and leaves no process behind."""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from leeward._core.config import Config
from leeward._core.messages import Loaded
from leeward.cli import check, rehearsal
from leeward.cli.resolution import Machine, resolve
from leeward.errors import BindError, TargetError

ZYGOTE = """
import sys
from leeward._core.messages import *
from leeward._sys.channel import Channel
channel = Channel(int(sys.argv[1]))
begin = channel.wait(10)
assert isinstance(begin, Begin) and begin.rehearse
"""


@pytest.fixture
def zygote(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> pytest.MonkeyPatch:
    monkeypatch.setenv("PYTHONPATH", environ["PYTHONPATH"])
    return monkeypatch


def behaving(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(
        rehearsal.bootstrap,
        "command",
        lambda interpreter, root, role, fd, parent: [sys.executable, "-c", ZYGOTE + code, str(fd)],
    )


CONFIG = Config(target="chat:make_app", start_timeout=10.0)


def test_what_was_loaded_is_told(zygote: pytest.MonkeyPatch) -> None:
    behaving(zygote, "channel.send(Loaded('Tornado application', 'make_app()', 12, ('a', 'b')))")
    loaded = rehearsal.rehearse(CONFIG)
    assert loaded == Loaded("Tornado application", "make_app()", 12, ("a", "b"))
    assert check.mode(CONFIG, loaded) == ["mode       spawn (a fork would break)"]
    clean = Loaded("Tornado application", "make_app()", 12, ())
    assert check.mode(CONFIG, clean) == ["mode       zygote (nothing that a fork would break)"]
    spawn = Config(target="chat:make_app", start="spawn")
    assert check.mode(spawn, clean) == ["mode       spawn (as --start says)"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("channel.send(Failed('import', 'chat.py:3: no such thing')); sys.exit(3)", "chat.py:3"),
        ("sys.exit(7)", "exit code 7"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("import os; os.kill(os.getpid(), 35)", "killed by signal 35"),
        ("import time; time.sleep(60)", "still loading after 0.5 s\n--start-timeout"),
    ],
)
def test_an_application_that_does_not_load_is_told(
    zygote: pytest.MonkeyPatch, code: str, words: str
) -> None:
    zygote.setattr(rehearsal, "_LEAVE_TIMEOUT", 0.1 if "sleep" in code else 5.0)
    behaving(zygote, code)
    timeout = 0.5 if "sleep" in code else 10.0
    with pytest.raises(TargetError, match=words):
        rehearsal.rehearse(Config(target="chat:make_app", start_timeout=timeout))


def test_nothing_that_the_application_started_stays(
    zygote: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    behaving(
        zygote,
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        f"open({str(note)!r}, 'w').write(str(child.pid))\n"
        "channel.send(Loaded('x', 'y', 1, ()))",
    )
    rehearsal.rehearse(CONFIG)
    pidfd = -1
    try:
        pidfd = os.pidfd_open(int(note.read_text()))
    except ProcessLookupError:
        return
    with ExitStack() as undo:
        undo.callback(os.close, pidfd)
        import select

        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(5000)


def test_a_port_that_somebody_else_has_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check.instances, "every", lambda environ: [])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = resolve(
            {"target": "chat:app", "port": str(port)},
            environ={},
            cwd=str(tmp_path),
            machine=Machine(1, None),
        )
        with ExitStack() as undo, pytest.raises(BindError, match="in use"):
            check.addresses(found, undo)
        held = {"listeners": [f"http://127.0.0.1:{port}"]}
        monkeypatch.setattr(check.instances, "find", lambda name, environ: None)
        monkeypatch.setattr("leeward.cli.ps.snapshot", lambda instance: held)
        with ExitStack() as undo:
            said = check.addresses(found, undo)
    assert said == f"127.0.0.1:{port} held by chat, which is running", json.dumps(held)
