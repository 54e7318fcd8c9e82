"""What stands where a file should is named, with its exit code, and nobody is waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from cli.conftest import Run

APP = "import tornado.web\ndef make_app(): return tornado.web.Application([])\n"


@pytest.fixture(autouse=True)
def application(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)


@pytest.mark.parametrize("verb", ["serve", "check"])
def test_a_fifo_is_no_env_file(run: Run, tmp_path: Path, verb: str) -> None:
    os.mkfifo(tmp_path / "e")
    done = run(verb, "app:make_app", "--port", "0", "--env-file", "e")
    assert (done.returncode, done.stdout) == (2, "")
    assert "env file e: is no regular file" in done.stderr


@pytest.mark.parametrize("verb", ["serve", "check"])
def test_addresses_that_cannot_be_had_together_are_refused_alike(run: Run, verb: str) -> None:
    """By `check` as by `serve`: more than there can be, and two that are one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    many = [f"-b127.0.{number}.1:0" for number in range(250)]
    done = run(verb, "app:make_app", *many)
    assert (done.returncode, done.stdout.count(" ok")) == (2, int(verb == "check"))
    assert "--bind: 250 listeners, and 246 are the most" in done.stderr
    done = run(verb, "app:make_app", "-b", f"127.0.0.1:{port}", "-b", f":{port}")
    assert done.returncode == 2
    assert f"--bind: 127.0.0.1:{port} and :{port} overlap" in done.stderr


@pytest.mark.parametrize("verb", ["serve", "check"])
def test_a_log_file_that_cannot_be_opened_is_refused(run: Run, tmp_path: Path, verb: str) -> None:
    """With the flag, or the file and line, that say so."""
    done = run(verb, "app:make_app", "--port", "0", "--log-file", "nodir/x.log")
    assert done.returncode == 2
    assert f"--log-file {tmp_path}/nodir/x.log: there is no directory" in done.stderr
    (tmp_path / "leeward.toml").write_text('port = 0\nlog-file = "nodir/x.log"\n')
    done = run(verb, "app:make_app")
    assert done.returncode == 2
    assert f"leeward.toml:2: log-file {tmp_path}/nodir/x.log: there is no" in done.stderr


@pytest.mark.parametrize("verb", ["serve", "check"])
def test_a_value_that_is_too_large_is_no_bug(run: Run, tmp_path: Path, verb: str) -> None:
    (tmp_path / "e").write_text(f"A={'x' * 140_000}\n")
    done = run(verb, "app:make_app", "--port", "0", "--env-file", "e")
    assert done.returncode == 2
    assert "e:1: A with its value has 140003 bytes" in done.stderr


@pytest.mark.parametrize("verb", ["serve", "check"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("fifo", "is no regular file"),
        ("directory", "is a directory"),
        ("loop", "a link to t.py: Too many levels of symbolic links"),
        ("dangling", "a link to gone.py: No such file or directory"),
    ],
)
def test_a_target_that_is_no_file_says_what_it_is(
    run: Run, tmp_path: Path, verb: str, kind: str, words: str
) -> None:
    target = tmp_path / "t.py"
    if kind == "fifo":
        os.mkfifo(target)
    elif kind == "directory":
        target.mkdir()
    else:
        target.symlink_to("t.py" if kind == "loop" else "gone.py")
    done = run(verb, "t.py", "--port", "0")
    assert done.returncode == 3
    assert f"t.py: {words}" in done.stderr
    assert "did you mean" not in done.stderr


@pytest.mark.parametrize("verb", ["serve", "check"])
def test_a_certificate_that_cannot_be_read_is_no_bug(run: Run, verb: str) -> None:
    done = run(verb, "app:make_app", "--port", "0", "--ssl-certfile", "/proc/self/mem")
    assert done.returncode == 2
    assert "--ssl-certfile /proc/self/mem: Input/output error" in done.stderr


def test_a_lock_that_is_a_fifo_is_no_bug(run: Run, tmp_path: Path) -> None:
    directory = tmp_path / "run" / "leeward"
    directory.mkdir(mode=0o700)
    os.mkfifo(directory / "app.lock")
    done = run("serve", "app:make_app", "--port", "0")
    assert done.returncode == 2
    assert f"lock {directory}/app.lock: is no regular file\n" in done.stderr
    assert f"rm {directory}/app.lock" in done.stderr
