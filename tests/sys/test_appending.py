"""Appending to a file that others append to, rotate and empty."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from leeward._sys.appending import Appender, StandardError, empty_once


def test_lines_follow_the_name_of_the_file(tmp_path: Path) -> None:
    """A file that was renamed, or removed, gets no more: the one of that name does."""
    path = tmp_path / "app.log"
    appender = Appender(str(path))
    appender.write(b"one\n")
    path.rename(tmp_path / "app.log.1")
    appender.write(b"two\n")
    assert (tmp_path / "app.log.1").read_bytes() == b"one\n"
    assert path.read_bytes() == b"two\n"
    path.unlink()
    appender.write(b"three\n")
    assert path.read_bytes() == b"three\n"
    appender.close()
    appender.close()


def test_what_others_have_appended_stays(tmp_path: Path) -> None:
    """Each write goes behind whatever was written before it."""
    path = tmp_path / "app.log"
    one, two = Appender(str(path)), Appender(str(path))
    for it in (one, two, one):
        it.write(b"x" * 10_000 + b"\n")
    assert path.read_bytes() == (b"x" * 10_000 + b"\n") * 3
    for it in (one, two):
        it.close()


def test_descriptor_two_is_written_to_and_stays_open(capfd: pytest.CaptureFixture[str]) -> None:
    """Closing standard error is nobody's to do."""
    error = StandardError()
    error.write(b"told\n")
    error.close()
    os.fstat(error.fileno())
    assert capfd.readouterr().err == "told\n"


def test_a_file_is_emptied_by_the_first_only(tmp_path: Path) -> None:
    """What was written since the instance began stays; what is older goes, once."""
    path = tmp_path / "app.log"
    began = time.time() - 100
    path.write_bytes(b"of yesterday\n")
    os.utime(path, (began - 1000, began - 1000))
    empty_once(str(path), began)
    assert path.read_bytes() == b""
    path.write_bytes(b"of today\n")
    empty_once(str(path), began)
    assert path.read_bytes() == b"of today\n"


def test_a_file_that_is_missing_is_made(tmp_path: Path) -> None:
    """As `open(path, "w")` makes it."""
    empty_once(str(tmp_path / "app.log"), time.time())
    assert (tmp_path / "app.log").read_bytes() == b""
