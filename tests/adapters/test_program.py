"""What a program is told about itself, it is told on stderr, whatever becomes of that."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import pytest

from leeward._core.config import Config
from leeward.adapters.program import Program


@pytest.mark.parametrize("how", ["full", "closed", "none"])
def test_what_cannot_be_said_is_no_error_in_the_program(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage: Any = None
    program = Program(Config("app.py", kind="script"), (), stage, quiet=False)
    stderr = open("/dev/full", "w")  # noqa: SIM115
    with contextlib.suppress(OSError):  # at its own end, once more
        if how == "closed":
            stderr.close()
        with monkeypatch.context() as brief:
            brief.setattr(sys, "stderr", None if how == "none" else stderr)
            program.say_own_port()
            program.say_no_autoreload()
        stderr.close()
    assert program.quiet
