"""The command line from outside: exit codes, words, and what stays when a start fails."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leeward.cli import main

Run = Callable[..., "subprocess.CompletedProcess[str]"]

SUPERVISOR = """
import json, os, sys
from leeward._core.messages import *
from leeward._sys.channel import Channel
from leeward.cli import instances
from leeward.errors import ChannelClosed
claim = instances.claim(sys.argv[1], os.environ)
claim.settle()
claim.control.setblocking(True)
print("up", flush=True)
PS = {"name": sys.argv[1], "pid": os.getpid(), "state": "serving", "target": "chat:app",
      "listeners": ["http://127.0.0.1:1"], "workers_wanted": 1, "generation": 1, "uptime": 5.0,
      "workers": [{"slot": 0, "pid": os.getpid(), "state": "serving", "in_flight": 2,
                   "connections": 3}]}
while True:
    sock, _ = claim.control.accept()
    channel = Channel(sock)
    try:
        request = channel.wait(10)
    except ChannelClosed:
        continue
    match request:
        case PsRequest():
            channel.send(Answer(0, "", json.dumps(PS)))
        case ReloadRequest(wait=True):
            channel.send(Progress("loading"))
            channel.send(Answer(3, "Traceback: \\x1b[31mno"))
        case ReloadRequest(wait=False):
            channel.send(Answer(0, "asked for"))
        case ScaleRequest():
            channel.send(Answer(0, f"to={request.to} by={request.by}"))
        case StopRequest():
            channel.send(Answer(0, f"stopping now={request.now}"))
            claim.release()
            sys.exit(0)
    channel.close()
