"""Is each module of `_core` covered by its own test file, every branch of it?

    python tests/core/coverage_by_own_file.py

Runs all those test files once, keeps apart which test reached what, and exits
with 1, and with what was missed, unless `tests/core/test_NAME.py` alone reaches
100 % of `src/leeward/_core/NAME.py`.  A branch that is reached only by luck of
another module's tests is a branch without a test.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "src" / "leeward" / "_core"


def main() -> int:
    modules = sorted(it for it in CORE.glob("*.py") if it.name != "__init__.py")
    tests = [ROOT / "tests" / "core" / f"test_{it.stem}.py" for it in modules]
    sys.path.insert(0, str(ROOT / "src"))
    cover = coverage.Coverage(data_file=None, config_file=False, branch=True, include=[f"{CORE}/*"])
    cover.set_option("run:dynamic_context", "test_function")
    with cover.collect():
        failed = pytest.main(["-q", "-p", "no:cacheprovider", *map(str, tests)])
    if failed:
        return 1
    for module, test in zip(modules, tests, strict=True):
        # What runs at import, before any test, belongs to everybody.
        cover.set_option("report:contexts", [rf"\b{test.stem}\.", "^$"])
        cover.set_option("report:show_missing", True)
        text = io.StringIO()
        if cover.report([str(module)], file=text) < 100.0:
            print(f"{test.name} does not reach all of {module.name}:\n{text.getvalue()}")
            failed = 1
    if not failed:
        print(f"{len(modules)} modules, each 100 % by its own file")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
