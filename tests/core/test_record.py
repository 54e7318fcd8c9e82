"""A record is a frozen dataclass in all that it is used for."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from leeward._core.record import Record, asdict, replace


class Point(Record):
    known: ClassVar[int] = 0
    x: int
    y: int = 2


class Named(Point):
    """Fields of the base class come first."""

    name: str = ""

    def __post_init__(self) -> None:
        if self.name == "?":
            raise ValueError("no name")


@dataclass(frozen=True)
class Model:
    x: int
    y: int = 2


@pytest.mark.parametrize(
    "args, named",
    [((1,), {}), ((1, 3), {}), ((), {"x": 1}), ((1,), {"y": 3}), ((), {"y": 3, "x": 1})],
)
def test_it_is_made_as_a_dataclass_is(args: tuple[Any, ...], named: dict[str, Any]) -> None:
    one, model = Point(*args, **named), Model(*args, **named)
    assert asdict(one) == {"x": model.x, "y": model.y} and list(asdict(one)) == ["x", "y"]
    assert repr(one) == repr(model).replace("Model", "Point")


@pytest.mark.parametrize(
    "args, named",
    [((), {}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1}), ((), {"y": 1})],
)
def test_what_it_does_not_take(args: tuple[Any, ...], named: dict[str, Any]) -> None:
    for kind in (Point, Model):
        with pytest.raises(TypeError):
            kind(*args, **named)


def test_a_subclass() -> None:
    assert asdict(Named(1, name="a")) == {"x": 1, "y": 2, "name": "a"}
    assert Named.FIELDS == {"x": "int", "y": "int", "name": "str"} and "known" not in Point.FIELDS
    with pytest.raises(ValueError, match="no name"):
        Named(1, name="?")
    with pytest.raises(ValueError, match="no name"):
        replace(Named(1), name="?")


def test_equal_values_are_equal() -> None:
    """Of the same kind only, and in a set; a copy is one too."""
    assert Point(1) == Point(1, 2) != Point(1, 3)
    assert Point(1) != Named(1) and Point(1) != (1, 2)
    assert {Point(1), Point(1, 2), replace(Point(5), x=1)} == {Point(1)}
    assert copy.copy(Point(1)) == pickle.loads(pickle.dumps(Point(1))) == Point(1)


def test_it_is_frozen() -> None:
    one = Point(1)
    with pytest.raises(AttributeError, match=r"Point.x cannot be set"):
        one.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match=r"Point.y cannot be deleted"):
        del one.y
    assert one == Point(1)


def test_its_fields_match_by_place() -> None:
    match Named(1, 3, "a"):
        case Named(x, y, name=name):
            assert (x, y, name) == (1, 3, "a")
        case _:
            pytest.fail("not matched")
