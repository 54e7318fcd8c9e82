"""leeward.cli.paths and target: paths stay as they were typed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import leeward
from leeward.cli import paths
from leeward.cli.target import check_exists, default_name
from leeward.errors import TargetError, UsageError


def test_pwd_is_believed_only_when_it_is_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "release-1").mkdir()
    (tmp_path / "current").symlink_to("release-1")
    typed = str(tmp_path / "current")
    monkeypatch.chdir(typed)
    assert paths.logical_cwd({"PWD": typed}) == typed
    assert paths.logical_cwd({"PWD": "/"}) == os.getcwd()
    assert paths.logical_cwd({"PWD": "/gone/for/good"}) == os.getcwd()
    assert paths.logical_cwd({"PWD": "."}) == os.getcwd()
    assert paths.logical_cwd({}) == os.getcwd()


def test_what_python_made_absolute_gets_its_link_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "release-1").mkdir()
    (tmp_path / "current").symlink_to("release-1")
    monkeypatch.chdir(tmp_path / "current")
    typed = str(tmp_path / "current")
    physical = os.getcwd()
    assert paths.as_typed(f"{physical}/venv/bin/python", typed) == f"{typed}/venv/bin/python"
    assert paths.as_typed(physical, typed) == typed
    assert paths.as_typed(f"{physical}-2/bin", typed) == f"{physical}-2/bin"
    assert paths.as_typed("/usr/bin/python3", typed) == "/usr/bin/python3"


def test_the_root_holds_the_package() -> None:
    root = paths.package_root(os.getcwd())
    assert os.path.samefile(os.path.join(root, "leeward"), leeward.__path__[0])


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("chat:make_app", "chat"),
        ("chat:make_app()", "chat"),
        ("path/chat.py", "chat"),
        ("path/chat.py:app", "chat"),
        ("path/chat/__main__.py", "chat"),
        ("app.web:make", "app.web"),
        ("some/dir/", "dir"),
        ("mein chät.py", "mein-ch-t"),
        ("x" * 80, "x" * 64),
        ("", "leeward"),
        (":", "leeward"),
        ("..py", "leeward"),
    ],
)
def test_a_target_gives_its_instance_a_name(target: str, name: str) -> None:
    assert default_name(target) == name


def test_a_file_that_is_not_there_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "chat.py").write_text("")
    check_exists("chat.py:app", str(tmp_path))
    check_exists("no_such_module:app", str(tmp_path))
    with pytest.raises(TargetError, match='chta.py: no such file in .*; did you mean "chat.py"'):
        check_exists("chta.py", str(tmp_path))
    with pytest.raises(TargetError, match="there is no directory"):
        check_exists("gone/chat.py", str(tmp_path))
    with pytest.raises(UsageError, match="what to serve"):
        check_exists("", str(tmp_path))


@pytest.mark.parametrize(
    "text", [":", "chat:", ":app", "chat:f(", "chat:a:b", "chat:f(x)", "a b:app", "chat.py:f("]
)
def test_what_cannot_be_a_target_is_a_slip_of_who_typed_it(text: str, tmp_path: Path) -> None:
    """Exit code 2, as for any value that cannot be, before a zygote is started."""
    (tmp_path / "chat.py").write_text("")
    with pytest.raises(UsageError, match="no name and no call|does not name|no module|literals"):
        check_exists(text, str(tmp_path))
