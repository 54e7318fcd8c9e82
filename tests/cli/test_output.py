"""leeward.cli.output: what a terminal cannot show, and a reader who left."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leeward.cli import output


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_text_is_too_much_for_the_terminals_encoding(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file's name that is no UTF-8 is a lone surrogate to Python: no encoding has it."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    output.say("grün … /srv/\udcff")
    said = raw.getvalue().decode(encoding)
    assert (
        said
        == {
            "ascii": "gr\\xfcn \\u2026 /srv/\\udcff\n",
            "latin-1": "grün \\u2026 /srv/\\udcff\n",
            "utf-8": "grün … /srv/\\udcff\n",
        }[encoding]
    )


READS = """
import os, sys
from leeward.cli import output
print(output.is_read(), file=sys.stderr)
os.close(int(sys.argv[1]))
print(output.is_read(), file=sys.stderr)
output.say("nobody reads this")
print(output.is_read(), file=sys.stderr)
"""


def test_a_reader_who_left_is_seen_before_a_word_is_said() -> None:
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", READS, str(reading)],
        stdout=writing,
        stderr=subprocess.PIPE,
        pass_fds=[reading],
        text=True,
    ) as process:
        os.close(reading)  # the one that it has is the last one
        os.close(writing)
        assert process.communicate(timeout=20)[1].split() == ["True", "False", "False"]
    assert process.returncode == 0


def test_a_file_is_always_read(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w") as file:
        done = subprocess.run(
            [sys.executable, "-c", "from leeward.cli import output; exit(not output.is_read())"],
            stdout=file,
            timeout=20,
            check=False,
        )
    assert done.returncode == 0
