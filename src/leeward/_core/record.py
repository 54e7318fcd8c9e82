"""Values with named fields: dataclasses that are made without making code.

`@dataclass` writes the text of its methods for each class, and compiles it.  A `Record`, which is
frozen, or a `Struct`, which changes, learns its fields when its class is made, and all share their
methods.  For messages, settings and commands that is half of the 140 ms of processor time that
`leeward ps` took, a third of what the start of a service did, and 0.8 of the 8 MiB that the
supervisor may have; for the 41 others of a supervisor and a zygote, 14 and 25 ms.  To make a value
takes 2 us instead of 0.5: where thousands are made a second, they are named tuples.  Type checkers
see a dataclass (PEP 681).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, dataclass_transform

T = TypeVar("T")


class _Made:
    """The default of a field of which each value has its own."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], T]) -> T:
    """For a field whose default is a value that changes, as in `dataclasses`."""
    made: Any = _Made(default_factory)
    return made  # type: ignore[no-any-return]


class _Fields:
    """What both are: a class whose annotations, strings (PEP 563), are its values' fields."""

    #: What each field is annotated with, by its name, in their order.
    FIELDS: ClassVar[dict[str, str]] = {}
    #: What fields are that need not be given.
    DEFAULTS: ClassVar[dict[str, Any]] = {}
    #: How many may be given by their place.
    _PLACES: ClassVar[int] = 0

    def __init_subclass__(cls, kw_only: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        stated = cls.__annotations__.items()
        own = {name: text for name, text in stated if not text.startswith("ClassVar")}
        cls.FIELDS = {**cls.FIELDS, **own}
        cls._PLACES = 0 if kw_only else len(cls.FIELDS)
        setattr(cls, "__match_args__", tuple(cls.FIELDS))  # noqa: B010  # mypy knows it to be final
        cls.DEFAULTS = {**cls.DEFAULTS, **{it: vars(cls)[it] for it in own if it in vars(cls)}}

    def __init__(self, *values: Any, **named: Any) -> None:
        """Raises TypeError as any function that is called with what it does not take."""
        kind = type(self)
        fields, defaults, mine = kind.FIELDS, kind.DEFAULTS, self.__dict__
        if len(values) > kind._PLACES:
            raise TypeError(f"{kind.__name__} takes {kind._PLACES} by place, not {len(values)}")
        for name, value in zip(fields, values, strict=False):
            if name in named:
                raise TypeError(f"{kind.__name__}.{name} is given twice")
            mine[name] = value
        for name in list(fields)[len(values) :]:
            if name in named:
                mine[name] = named.pop(name)
            elif name in defaults:
                value = defaults[name]
                mine[name] = value.make() if type(value) is _Made else value
            else:
                raise TypeError(f"{kind.__name__}.{name} is missing")
        if named:
            raise TypeError(f"{kind.__name__} has no field {next(iter(named))!r}")
        self.__post_init__()

    def __post_init__(self) -> None:
        """For a subclass that checks its fields."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({values})"


@dataclass_transform(field_specifiers=(field,))
class Struct(_Fields):
    """Base class of what changes.  Equal by its values, and so in no set."""

    __hash__ = None  # type: ignore[assignment]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Record(_Fields):
    """Base class of what is frozen."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))


R = TypeVar("R", bound=Record)


def replace(record: R, **changes: Any) -> R:
    """The same but for `changes`."""
    return type(record)(**{**record.__dict__, **changes})


def asdict(record: Record) -> dict[str, Any]:
    """Its values by their names.  What is in them stays as it is."""
    return dict(record.__dict__)
