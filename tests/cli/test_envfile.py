"""leeward.cli.envfile: the lines that every dialect agrees on, and errors with file and line."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest

from leeward.cli import envfile
from leeward.errors import UsageError


def read(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "app.env"
    file.write_bytes(text.encode())
    return dict(envfile.read(str(file), "app.env"))


def test_plain_quoted_exported_and_commented_lines_are_read(tmp_path: Path) -> None:
    text = (
        "# comment\n\nA=1\nexport B = two words # a comment\nC='$x \\n # y'\n"
        'D="tab\\t\\"q\\" \\$5 # no comment" # one\nE=\nF=a#b\r\nG="\\\\n"\nA=last\n'
    )
    assert read(tmp_path, text) == {
        "A": "last",
        "B": "two words",
        "C": "$x \\n # y",
        "D": 'tab\t"q" $5 # no comment',
        "E": "",
        "F": "a#b",
        "G": "\\n",
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("just words", "expected KEY=VALUE"),
        ("1A=2", "expected KEY=VALUE"),
        ('A="open', "no closing quote"),
        ("A='open", "no closing quote"),
        ("A='a'b", "no closing quote"),
        ("A=a\0b", "NUL"),
        ("LEEWARD_WORKERS=4", "is a setting of leeward"),
    ],
)
def test_a_bad_line_is_named_with_file_and_line(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(UsageError, match=rf"^app\.env:3: .*{words}"):
        read(tmp_path, f"A=1\n\n{line}\nB=2\n")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.env: No such file"):
        envfile.read(str(tmp_path / "gone.env"), "gone.env")
    (tmp_path / "bad.env").write_bytes(b"A=\xff")
    with pytest.raises(UsageError, match=r"bad\.env: not UTF-8"):
        envfile.read(str(tmp_path / "bad.env"), "bad.env")


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    """A FIFO that nobody writes to, a pipe of the shell, a device without an end, a directory."""
    os.mkfifo(tmp_path / "fifo")
    ours, theirs = os.pipe()
    try:
        for path in (str(tmp_path / "fifo"), f"/dev/fd/{ours}", "/dev/zero", str(tmp_path)):
            with pytest.raises(UsageError, match=r"^env file e: is no regular file") as caught:
                envfile.read(path, "e")
            assert "each reload reads it again" in caught.value.remedy
    finally:
        os.close(ours)
        os.close(theirs)


def test_dev_null_is_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "none.env").symlink_to("/dev/null")
    assert envfile.read("/dev/null", "e") == envfile.read(str(tmp_path / "none.env"), "e") == ()


def test_a_file_that_is_no_environment_is_not_read_to_its_end(tmp_path: Path) -> None:
    with open(tmp_path / "e", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match=r"^env file e: more than 16 MiB"):
        envfile.read(str(tmp_path / "e"), "e")


def test_a_value_that_no_process_can_have_is_named_with_its_line(tmp_path: Path) -> None:
    """The kernel's limit to the octet, which a process that is started shows."""
    most = 32 * os.sysconf("SC_PAGE_SIZE") - len("É=\0".encode()) + 1  # A for É
    variables = read(tmp_path, f"B=1\nA={'x' * most}\n")
    subprocess.run(["/bin/true"], env=variables, check=True)
    with pytest.raises(OSError, match="Argument list too long"):
        subprocess.run(["/bin/true"], env={"A": variables["A"] + "x"}, check=True)
    with pytest.raises(UsageError, match=rf"^app\.env:2: A with its value has {most + 4} bytes"):
        read(tmp_path, f"B=1\nA={'x' * (most - 1)}é\n")


def test_more_than_the_stack_allows_is_told_with_the_file(tmp_path: Path) -> None:
    long = tuple((f"A{number}", "x" * 60_000) for number in range(50))
    before = resource.getrlimit(resource.RLIMIT_STACK)
    try:
        resource.setrlimit(resource.RLIMIT_STACK, (8 * 1024 * 1024, before[1]))
        envfile.check_room({"B": "1"}, long[:34], "e")
        envfile.check_room({name: "" for name, _ in long}, long[:34], "e")  # one of a name counts
        with pytest.raises(UsageError, match=r"^env file e: .*the kernel takes 2097152") as caught:
            envfile.check_room({"B": "1"}, long, "e")
        assert "3000652 bytes, 3000640 of them" in caught.value.message
        assert "ulimit -s" in caught.value.remedy
        with pytest.raises(UsageError, match=r"120\d{3} of them from this file"):
            envfile.check_room(dict(long[2:]), long[:2], "e")
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, before)
