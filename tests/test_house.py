"""The house: walls, sizes, imports, and that what is documented is what is there."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import leeward
from leeward._core.worker import LIFE, Event, State
from leeward.cli.settings import TABLE, Setting

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
MODULES = sorted((SRC / "leeward").rglob("*.py"))
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    if ".venv" not in path.parts
)


def name_of(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def fresh(code: str) -> str:
    """What a new interpreter prints that finds nothing but leeward and its dependencies."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
        env=os.environ | {"PYTHONPATH": str(SRC)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- importing --------------------------------------------------------------------------


def test_every_module_can_be_imported_alone() -> None:
    """No module needs another to have been imported before it."""
    names = [name_of(path) for path in MODULES if path.stem != "__main__"]
    # One process for all, forgetting leeward's modules each time: 60 interpreters would
    # take 20 s.  A name that is left over in sys.modules cannot help the next module.
    code = f"""
import importlib, sys, traceback
failed = False
for name in {names!r}:
    for old in [m for m in sys.modules if m.partition(".")[0] == "leeward"]:
        del sys.modules[old]
    try:
        importlib.import_module(name)
    except Exception:
        failed = True
        print(name, file=sys.stderr)
        traceback.print_exc()
sys.exit(failed)
"""
    fresh(code)


def test_importing_leeward_does_nothing() -> None:
    """`import leeward` loads one module of ours, starts no thread and opens no descriptor."""
    code = """
import json, os, signal, sys
before = set(sys.modules)
fds, threads = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
handlers = [signal.getsignal(n) for n in signal.valid_signals()]
import leeward
new = set(sys.modules) - before
print(json.dumps({
    "ours": [name for name in new if name.partition(".")[0] not in sys.stdlib_module_names],
    "fds": len(os.listdir("/proc/self/fd")) - fds,
    "threads": len(os.listdir("/proc/self/task")) - threads,
    "handlers": [signal.getsignal(n) for n in signal.valid_signals()] == handlers,
}))
"""
    assert json.loads(fresh(code)) == {
        "ours": ["leeward"],
        "fds": 0,
        "threads": 0,
        "handlers": True,
    }


def test_the_supervisors_modules_are_the_standard_library() -> None:
    """The supervisor's rooms load nothing heavy, whoever imports them."""
    rooms = [
        name_of(path)
        for path in MODULES
        if path.relative_to(SRC / "leeward").parts[0] in ("_supervisor", "_sys", "_core")
    ]
    heavy = "asyncio logging argparse tomllib ssl multiprocessing subprocess dataclasses"
    code = f"import sys, {', '.join(rooms)}\nprint(*sys.modules)"
    assert set(fresh(code).split()) & {*heavy.split(), "tornado", "click"} == set()


def test_public_names_are_few_and_there() -> None:
    """At most 15 names, each of which exists and is documented."""
    assert len(leeward.__all__) <= 15
    for name in leeward.__all__:
        assert getattr(leeward, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        leeward.no_such_name  # noqa: B018


# --- walls and sizes --------------------------------------------------------------------


def test_the_walls_stand() -> None:
    """Imports run downwards only (contracts in pyproject.toml)."""
    pytest.importorskip("importlinter", reason="import-linter is in the extra `dev`")
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run(
        [*command, "--no-cache"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_wall_has_a_room_behind_it() -> None:
    """A package that no layer names would be outside of every contract."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = pyproject["tool"]["importlinter"]["contracts"][0]["layers"]
    named = {room.strip(" ()") for layer in layers for room in layer.split("|")}
    rooms = {".".join(name_of(path).split(".")[:2]) for path in MODULES}
    # The façade, its way in, and what is for tests only.
    assert rooms - named == {"leeward", "leeward.__main__", "leeward.testing"} & rooms


def test_every_decision_has_a_test_file_of_its_own() -> None:
    """By which `coverage_by_own_file.py` asks whether each branch has a test."""
    modules = {it.stem for it in (SRC / "leeward" / "_core").glob("*.py")} - {"__init__"}
    tests = {it.stem.removeprefix("test_") for it in (ROOT / "tests/core").glob("test_*.py")}
    assert not modules - tests


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_of_a_size_to_be_read(path: Path) -> None:
    """Under 400 lines, or its docstring says "lines" and why; functions under 60."""
    text = path.read_text()
    tree = ast.parse(text)
    doc = ast.get_docstring(tree) or ""
    assert doc, "a module says in its docstring what it is for"
    if text.count("\n") > 400:
        assert re.search(r"\blines\b", doc), "say in the docstring why it is this long"
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > 60
    ]
    assert not long


# --- lives ------------------------------------------------------------------------------


def test_the_table_of_a_life_is_total_and_ends() -> None:
    """Every state is in the table, every one can be reached, every one can end by death."""
    assert set(LIFE) == set(State)
    assert LIFE[State.GONE] == {}
    reached = {State.SPAWNING}
    for _ in State:
        reached |= {after for state in reached for after in LIFE[state].values()}
    assert reached == set(State)
    for state in set(State) - {State.GONE}:
        assert LIFE[state][Event.DIED] is State.GONE


def test_no_state_lives_for_ever() -> None:
    """Silence ends every state: by deadlines alone each comes to GONE; SERVING by a drain first."""
    for start in set(State) - {State.GONE}:
        state, steps = start, 0
        if state is State.SERVING:  # a healthy worker may serve for years
            state = LIFE[state][Event.DRAIN]
        while state is not State.GONE:
            state = LIFE[state][Event.DEADLINE]
            steps += 1
            assert steps < len(State), f"{start} goes in circles"


# --- documents --------------------------------------------------------------------------


def test_generated_pages_are_in_step() -> None:
    """docs/reference/settings.md says what the table says: run `make docs`."""
    for path, text in runpy.run_path(str(ROOT / "docs/generate.py"))["pages"]().items():
        assert path.read_text() == text, f"{path} is out of date: make docs"


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.key)
def test_every_setting_is_documented(setting: Setting) -> None:
    """A row has a sentence that says what it does, and why its default is what it is."""
    assert setting.doc.endswith((".", "?"))
    assert setting.precedent


def test_one_version() -> None:
    """The package and its metadata name the same version."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert leeward.__version__ == pyproject["project"]["version"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link in a page points at a file that is there."""
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_begins_with_a_command() -> None:
    """A reader finds the first command by line 20."""
    head = (ROOT / "README.md").read_text().splitlines()[:20]
    assert any(line.startswith(("$ ", "python3 ", "make ")) for line in head)


def test_every_word_of_the_glossary_stands_once() -> None:
    """One word per thing: no word is explained twice."""
    words = re.findall(r"^\*\*([^*]+)\*\*", (ROOT / "docs/glossary.md").read_text(), re.M)
    assert len(words) > 20
    assert len(words) == len(set(words))
