"""Records and structs are dataclasses in all that they are used for."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from leeward._core.record import Record, Struct, asdict, field, replace


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


# --- those that change ------------------------------------------------------------------


class Basket(Struct):
    """apples: each its own."""

    owner: str
    apples: list[str] = field(default_factory=list)
    full: bool = False


@dataclass
class Tray:
    owner: str
    apples: list[str] = dataclasses.field(default_factory=list)
    full: bool = False


@pytest.mark.parametrize(
    "args, named", [(("a",), {}), (("a", ["x"]), {}), ((), {"owner": "a", "full": True})]
)
def test_a_struct_is_made_as_a_dataclass_is(args: tuple[Any, ...], named: dict[str, Any]) -> None:
    one, model = Basket(*args, **named), Tray(*args, **named)
    assert vars(one) == vars(model) and list(vars(one)) == list(vars(model))
    assert repr(one) == repr(model).replace("Tray", "Basket")


def test_a_struct_changes() -> None:
    """And is equal by what it is now; so it has no hash, as no dataclass that changes."""
    one, other = Basket("a"), Basket("a")
    one.apples.append("x")
    assert one != other and other.apples == Basket("a").apples == []
    other.apples, one.full = ["x"], True
    assert one != other
    other.full = True
    assert one == other and one != Tray("a", ["x"], True)
    for value in (one, Tray("a")):
        with pytest.raises(TypeError, match="unhashable"):
            hash(value)


class Pair(Record, kw_only=True):
    first: int = 1
    second: int


def test_by_name_alone() -> None:
    """A field without a default may follow one that has some."""
    assert asdict(Pair(second=2)) == {"first": 1, "second": 2}
    with pytest.raises(TypeError, match="takes 0 by place, not 1"):
        Pair(1, second=2)  # type: ignore[misc]
    with pytest.raises(TypeError, match=r"Pair\.second is missing"):
        Pair(first=2)  # type: ignore[call-arg]


def test_a_record_may_hold_what_is_made_for_it() -> None:
    class Call(Record):
        words: dict[str, str] = field(default_factory=dict)

    assert Call().words == {} and Call().words is not Call().words
