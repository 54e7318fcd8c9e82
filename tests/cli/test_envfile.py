"""leeward.cli.envfile: the lines that every dialect agrees on, and errors with file and line."""

from __future__ import annotations

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
