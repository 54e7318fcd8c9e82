"""leeward.run and the façade: an object is refused, and its name is shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import leeward


def make_app() -> None: ...


APP = object()


def test_an_object_is_refused_and_the_string_to_write_is_shown() -> None:
    with pytest.raises(leeward.UsageError, match=rf"leeward serve {__name__}:make_app"):
        leeward.run(make_app)
    with pytest.raises(leeward.UsageError, match=r"leeward serve \S+:APP$"):
        leeward.run(APP)
    with pytest.raises(leeward.UsageError, match=r"leeward serve chat:app$"):
        leeward.run("chat:app")
    with pytest.raises(leeward.UsageError, match=r":NAME$"):
        leeward.run(object())
    with pytest.raises(leeward.UsageError, match=r":NAME$"):
        leeward.run(lambda: None)


def test_a_program_is_named_by_its_file(tmp_path: Path) -> None:
    program = tmp_path / "chat.py"
    program.write_text("import leeward\ndef make(): pass\nleeward.run(make)\n")
    done = subprocess.run(
        [sys.executable, "chat.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "leeward serve chat.py:make" in done.stderr


def test_importing_the_package_loads_nothing_else() -> None:
    code = (
        "import sys; a=set(sys.modules); import leeward;"
        "print(*sorted(m for m in set(sys.modules)-a if m.startswith('leeward')));"
        "print(*sorted(m for m in ('asyncio','logging','socket') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "leeward\n\n"


def test_the_public_names_are_few_and_all_there() -> None:
    assert len(leeward.__all__) <= 15
    assert dir(leeward) == sorted(leeward.__all__)
    for name in leeward.__all__:
        assert getattr(leeward, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        leeward.nothing  # noqa: B018
