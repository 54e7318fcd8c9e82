"""Each hazard's page: its reproduction has that hazard, on the line that is marked."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import leeward
from leeward._core.hazards import CODES, TABLE, Hazard

SRC = Path(leeward.__file__).parent.parent
PAGES = SRC.parent / "docs/reference/hazards"
LIBRARIES = (
    *("tornado.web", "bokeh.server.server", "redis.asyncio", "pymongo", "sqlalchemy", "grpc"),
    *("numpy.random", "pandas", "opentelemetry.sdk.trace", "opentelemetry.sdk.metrics", "boto3"),
    *("requests", "psycopg", "uvloop", "aiohttp", "httpx", "matplotlib.pyplot", "kafka"),
    *("pyarrow", "sentry_sdk", "asyncpg", "motor", "concurrent.futures", "multiprocessing.pool"),
)
LOOK = """
import os, sys
sys.path.insert(0, {src!r})
from leeward._zygote.audit import audit, open_descriptors
from leeward._zygote.origins import Origins
from leeward._zygote.watch import Watch

def look(where):
    os.chdir(where)
    sys.path.insert(0, where)
    own, watch = open_descriptors(), Watch(Origins())
    watch.arm()
    import shop
    watch.disarm()
    # Over and done with in one go: what is found must not find its own file.
    found = [it.to_json() for it in audit(own, watch).hazards]
    with open("found", "w") as file:
        file.write(chr(10).join(found))

for where in {places!r}:
    if (pid := os.fork()) == 0:
        try:
            look(where)
        finally:
            os._exit(0)  # without the end of a process, which a thread would wait for
    os.waitpid(pid, 0)
"""


def reproduction(code: str) -> str:
    page = (PAGES / f"{code}.md").read_text()
    shown = re.search(r"## Reproduction\n\n```python\n(.*?)```", page, re.S)
    assert shown
    return shown[1]


def audited(programs: dict[str, str | dict[str, str]], directory: Path) -> dict[str, list[Hazard]]:
    """What each of these programs has, imported as a zygote imports it.

    A program is its shop.py, or all of its files.

    By one process that forks for each: to start an interpreter takes ten times as long.
    One that cannot be imported is left out.
    """
    places = {name: directory / name for name in programs}
    for name, place in places.items():
        files = programs[name]
        for path, text in ({"shop.py": files} if isinstance(files, str) else files).items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(src=str(SRC), places=[*map(str, places.values())])],
        stderr=subprocess.PIPE,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    texts = {name: place / "found" for name, place in places.items()}
    return {
        name: [Hazard.from_json(line) for line in path.read_text().splitlines()]
        for name, path in texts.items()
        if path.exists()
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Hazard]]:
    programs = {code: reproduction(code) for code in CODES}
    return audited(programs, tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Hazard]]:
    programs = {name: f"import {name}\n" for name in LIBRARIES if installed(name)}
    return audited(programs, tmp_path_factory.mktemp("libraries"))


def installed(name: str) -> bool:
    return importlib.util.find_spec(name.partition(".")[0]) is not None


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_that_is_only_imported_is_no_hazard(
    name: str, imported: dict[str, list[Hazard]]
) -> None:
    """Nobody loses the zygote, or reads a warning, for an import."""
    if not installed(name):
        pytest.skip(f"{name} is not installed")
    assert imported[name] == []


@pytest.mark.parametrize("code", CODES)
def test_the_reproduction_has_the_hazard(code: str, found: dict[str, list[Hazard]]) -> None:
    """Exactly the codes that its lines are marked with, each on its line."""
    if code == "LW171" and importlib.util.find_spec("numpy") is None:
        pytest.skip("numpy is not installed")
    if code == "LW122" and not found[code]:
        pytest.skip("the kernel does not allow io_uring here")
    lines = enumerate(reproduction(code).splitlines(), 1)
    marks = ((number, re.search(r"# (LW\d+)", line)) for number, line in lines)
    marked = {mark[1]: number for number, mark in marks if mark}
    assert {it.code for it in found[code]} == {code, *marked}
    for it in found[code]:
        # Of what C code opens, 3.11 knows no line.
        known = it.code in marked and (sys.version_info >= (3, 12) or it.where)
        assert it.where == f"shop.py:{marked[it.code]}" if known else True, it


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.code)
def test_the_page_says_what_the_table_says(row) -> None:
    """Name, verdict, fault and remedy; and the list of all pages has its line."""
    page = (PAGES / f"{row.code}.md").read_text()
    assert page.startswith(f"# {row.code}: {row.name}\n\n**{row.verdict.capitalize()}**")
    assert f"In short: {row.fault}." in page
    assert f"{row.remedy[0].upper()}{row.remedy[1:]}." in page
    line = f"| [{row.code}]({row.code}.md) | {row.name} | {row.verdict} | {row.fault} |"
    assert line in (PAGES / "README.md").read_text()
