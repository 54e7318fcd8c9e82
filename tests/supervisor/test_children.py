"""leeward._supervisor.children: why a process cannot be started."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from leeward._core.config import Config
from leeward._supervisor.children import Children
from leeward._sys.posix import Posix


def test_an_environment_that_is_too_large_is_told_as_one(tmp_path: Path) -> None:
    """Not as a long list of arguments, which there is none of; and nothing stays open."""
    config = Config("app", interpreter=(sys.executable,), cwd=str(tmp_path), root="/nowhere")
    children = Children(Posix(), {"A": "x" * 140_000}, "/run/x.sock")
    before = os.listdir("/proc/self/fd"), os.getcwd()
    try:
        with pytest.raises(OSError, match="its environment is too large"):
            children.start(config, "zygote")
    finally:
        os.chdir(before[1])
    assert os.listdir("/proc/self/fd") == before[0]


def test_a_chroot_without_dev_null_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """posix_spawn names the interpreter, which is there, whatever it is that it cannot open."""
    config = Config("app", interpreter=(sys.executable,), cwd=os.getcwd(), root="/nowhere")

    def spawn(path: str, *args: object, **kwargs: object) -> int:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    children = Children(Posix(posix_spawn=spawn), {}, "/run/x.sock")
    with pytest.raises(FileNotFoundError) as told:
        children.start(config, "zygote")
    assert told.value.filename == sys.executable
    monkeypatch.setattr(os.path, "exists", lambda path: path != os.devnull)
    with pytest.raises(FileNotFoundError) as told:
        children.start(config, "zygote")
    assert told.value.filename == os.devnull
