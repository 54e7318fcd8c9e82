"""Commands are plain values."""

from __future__ import annotations

import typing

import pytest

from leeward._core import commands
from leeward._core.record import Record

KINDS = typing.get_args(commands.Command)


@pytest.mark.parametrize("kind", KINDS, ids=lambda it: it.__name__)
def test_a_command_is_a_frozen_value(kind: type) -> None:
    """It is equal to its like, can be kept, and cannot be changed on its way to the hands."""
    names = list(kind.FIELDS)
    one, two = (kind(*range(len(names))) for _ in range(2))
    assert one == two and hash(one) == hash(two)
    for name in names:
        with pytest.raises(AttributeError, match="cannot be set"):
            setattr(one, name, None)


def test_every_command_is_in_the_union() -> None:
    """So that a `match` over `Command` is checked to be complete."""
    here = {it for it in vars(commands).values() if isinstance(it, type)} - {Record}
    assert here == set(KINDS)
