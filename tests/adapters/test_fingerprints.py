"""Which files of a generation have changed since it started."""

import importlib
import importlib.machinery
import importlib.util
import os
import sys

import pytest

import leeward
from leeward.adapters import fingerprints as f
from leeward.errors import UsageError


@pytest.fixture
def module(tmp_path, monkeypatch):
    path = tmp_path / "some_chat.py"
    path.write_text("x = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("some_chat")
    yield path
    del sys.modules["some_chat"]


def test_only_what_is_not_the_standard_library_counts(module):
    """The application's modules and its packages; neither os nor leeward."""
    found = f.fingerprints()
    assert "some_chat" in found and "pytest" in found
    assert not {"os", "json", "leeward.errors"} & set(found)


def test_a_lazy_module_is_counted_and_left_alone(tmp_path, monkeypatch):
    """It would be imported, or raise, if it were asked for anything; nor is `None` a module."""
    path = tmp_path / "lazy_chat.py"
    path.write_text("raise ImportError('no such driver')")
    spec = importlib.util.spec_from_file_location(
        "lazy_chat",
        path,
        loader=importlib.util.LazyLoader(
            importlib.machinery.SourceFileLoader("lazy_chat", str(path))
        ),
    )
    lazy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lazy)
    monkeypatch.setitem(sys.modules, "lazy_chat", lazy)
    monkeypatch.setitem(sys.modules, "no_chat", None)
    found = f.fingerprints()
    assert found["lazy_chat"].endswith(str(path)) and "no_chat" not in found
    with pytest.raises(UsageError):
        leeward.run(object())  # looks for the object's name in every module
    with pytest.raises(ImportError):
        _ = lazy.anything


def test_nothing_changed(module):
    """A second look finds no difference, by way of JSON too."""
    assert f.changed_since(f.fingerprints()) == ()
    assert f.changed_since_json(f.to_json()) == ()


def test_an_edited_file_is_named(module):
    """Size, time or inode: one difference is enough."""
    before = f.fingerprints()
    os.utime(module, ns=(1, 1))
    assert f.changed_since(before) == (str(module),)


def test_a_deleted_file_is_named(module):
    """It was loaded, and nobody could load it again."""
    before = f.fingerprints()
    module.unlink()
    assert f.changed_since(before) == (str(module),)


def test_a_module_from_another_release_is_named(module, tmp_path):
    """Same name, same bytes, other directory: a `current` link was swapped."""
    before = f.fingerprints()
    other = tmp_path / "other.py"
    os.link(module, other)
    sys.modules["some_chat"].__file__ = str(other)
    assert f.changed_since(before) == (str(other),)
