"""What pages say is what the program does: commands, flags, variables, codes, signals, lines."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from leeward import errors
from leeward._core import journal
from leeward._supervisor.instance import SIGNALS
from leeward.cli.main import VERBS, cli
from leeward.cli.settings import RESERVED, TABLE

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    if ".venv" not in path.parts
)
page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))

#: Flags of others' commands and of our scripts, and those that a page says we do not have.
FOREIGN = {"--keep-alive", "--preload"}
#: Those that the design says are planned; struck off here once they are there.
PLANNED: set[str] = set()


def commands(text: str) -> list[str]:
    """What a reader may type: console lines, code in sentences, a unit's ExecStart."""
    # No line of output begins with "$ ".
    typed = re.findall(r"^\s*\$ (.+)$", text, re.M)
    typed += re.findall(r"^ExecStart=\S*/(leeward .+)$", text, re.M)
    typed += re.findall(r"`((?:sudo -u \w+ )?\S*leeward [^`\n]+)`", prose(text))
    parts = [part for line in typed for part in re.split(r"&&|\s\|\s|\s{2,}", line)]
    found = (re.match(r"(?:sudo -u \w+ )?(?:\S*/)?leeward (.+)", it.strip()) for it in parts)
    return [match[1] for match in found if match]


def prose(text: str) -> str:
    return re.sub(r"^\s*```.*?^\s*```$", "", text, flags=re.M | re.S)


def verb(name: str) -> click.Command:
    assert isinstance(cli, click.Group)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, f"there is no verb {name}"
    return command


@functools.cache
def flags() -> frozenset[str]:
    verbs = [cli, *(verb(name) for name in VERBS)]
    options = [it for command in verbs for it in command.params if isinstance(it, click.Option)]
    names = (flag for it in options for flag in (*it.opts, *it.secondary_opts))
    return frozenset({"--help", *names})


#: Of an entry in the journal.
FIELDS = set(re.findall("LEEWARD_[A-Z]+", inspect.getsource(journal)))


@page
def test_every_command_is_accepted(path: Path) -> None:
    """Each `leeward …` of a page: the verb exists and takes these flags and arguments."""
    for line in commands(path.read_text()):
        words = shlex.split(line, comments=True)
        if words and words[0].startswith("-"):
            assert words[0] in flags(), line
            continue
        try:
            verb(words[0]).make_context(words[0], words[1:])
        except click.MissingParameter:
            pass  # `leeward scale`, spoken of and not typed
        except (click.UsageError, errors.UsageError) as error:
            pytest.fail(f"{path.name}: leeward {line}: {error}")


@page
def test_every_flag_exists(path: Path) -> None:
    assert not PLANNED & flags()
    spans = re.findall(r"`(--[a-z][^` =\n]*)", prose(path.read_text()))
    unknown = set(spans) - flags() - FOREIGN - PLANNED
    assert not unknown


@page
def test_every_variable_exists(path: Path) -> None:
    known = {*RESERVED, *(setting.env for setting in TABLE), *FIELDS}
    named = set(re.findall(r"\bLEEWARD_[A-Z_]*[A-Z]\b", path.read_text()))
    assert named <= known, named - known


def test_every_exit_code_has_its_row() -> None:
    """One row for each code, and none for a code that no error has."""
    text = (ROOT / "docs/reference/exit-codes.md").read_text()
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.M)}
    kinds = [it for it in vars(errors).values() if isinstance(it, type)]
    codes = {it.exit_code for it in kinds if issubclass(it, errors.LeewardError)}
    assert rows == {0, 130, *codes}


def test_every_signal_has_its_row() -> None:
    """The page of signals names those that the supervisor handles, and KILL."""
    text = (ROOT / "docs/reference/signals.md").read_text().split("## To a worker")[0]
    rows = re.findall(r"^\| ([A-Z0-9, ]+) \|", text, re.M)
    named = {name for row in rows for name in row.split(", ")}
    handled = {it.name.removeprefix("SIG") for it in SIGNALS} - {"CHLD"}
    assert named == handled | {"KILL"}


def test_every_benchmark_has_its_row() -> None:
    """The table of bench/README.md names each script once, and no other."""
    text = (ROOT / "bench/README.md").read_text()
    rows = re.findall(r"^\| `(\w+\.py)` \|", text, re.M)
    assert sorted(rows) == sorted(path.name for path in (ROOT / "bench").glob("*.py"))


@functools.cache
def spoken() -> frozenset[str]:
    """Every piece of text in the code that is long enough to know it by."""
    pieces = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                pieces |= {piece.strip(" :;,") for piece in node.value.splitlines()}
    return frozenset(piece for piece in pieces if len(piece) >= 8)


def lines_to_look_for() -> list[str]:
    text = (ROOT / "docs/how-to/when-it-fails.md").read_text()
    rows = re.findall(r"^\|(?: \d+ \|)? ([^|]*`[^|]+) \|", text, re.M)
    quoted = [span for row in rows for span in re.findall(r"`([^`]+)`", row)]
    return [it for it in quoted if not re.match(r"SIG|killed by SIG|exited|leeward\.toml", it)]


@pytest.mark.parametrize("line", lines_to_look_for())
def test_every_line_to_look_for_can_be_said(line: str) -> None:
    """A symptom that the how-to page quotes is one that the code can utter."""
    assert any(piece in line or line in piece for piece in spoken()), line


def test_the_tutorials_own_application_is_found(tmp_path: Path) -> None:
    """The Python block of the tutorial, and what `check` says of it there."""
    text = (ROOT / "docs/tutorial/first-steps.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.S)
    said = re.search(r"\$ leeward check hello:make_app\n(.*?)\$ ", text, re.S)
    assert code and said
    (tmp_path / "hello.py").write_text(code[1])
    done = subprocess.run(
        [sys.executable, "-m", "leeward", "check", "hello:make_app", "--bind", "127.0.0.1:0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    def still(words: str) -> list[str]:
        """Less what differs from machine to machine."""
        kept = [line for line in words.splitlines() if re.match(r"settings|found|mode", line)]
        return [re.sub(r"\d+ ms", "N ms", line) for line in kept]

    assert still(done.stdout) == still(said[1])