"""


@pytest.fixture
def name(environ: dict[str, str]) -> Iterator[str]:
    """A running instance, of which only the control socket is real."""
    name = f"t{time.monotonic_ns() % 10**6}"  # short: a socket's path has 107 bytes
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, name], env=environ, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    yield name
    process.kill()
    process.wait(10)
    process.stdout.close()


def test_no_arguments_show_the_verbs(run: Run) -> None:
    done = run()
    assert done.returncode == 0
    verbs = "serve check ps reload rollback recycle drain scale stop config"
    for verb in verbs.split():
        assert f"\n  {verb} " in done.stdout
        page = run(verb, "--help")
        assert page.returncode == 0
        assert len(page.stdout.split("\n\n")) >= 3, verb


def test_the_version_is_told(run: Run) -> None:
    import leeward

    assert run("--version").stdout.startswith(f"leeward {leeward.__version__} (Python 3.")


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["serve"], 2, "what to serve?"),
        (["serve", "--wokers", "3"], 2, 'no such option: --wokers; did you mean "--workers"?'),
        (["serev"], 2, "'serev' is no command; did you mean \"serve\"?"),
        (["chat:make_app", "-w", "2"], 2, "\nleeward serve chat:make_app -w 2\n"),
        (["serve", "chat:app", "more"], 2, "arguments for the application go after --"),
        (["serve", "chat.py"], 3, "chat.py: no such file"),
        (["serve", "chat:app", "--name", "a/b"], 2, "flag --name: 'a/b' cannot be the name"),
        (["scale", "lots"], 2, "such as 6, +1 or -1, found 'lots'"),
        (["scale", "-1", "no-such"], 6, "no instance"),
        (["recycle", "9" * 5000, "--name", "x"], 2, "the number of a slot such as 0, found '99"),
        (["drain", "9" * 5000, "--name", "x"], 2, "the number of a slot such as 0, found '99"),
        (["drain", "٣"], 2, "the number of a slot such as 0, found '٣'"),
        (["ps", "no-such"], 6, "no instance"),
        (["stop", "no-such", "--name", "other"], 2, "which one?"),
        (["stop", "--timeout", "soon"], 2, "--timeout: expected a duration"),
        (["config", "-b", "here"], 2, "--bind: address 'here': "),
    ],
)
def test_a_mistake_names_the_guilty_and_the_remedy(
    run: Run, argv: list[str], code: int, words: str
) -> None:
    done = run(*argv)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith("leeward: ")
    assert words in done.stderr
    assert len(done.stderr.split("\n")) <= 9
    assert "Traceback" not in done.stderr


def test_a_start_that_fails_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "chat:app", "--uds", "app.sock", "--port", str(port))
        assert done.returncode == 4
        assert (
            f"cannot bind 127.0.0.1:{port}: the port is in use by pid {os.getpid()}" in done.stderr
        )
    assert not (tmp_path / "app.sock").exists()
    assert sorted(os.listdir(tmp_path / "run" / "leeward")) == ["chat.lock"]


def test_a_second_start_of_a_name_is_refused(run: Run, name: str) -> None:
    done = run("serve", "chat:app", "--name", name)
    assert done.returncode == 2
    assert "is already running, pid" in done.stderr
    assert run("ps", name).returncode == 0


def test_ps_shows_a_table_or_json(run: Run, name: str) -> None:
    done = run("ps", name)
    assert done.returncode == 0, done.stderr
    assert f"{name}  serving  1 of 1 worker" in done.stdout
    (found,) = json.loads(run("ps", "--json", "--name", name).stdout)
    worker = found["workers"][0]
    assert worker["pss_bytes"] > 1_000_000
    assert worker["cpu_seconds"] >= 0
    assert 3 < worker["fds"] < worker["fd_limit"]


def test_ps_finds_an_instance_without_the_runtime_directory(run: Run, name: str) -> None:
    assert run("ps", name, XDG_RUNTIME_DIR="").returncode == 0


def test_ps_imports_little(run: Run, name: str) -> None:
    """75 ms, of which most is the interpreter: what would cost more stays out."""
    done = run("ps", name, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "leeward.views.ps" in imported
    heavy = {"tornado", "asyncio", "ssl", "multiprocessing", "tomllib", "unittest", "http.client"}
    assert not imported & (heavy | {"inspect", "ast", "dis"})


@pytest.mark.parametrize(
    ("words", "which"),
    [
        (("kill", "--state", "active", "--peer", ""), "--peer"),
        (("kill", "--idle-over", "1s", "--slot", ""), "--slot"),
        (("kill", "--peer", "::1", "--idle-over", ""), "--idle-over"),
        (("kill", ""), "WHICH"),
        (("recycle", ""), "SLOT"),
        (("stop", ""), "NAME"),
        (("stop", "--name", ""), "--name"),
        (("drain", ""), "SLOT"),
        (("scale", "2", ""), "NAME"),
        (("reload", "--timeout", ""), "--timeout"),
    ],
)
def test_what_is_empty_does_not_mean_all(
    run: Run, name: str, words: tuple[str, ...], which: str
) -> None:
    """As a variable of a shell script is that was not set."""
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"leeward: {which} is empty\n")


def test_reload_tells_progress_and_hands_the_exit_code_on(run: Run, name: str) -> None:
    done = run("reload", name)
    assert (done.returncode, done.stdout) == (3, "loading\n")
    assert done.stderr == "leeward: Traceback: ?[31mno\n"  # no escape reaches the terminal
    assert run("reload", "--no-wait", name).stdout == "asked for\n"


def test_scale_takes_a_number_or_a_difference(run: Run, name: str) -> None:
    assert run("scale", "6", name).stdout == "to=6 by=0\n"
    assert run("scale", "+1", name).stdout == "to=-1 by=1\n"
    assert run("scale", "-1", "--name", name).stdout == "to=-1 by=-1\n"


def test_stop_returns_when_the_supervisor_has_ended(run: Run, name: str) -> None:
    done = run("stop", "--now", name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("stopping now=True\n")
    assert "has ended" in done.stdout
    assert run("ps", name).returncode == 6


def test_a_reader_who_leaves_changes_no_exit_code(environ: dict[str, str], name: str) -> None:
    words = f"{sys.executable} -m leeward reload {name}"
    for redirect in (">&-", "| true; exit ${PIPESTATUS[0]}", ">&- 2>&- <&-"):
        done = subprocess.run(
            ["bash", "-c", f"{words} {redirect}"],
            env=environ,
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 3, redirect


@pytest.mark.parametrize("words", ["--help", "serve --help", ""])
def test_help_for_a_reader_who_leaves_is_no_failure(environ: dict[str, str], words: str) -> None:
    """The pipe's reading end is closed before the first word is written."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "leeward", *words.split()],
            env=environ,
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "words",
    [
        ("config", "--log-level", "MANY"),
        ("config", "--log-level", "inf" + "MANY"),
        ("config", "--user", "MANY"),
        ("config", "--hazards", "MANY"),
        ("config", "--MANY"),
        ("config", "-b", "MANY"),
        ("config", "chat:app", "MANY"),
        ("config", "--name", "a/MANY"),
        ("set", "MANY=1"),
        ("ps", "MANY"),
        ("MANY",),
    ],
)
def test_a_value_of_any_length_is_repeated_in_part(run: Run, words: tuple[str, ...]) -> None:
    done = run(*(word.replace("MANY", "x" * 100_000) for word in words))
    assert done.returncode in (2, 6)
    assert done.stderr.startswith("leeward: ")
    assert "xx…" in done.stderr
    assert len(done.stderr) < 2500


