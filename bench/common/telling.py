"""Telling a result: a table with the contract beside the figure, and a file that keeps it."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from common.measure import median

RESULTS = Path(__file__).resolve().parent.parent / "results"
_DISTRIBUTIONS = (
    "tornado",
    "gunicorn",
    "uvicorn",
    "granian",
    "starlette",
    "aiohttp",
    "numpy",
    "pandas",
    "uvloop",
)


@dataclass(frozen=True)
class Contract:
    """A number that the project holds itself to (docs/design.md, "Contracts")."""

    what: str
    figure: float
    bound: float
    unit: str = ""
    at_least: bool = False

    @property
    def holds(self) -> bool:
        # A figure that could not be had (nan) holds nothing.
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound

    def __str__(self) -> str:
        sign, verdict = ("≥", "≤")[not self.at_least], "holds" if self.holds else "DOES NOT HOLD"
        unit = f" {self.unit}".rstrip()
        figure = f"{self.figure:.4g}{unit}"
        return f"  {self.what:<58} {figure:>10}  {sign} {self.bound:g}{unit:<5} {verdict}"


@dataclass
class Report:
    """What one script found."""

    question: str
    settings: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    ratios: dict[str, dict[str, float]] = field(default_factory=dict)
    contracts: list[Contract] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def ratio(self, name: str, ours: Sequence[float], theirs: Sequence[float]) -> None:
        """`theirs / ours` of each round, in which both were measured one after the other."""
        found = [b / a for a, b in zip(ours, theirs, strict=False) if a > 0]
        if found:
            self.ratios[name] = {"median": median(found), "min": min(found), "max": max(found)}

    def tell(self) -> None:
        """The table, on stdout."""
        where = machine()
        print(f"\n{self.question}")
        cpu = f"{where['cpu']}, {where['cores']} CPUs, load {where['load']}"
        print(f"  {cpu}, Linux {where['kernel']}, {python()}")
        print("  " + ", ".join(f"{key} {value}" for key, value in self.settings.items()), "\n")
        _table(self.rows)
        if self.ratios:
            print("\n  ratio (median, min–max over the rounds)")
            for name, it in self.ratios.items():
                print(f"  {name:<58} {it['median']:.2f}×  ({it['min']:.2f}–{it['max']:.2f})")
        if self.contracts:
            print("\n  contract")
            print("\n".join(map(str, self.contracts)))
        for remark in self.remarks:
            print(f"  {remark}")

    def keep(self, name: str) -> None:
        """Write the result to bench/results/NAME.json."""
        content = {
            "question": self.question,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
            "commit": commit(),
            "machine": machine(),
            "python": python(),
            "versions": versions(),
            "settings": self.settings,
            "rows": self.rows,
            "ratios": self.ratios,
            "contracts": [{**asdict(it), "holds": it.holds} for it in self.contracts],
            "remarks": self.remarks,
        }
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps(_rounded(content), indent=1, ensure_ascii=False)
        (RESULTS / f"{name}.json").write_text(text + "\n")


def _table(rows: Iterable[Mapping[str, Any]]) -> None:
    rows = list(rows)
    if not rows:
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_cell(row.get(key, "")) for key in columns] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    for line in cells:
        first, *rest = (
            text.ljust(width) if at == 0 else text.rjust(width)
            for at, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  " + "   ".join([first, *rest]).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "–" if value != value else f"{value:.4g}"
    return str(value)


def _rounded(value: Any) -> Any:
    """Five digits are enough, and JSON has no nan."""
    if isinstance(value, float):
        return None if value != value else float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(it) for key, it in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(it) for it in value]
    return value


# --- where and with what ------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """What a figure depends on.  No host name and no path.

    load: of the last five minutes, our own share (1 to 2) and whatever else ran.
    """
    model = "unknown CPU"
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        model = next(
            (line.partition(":")[2].strip() for line in file if line.startswith("model name")),
            model,
        )
    release = platform.release().split("-")[0]
    load = round(os.getloadavg()[1], 1)
    return {"cpu": model, "cores": os.cpu_count(), "kernel": release, "load": load}


def python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def versions() -> dict[str, str]:
    found = {}
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def commit() -> str:
    """Of this checkout, with "+" behind it if tracked files of the package differ."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/src")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except OSError:  # no git here
        return "unknown"


# --- the command line of each script --------------------------------------------------------------


def arguments(doc: str) -> argparse.ArgumentParser:
    """A parser with what all scripts have."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--keep", action="store_true", help="write the result to bench/results/ as well"
    )
    parser.add_argument("--only", metavar="NAMES", help="contenders, separated by commas")
    return parser


def chosen(contenders: Iterable[Any], only: str | None) -> list[Any]:
    """The contenders that are asked for and installed; says which are missing."""
    names = None if only is None else {name.strip() for name in only.split(",")}
    found = []
    for it in contenders:
        if names is not None and it.name not in names:
            continue
        try:
            metadata.version(it.needs)
        except metadata.PackageNotFoundError:
            print(f"  {it.name} is not installed: left out (pip install -e '.[bench]')")
            continue
        found.append(it)
    return found


def finish(report: Report, name: str, keep: bool) -> None:
    report.tell()
    if keep:
        report.keep(name)
    sys.stdout.flush()
