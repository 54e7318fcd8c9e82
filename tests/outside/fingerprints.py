"""Writes the table of the functions of Tornado that the accelerations know.

    python tests/outside/fingerprints.py --python 3.11/bin/python … --tornado DIR …

Each DIR is an unpacked release (`pip download --no-deps tornado==6.6.1`, unzipped), each
PYTHON an interpreter of its own minor version.  Each is asked as it is, with -O and with
-OO: without assertions and docstrings the same function has another code.  What a release
changed has to be read before its functions are added: that they are known means that
somebody has compared what takes their place.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"
TABLE = SOURCE / "leeward/engine/accelerate/table.py"

#: How an interpreter is started, where that changes the code that it makes.
FLAGS: tuple[tuple[str, ...], ...] = ((), ("-O",), ("-OO",))

_ASK = """
import json, sys, tornado
from leeward.adapters import subprocesses
from leeward.engine import execute
from leeward.engine.accelerate.install import ACCELERATIONS
from leeward.engine.accelerate.pristine import find, fingerprint
paths = {*execute.REPLACED, *subprocesses.NEEDS}
for each in ACCELERATIONS:
    paths.update(each.needs)
    if each.inherited is None:
        paths.add(each.place)
found = {path: find(path) for path in sorted(paths)}
print(json.dumps({
    "python": "%d.%d" % sys.version_info[:2],
    "tornado": tornado.version,
    "found": {path: fingerprint(it) for path, it in found.items() if it is not None},
}))
"""

_HEAD = '''"""Fingerprints of functions of Tornado that are known: Python › function › code.

Tornado {versions}.
Made by tests/outside/fingerprints.py; not to be edited.  More than 400 lines of data, as -O
and -OO make other codes of one function.
"""

from __future__ import annotations

KNOWN: dict[str, dict[str, frozenset[str]]] = {{
'''


def ask(python: str, tornado: str, flags: tuple[str, ...]) -> dict[str, object]:
    environment = {**os.environ, "PYTHONPATH": f"{tornado}{os.pathsep}{SOURCE}"}
    done = subprocess.run(
        [python, *flags, "-c", _ASK], env=environment, capture_output=True, text=True, check=True
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", nargs="+", default=[sys.executable])
    parser.add_argument("--tornado", nargs="+", required=True)
    options = parser.parse_args()
    table: dict[str, dict[str, set[str]]] = {}
    versions: dict[str, None] = {}
    for python in options.python:
        for tornado, flags in itertools.product(options.tornado, FLAGS):
            answer = ask(python, tornado, flags)
            versions[str(answer["tornado"])] = None
            rows = table.setdefault(str(answer["python"]), defaultdict(set))
            for path, code in answer["found"].items():  # type: ignore[attr-defined]
                rows[path].add(code)
    text = _HEAD.format(versions=", ".join(versions))
    for python, rows in sorted(table.items()):
        text += f'    "{python}": {{\n'
        for path, codes in sorted(rows.items()):
            listed = ", ".join(f'"{it}"' for it in sorted(codes))
            text += f'        "{path}": frozenset({{{listed}}}),\n'
        text += "    },\n"
    TABLE.write_text(text + "}\n")
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", str(TABLE)], check=True)


if __name__ == "__main__":
    main()
