"""Types are told apart, whatever their metaclasses say of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from leeward._zygote.objects import told_apart


class Alike(type):
    def __eq__(cls, other: object) -> bool:
        return True

    def __hash__(cls) -> int:
        return 1


class Unhashable(type):
    __hash__ = None  # type: ignore[assignment]


class Derived(Alike):
    pass


class Meta(type):
    """The class of a metaclass that says so of metaclasses."""

    def __eq__(cls, other: object) -> bool:
        raise RuntimeError

    def __hash__(cls) -> int:
        raise RuntimeError


class Maker(type, metaclass=Meta):
    pass


@pytest.mark.parametrize("maker", [Alike, Unhashable, Derived, Maker])
def test_classes_of_an_odd_metaclass(maker: type) -> None:
    one, other = maker("One", (), {}), maker("Other", (), {})
    types = [one, int, other, one]
    first, second, third, fourth = told_apart(types)
    assert first == fourth and len({first, second, third}) == 3
    assert not any(isinstance(key, type) for key in told_apart(types))


def test_all_others_are_their_own_keys() -> None:
    """The quick way, where nobody has made an odd metaclass, as in most programs."""
    code = """
import abc, ctypes, enum, typing, tornado.web
from leeward._zygote.objects import told_apart
types = [int, type, abc.ABC, abc.ABCMeta, enum.Enum, enum.EnumMeta, type(abc), ctypes.c_int]
assert told_apart(types) is types
class Part:
    __hash__ = None
class Odd(Part, enum.EnumMeta):
    pass
assert told_apart(types) is not types
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
