"""Frozen values with named fields: a frozen dataclass that is made without making code.

`@dataclass` writes the text of its methods for each class, and compiles it.  A `Record` learns its
fields when its class is made, and all share their methods.  For messages, settings and commands
that is half of the 140 ms of processor time that `leeward ps` took, a third of what the start of a
service did, and 0.8 of the 8 MiB that the supervisor may have.  To make a value takes 2 us instead
of 0.5: where thousands are made a second, they are dataclasses.  Type checkers see one (PEP 681).
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar, dataclass_transform


@dataclass_transform(frozen_default=True)
class Record:
    """Base class.  Annotations are strings (PEP 563); a default is a value that cannot change."""

    #: What each field is annotated with, by its name, in their order.
    FIELDS: ClassVar[dict[str, str]] = {}
    #: What fields are that need not be given.
    DEFAULTS: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        stated = cls.__annotations__.items()
        own = {name: text for name, text in stated if not text.startswith("ClassVar")}
        cls.FIELDS = {**cls.FIELDS, **own}
        setattr(cls, "__match_args__", tuple(cls.FIELDS))  # noqa: B010  # mypy knows it to be final
        cls.DEFAULTS = {**cls.DEFAULTS, **{it: vars(cls)[it] for it in own if it in vars(cls)}}

    def __init__(self, *values: Any, **named: Any) -> None:
        """Raises TypeError as any function that is called with what it does not take."""
        kind = type(self)
        fields, defaults, mine = kind.FIELDS, kind.DEFAULTS, self.__dict__
        if len(values) > len(fields):
            raise TypeError(f"{kind.__name__} has {len(fields)} fields, not {len(values)}")
        for name, value in zip(fields, values, strict=False):
            if name in named:
                raise TypeError(f"{kind.__name__}.{name} is given twice")
            mine[name] = value
        for name in list(fields)[len(values) :]:
            if name in named:
                mine[name] = named.pop(name)
            elif name in defaults:
                mine[name] = defaults[name]
            else:
                raise TypeError(f"{kind.__name__}.{name} is missing")
        if named:
            raise TypeError(f"{kind.__name__} has no field {next(iter(named))!r}")
        self.__post_init__()

    def __post_init__(self) -> None:
        """For a subclass that checks its fields."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({values})"


R = TypeVar("R", bound=Record)


def replace(record: R, **changes: Any) -> R:
    """The same but for `changes`."""
    return type(record)(**{**record.__dict__, **changes})


def asdict(record: Record) -> dict[str, Any]:
    """Its values by their names.  What is in them stays as it is."""
    return dict(record.__dict__)