@pytest.mark.parametrize("verb", ["serve", "check"])
def test_a_certificate_of_the_settings_file_is_complained_of_by_its_line(
    run: Run, tmp_path: Path, verb: str
) -> None:
    (tmp_path / "leeward.toml").write_text('#\nssl-certfile = "gone.pem"\n')
    (tmp_path / "chat.py").touch()
    done = run(verb, "chat:app")
    assert done.returncode == 2
    assert done.stderr.startswith(f"leeward: leeward.toml:2: ssl-certfile {tmp_path}/gone.pem: No")


def test_a_full_disk_behind_stdout_is_told_without_a_traceback(environ: dict[str, str]) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m leeward config >/dev/full"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "leeward: cannot write to stdout: No space left on device\n"


def test_config_is_toml_that_gives_the_same_settings_again(run: Run, tmp_path: Path) -> None:
    durations = ("--max-age", "720h", "--stall-warn", "1234567ms", "--idle-timeout", "0.000001")
    first = run(
        *("config", "chat:app", "-w", "2", "--uds", "/run/x.sock", "--uds-mode", "600"),
        *durations,
    )
    assert 'max-age = "2592000s"' in first.stdout
    (tmp_path / "leeward.toml").write_text(first.stdout)
    again = run("config", "--origin")
    assert again.returncode == 0, again.stderr
    plain = [line.split("  # ")[0].rstrip() for line in again.stdout.strip().split("\n")]
    assert plain == first.stdout.strip().split("\n")
    assert "# leeward.toml:1" in again.stdout


def test_nothing_heavy_is_imported_for_a_verb(environ: dict[str, str]) -> None:
    code = (
        "import sys; from leeward.cli.main import main; main(['ps', 'no-such']);"
        "print(*sorted({'tornado','asyncio','subprocess','ssl','leeward.adapters'}"
        "&set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == "\n"


def test_ctrl_c_while_we_are_imported_is_no_traceback(environ: dict[str, str]) -> None:
    """Whatever is being imported then: the process ends by the signal, without a word."""
    code = (
        "import os, runpy, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "runpy.run_module('leeward', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_a_bug_of_ours_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from leeward.cli import instances, main

    def broken(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(instances, "find", broken)
    assert main.main(["scale", "1"]) == 1
    assert "this is a bug in leeward" in capsys.readouterr().err


def test_an_environment_that_is_too_large_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_large(**_: object) -> int:
        raise OSError(errno.E2BIG, "Argument list too long", sys.executable)

    monkeypatch.setattr(main.cli, "main", too_large)
    assert main.main(["check"]) == 2
    words = capsys.readouterr().err
    assert "the environment is too large" in words
    assert "bug" not in words
