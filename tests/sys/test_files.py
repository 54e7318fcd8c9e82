"""Small files, read whole and bounded."""

from __future__ import annotations

import os

from leeward._sys.files import lines, read


def test_a_file_is_read_whole_or_up_to_the_limit(tmp_path):
    """Also in more than one portion."""
    path = tmp_path / "file"
    path.write_bytes(b"ab\ncd\n" * 50_000)
    assert read(str(path), 10) == b"ab\ncd\nab\nc"
    assert read(str(path), 300_000) == path.read_bytes()
    assert lines(str(path), 11) == ["ab", "cd", "ab"]  # a line that was cut is left out


def test_what_cannot_be_read_is_none(tmp_path):
    """Missing, a directory, or a process that has gone."""
    assert read(str(tmp_path / "missing")) is None
    assert read(str(tmp_path)) is None
    assert lines(str(tmp_path / "missing")) == []
    child = os.posix_spawn("/bin/true", ["true"], {})
    fd = os.open(f"/proc/{child}/stat", os.O_RDONLY)
    os.waitpid(child, 0)
    try:
        assert read(f"/proc/self/fd/{fd}") is None  # opens, and then says ESRCH
    finally:
        os.close(fd)


def test_a_fifo_is_no_place_to_hang(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    assert not read(str(tmp_path / "fifo"))
