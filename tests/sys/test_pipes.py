"""Pipes for what workers print hold a megabyte, and never block who reads them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest

from leeward._sys import pipes


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = pipes.create()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_the_reader_never_blocks_and_the_writer_does(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    assert os.get_blocking(writer)
    assert not os.get_inheritable(reader) and not os.get_inheritable(writer)


def test_what_the_system_does_not_allow_is_not_insisted_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pipe as it comes is better than none."""
    monkeypatch.setattr(pipes, "SIZES", (1 << 40, 1 << 20))
    reader, writer = pipes.create()
    granted = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
    os.close(reader)
    os.close(writer)
    assert granted >= 4096


def test_how_full_it_is(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    half = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ) // 2
    assert not pipes.any_readable([reader])
    os.write(writer, b"x" * half)
    assert pipes.any_readable([reader])
    assert not pipes.fills_up(reader)
    os.write(writer, b"x")
    assert pipes.fills_up(reader)
