"""What became of a batch is found out, and mended, also on files that we may not open."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from collector.harness import fork

from leeward._collector.streams import Stream
from leeward._sys.ring import Intent

NOBODY = 65534
BEFORE = b"before\n"
BATCH = b"one\ntwo\nthree\n"


@pytest.fixture(params=["readable", "unreadable", "appended to"])
def kind(request: pytest.FixtureRequest) -> str:
    """Of a file that is another user's; or one that can only be appended to (chattr +a)."""
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path, kind: str) -> Iterator[Path]:
    it = tmp_path / "log"
    yield it
    if kind == "appended to" and it.exists():
        subprocess.run(["chattr", "-a", it], check=False, timeout=20)


def find(path: Path, kind: str, there: bytes) -> bool:
    """What the successor of a collector says that has left so much behind."""
    path.write_bytes(BEFORE + there)
    fd = os.open(path, os.O_WRONLY | (os.O_APPEND if kind == "appended to" else 0))
    os.lseek(fd, 0, os.SEEK_END)
    it = os.fstat(fd)
    intent = Intent(1, it.st_dev, it.st_ino, len(BEFORE), len(BATCH))
    if kind == "appended to":
        try:
            subprocess.run(["chattr", "+a", path], check=True, capture_output=True, timeout=20)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs root, chattr and a file system that knows +a")
    else:
        path.chmod(0o444 if kind == "readable" else 0)

    def body() -> None:
        if os.getuid() == 0 and kind != "appended to":
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        if not Stream(fd).find(intent, BATCH):
            os._exit(3)

    _, status = os.waitpid(fork(body), 0)
    os.close(fd)
    if kind != "appended to":
        path.chmod(0o600)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 3)
    return code == 0


def test_a_batch_that_is_there_is_not_written_again(path: Path, kind: str) -> None:
    assert find(path, kind, BATCH)
    assert path.read_bytes() == BEFORE + BATCH


def test_nor_where_others_have_written_behind_it(path: Path, kind: str) -> None:
    assert find(path, kind, BATCH + b"of another\n")
    assert path.read_bytes() == BEFORE + BATCH + b"of another\n"


def test_a_part_is_taken_back_or_has_its_line_ended(path: Path, kind: str) -> None:
    assert not find(path, kind, BATCH[:6])
    left = BATCH[:6] + b"\n" if kind == "appended to" else b""
    assert path.read_bytes() == BEFORE + left


@pytest.mark.parametrize("octets", [1, 4, 6, 13])
def test_so_is_one_behind_lines_of_others(path: Path, kind: str, octets: int) -> None:
    """Who wrote when the collector had looked for the last time, and before it wrote."""
    others, part = b"one of another\none\n", BATCH[:octets]
    assert find(path, kind, others + part) == (kind == "unreadable")
    left = b"" if kind == "readable" else part
    if kind == "appended to" and not part.endswith(b"\n"):
        left += b"\n"
    assert path.read_bytes() == BEFORE + others + left


def test_whole_lines_have_an_end_already(path: Path, kind: str) -> None:
    assert not find(path, kind, BATCH[:4])
    assert path.read_bytes() == BEFORE + (BATCH[:4] if kind == "appended to" else b"")


def test_nothing_is_there(path: Path, kind: str) -> None:
    assert not find(path, kind, b"")
    assert path.read_bytes() == BEFORE


def test_lines_of_others_are_no_batch(path: Path, kind: str) -> None:
    """Where one may look; where not, as many octets of others count as ours."""
    assert find(path, kind, b"of another, and longer than ours\n") == (kind == "unreadable")


def test_what_fitted_and_cannot_be_taken_back_is_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full, and a file that can only be appended to: the rest follows later."""

    def refuse(fd: int, size: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "ftruncate", refuse)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open(tmp_path / "log", "ab", buffering=0) as file:
        stream = Stream(file.fileno())
        place = stream.begin(len(BATCH))
        resource.setrlimit(resource.RLIMIT_FSIZE, (6, before[1]))
        try:
            sent = stream.append(BATCH, place)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert (sent, stream.append(BATCH[sent:], place)) == (6, len(BATCH) - 6)
    assert (tmp_path / "log").read_bytes() == BATCH
