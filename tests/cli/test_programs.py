"""leeward.cli.programs: what is a program, and what is left to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from leeward._core.messages import Loaded
from leeward.cli import programs
from leeward.cli.config import rendered
from leeward.cli.resolution import Machine, Resolution, resolve
from leeward.errors import UsageError

PROGRAM = "import tornado\nserver.listen(8888)\nserver.start(2)\n"
BOTH = "app = 1\nif __name__ == '__main__':\n    app.listen(8888)\n"
FOUR = Machine(cpus=4, memory=None)


def resolved(tmp_path: Path, text: str = PROGRAM, **flags: Any) -> Resolution:
    (tmp_path / "server.py").write_text(text)
    given = {"target": "server.py", **flags}
    return resolve(given, environ={}, cwd=str(tmp_path), machine=FOUR)


@pytest.mark.parametrize(
    ("text", "flags", "kind"),
    [
        (PROGRAM, {}, "script"),
        (PROGRAM, {"kind": "tornado"}, "tornado"),
        (BOTH, {}, "tornado"),
        (BOTH, {"kind": "script"}, "script"),
        ("def broken(:", {}, "auto"),
        ("def broken(:", {"kind": "script"}, "script"),
        ("app = 1", {}, "tornado"),
        (PROGRAM, {"target": "server.py:app"}, "tornado"),
        (PROGRAM, {"target": "server"}, "tornado"),
        (PROGRAM, {"target": "elsewhere.py"}, "tornado"),
    ],
)
def test_what_is_a_program(tmp_path: Path, text: str, flags: dict[str, str], kind: str) -> None:
    """A file that listens and has no application; or what --kind says."""
    assert resolved(tmp_path, text, **flags).config.kind == kind


def test_the_reason_is_its_origin(tmp_path: Path) -> None:
    """`config --origin` names the line by which it serves."""
    found = resolved(tmp_path)
    assert found.values["kind"].origin == "default (it serves by listen() in line 2)"


def test_a_file_with_both_has_a_note(tmp_path: Path) -> None:
    """Which was chosen, and how to choose otherwise."""
    (note,) = (it for it in resolved(tmp_path, BOTH).config.notes if "--kind" in it)
    assert note == "app is served; --kind script runs server.py with its listen() in line 3"


@pytest.mark.parametrize("target", ["server", "server:app", "server.py:app"])
def test_only_a_file_can_be_run(tmp_path: Path, target: str) -> None:
    """--kind script with anything else is refused by its origin."""
    with pytest.raises(UsageError, match=f"flag --kind: {target} is no file"):
        resolved(tmp_path, target=target, kind="script")


def test_what_nobody_sets_is_the_programs_own(tmp_path: Path) -> None:
    """Its address and number are left open, and `config` does not write them down."""
    found = resolved(tmp_path)
    assert (found.config.bind, found.config.workers) == ((), 0)
    assert programs.must_be_asked(found, adopts=False)
    assert "# bind is not set" in rendered(found, origin=False)
    assert "# workers is not set" in rendered(found, origin=False)


def test_what_is_set_needs_no_rehearsal(tmp_path: Path) -> None:
    """With an address (or a service manager's) and a number there is nothing to ask."""
    both = resolved(tmp_path, bind=("127.0.0.1:1",), workers="2")
    assert not programs.must_be_asked(both, adopts=False)
    number = resolved(tmp_path, workers="auto")
    assert number.config.workers == 4
    assert programs.must_be_asked(number, adopts=False)
    assert not programs.must_be_asked(number, adopts=True)
    assert not programs.must_be_asked(resolved(tmp_path, "app = 1"), adopts=False)


@pytest.mark.parametrize(
    ("flags", "processes", "workers"),
    [({}, 3, 3), ({}, 0, 4), ({}, -1, 1), ({}, 9999, 256), ({"workers": "2"}, 3, 2)],
)
def test_what_a_rehearsal_says_is_taken_over(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: dict[str, str],
    processes: int,
    workers: int,
) -> None:
    """0 is one for each core; a flag wins."""
    monkeypatch.setattr(Machine, "look", classmethod(lambda cls: FOUR))
    loaded = Loaded("Tornado program", "x", 1, (), wants=(":1",), processes=processes, tls=True)
    found = programs.complete(resolved(tmp_path, **flags), loaded)
    assert (found.config.workers, found.wants, found.tls) == (workers, (":1",), True)
