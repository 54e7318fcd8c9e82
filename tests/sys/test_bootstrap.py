"""The command line of every leeward process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from leeward._core.config import Config
from leeward._sys.bootstrap import command


@pytest.fixture
def root(tmp_path):
    """A site-packages with a leeward whose main() tells what it sees."""
    package = tmp_path / "site" / "leeward"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "_boot.py").write_text(
        "import sys\n"
        "def main():\n"
        "    import json, leeward.other, selectors\n"
        "    print(json.dumps([sys.argv, sys.path, leeward.__file__, selectors.__file__,\n"
        "                      sys.flags.isolated, sys.flags.no_site]))\n"
    )
    (package / "other.py").write_text("")
    # What may lie beside it, and in the working directory.
    for shadow in ("selectors", "json", "enum", "queue"):
        (tmp_path / "site" / f"{shadow}.py").write_text("raise SystemExit('shadowed')")
        (tmp_path / f"{shadow}.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "leeward.py").write_text("raise SystemExit('shadowed')")
    return tmp_path / "site"


def start(root, words, **environ):
    import json

    done = subprocess.run(
        words,
        cwd=root.parent,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("role", ["supervisor", "zygote", "worker", "resolve"])
def test_leeward_is_importable_and_shadows_nothing(root, role):
    """Neither its neighbours in site-packages nor the working directory hide the library."""
    argv, path, file, selectors, isolated, no_site = start(
        root, command([sys.executable], str(root), role, 7, "more")
    )
    assert argv == ["-c", str(root), role, "7", "more"]
    assert file == str(root / "leeward" / "__init__.py")
    assert str(root) not in path
    assert "" not in path
    assert selectors.startswith(os.path.dirname(os.__file__))
    bare = int(role == "supervisor")
    assert (isolated, no_site) == (bare, bare)


def test_a_root_that_is_on_the_path_anyway_stays_there_once(root):
    """PYTHONPATH=site-packages: our own entry goes, the user's stays."""
    code = command([sys.executable], str(root), "zygote", 7)
    shadows = [name for name in os.listdir(root) if name.endswith(".py")]
    for name in shadows:
        os.unlink(root / name)
    _, path, *_ = start(root, code, PYTHONPATH=str(root))
    assert path.count(str(root)) == 1


def test_the_users_flags_come_along():
    """A Config names interpreter and flags; the supervisor is bare besides."""
    config = Config(target="x", interpreter=("/usr/bin/python3", "-X", "dev"))
    assert command(config, "/root", "worker", 3)[:4] == ["/usr/bin/python3", "-X", "dev", "-c"]
    assert command(config, "/root", "supervisor", 3)[3:6] == ["-I", "-S", "-c"]
