"""leeward.cli.resolve: a reload sees what a new start would see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from leeward._core.config import Config
from leeward._core.messages import Message, Resolved, Unresolved
from leeward._sys.channel import Channel
from leeward.cli import options, paths, serve

ARGV = ("chat:make_app", "-w", "2", "--port", "9000", "--", "--room", "a b")


def resolved(argv: tuple[str, ...], environ: dict[str, str]) -> Message:
    """What the resolver's process says, started as the supervisor starts it."""
    ours, theirs = Channel.pair()
    code = "from leeward.cli.resolve import run; import sys; run(int(sys.argv[3]))"
    root = paths.package_root(os.getcwd())
    process = subprocess.Popen(
        [sys.executable, "-c", code, root, "resolve", str(theirs.fileno()), *argv],
        cwd="/",
        env=environ,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    message = ours.wait(30)
    assert process.wait(30) == 0
    ours.close()
    assert message is not None
    return message


def test_the_same_words_give_the_same_config_again(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for key in list(os.environ):
        if key.startswith(("LEEWARD_", "WEB_CONCURRENCY")):
            monkeypatch.delenv(key)
    monkeypatch.setenv("PWD", str(tmp_path))
    first = options.resolved(options.parse(serve.command, ARGV)).config
    assert first.argv == ARGV
    assert first.args == ("--room", "a b")
    again = resolved(first.argv, environ)
    assert isinstance(again, Resolved)
    assert Config.from_json(again.config) == first


def test_a_link_that_was_swapped_leads_to_the_new_release(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    for number in (1, 2):
        (tmp_path / f"release-{number}").mkdir()
        (tmp_path / f"release-{number}" / "leeward.toml").write_text(f"workers = {number}\n")
    link = tmp_path / "current"
    for number in (1, 2):
        link.unlink(missing_ok=True)
        link.symlink_to(f"release-{number}")
        message = resolved(("chat:make_app",), {**environ, "PWD": str(link)})
        assert isinstance(message, Resolved)
        config = Config.from_json(message.config)
        assert (config.workers, config.cwd) == (number, str(link))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("chat:make_app", "-w", "many"), "--workers: expected"),
        (("chat:make_app", "--nonsense"), "no such option: --nonsense"),
        (("gone.py",), "gone.py: no such file"),
        ((), "what to serve?"),
        (("chat:make_app", "--chdir", "gone"), "is not a directory"),
    ],
)
def test_what_is_wrong_now_is_told_in_words(
    environ: dict[str, str], argv: tuple[str, ...], words: str
) -> None:
    message = resolved(argv, environ)
    assert isinstance(message, Unresolved)
    assert words in message.text


def test_a_directory_that_has_gone_is_told(tmp_path: Path, environ: dict[str, str]) -> None:
    message = resolved(("chat:make_app",), {**environ, "PWD": str(tmp_path / "gone")})
    assert isinstance(message, Unresolved)
    where, remedy = message.text.split("\n")
    told = (
        f"the directory that serve was started in, {tmp_path / 'gone'}: No such file or directory"
    )
    assert where == told and "stop, and serve from another" in remedy


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("#\nx = " + "[" * 5000, "leeward.toml:2: brackets within brackets"),
        ("#\nworkers = " + "9" * 5000, "leeward.toml:2: expected a whole number"),
        ('#\nssl-certfile = "gone.pem"', "leeward.toml:2: ssl-certfile /"),
        ("#\nlog-level = '" + "x" * 500_000 + "'", "leeward.toml:2: log-level: expected debug"),
    ],
)
def test_a_fault_of_the_file_is_told_with_its_line(
    tmp_path: Path, environ: dict[str, str], toml: str, said: str
) -> None:
    """And in few words: the supervisor writes them into its log."""
    (tmp_path / "leeward.toml").write_text(toml)
    (tmp_path / "chat.py").touch()
    message = resolved(("chat:make_app",), {**environ, "PWD": str(tmp_path)})
    assert isinstance(message, Unresolved)
    assert message.text.startswith(said)
    assert len(message.text) < 1000
