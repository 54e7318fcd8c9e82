"""A module that is imported lazily is itself once somebody looks into it."""

from __future__ import annotations

import subprocess
import sys

HEAD = "import sys\nfrom leeward._sys.lazily import import_lazily\n"


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_loaded_by_the_first_look() -> None:
    """Not by `import`, however often; and whoever imports it later has the real one."""
    code = """
import_lazily("colorsys")
import colorsys
import colorsys as again
assert again is colorsys and "rgb_to_hsv" not in vars(colorsys)
print(colorsys.rgb_to_hsv(0, 0, 1))
import colorsys as real
assert real is not colorsys and real.__spec__.name == "colorsys"
assert colorsys.hsv_to_rgb is real.hsv_to_rgb and "rgb_to_hsv" in vars(colorsys)
from colorsys import hls_to_rgb
assert hls_to_rgb is real.hls_to_rgb
"""
    assert run(code).split() == ["(0.6666666666666666,", "1.0,", "1)"]


def test_names_are_imported_from_it() -> None:
    assert run('import_lazily("colorsys")\nfrom colorsys import rgb_to_hsv; print(1)') == "1\n"


def test_what_it_has_not_is_missed() -> None:
    code = """
import_lazily("colorsys")
import colorsys
for _ in range(2):
    try:
        colorsys.no_such
    except AttributeError as error:
        print("no_such" in str(error))
"""
    assert run(code) == "True\nTrue\n"


def test_what_is_loaded_stays() -> None:
    code = 'import colorsys\nimport_lazily("colorsys")\nprint(sys.modules["colorsys"] is colorsys)'
    assert run(code) == "True\n"
