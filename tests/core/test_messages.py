"""The conversation between processes: what can be said, and what rubbish does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from leeward._core.messages import (
    NAME,
    Answer,
    BadMessage,
    Begin,
    Descriptor,
    Drain,
    Fork,
    Forked,
    Message,
    Progress,
    Ready,
    decode,
    encode,
)
from leeward._core.record import replace

KINDS = sorted(Message.kinds.values(), key=lambda it: it.__name__)
QUIET = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)

EXAMPLES: dict[str, Any] = {
    "str": "zwölf \x00 \ud800"[:7],
    "int": 2**40,
    "bool": True,
    "float": 2.5,
    "Descriptor": Descriptor(7),
    "tuple[str, ...]": ("a", ""),
    "tuple[Descriptor, ...]": (Descriptor(8), Descriptor(9)),
}
WRONG: dict[str, list[Any]] = {
    "str": [b"bytes", 1, None],
    "int": [True, 1.0, "1"],
    "bool": [0, 1, None],
    "float": [True, "2.5", None],
    "Descriptor": [7, "7", None],
    "tuple[str, ...]": ["ab", ["a"], ("a", 1)],
    "tuple[Descriptor, ...]": [(7,), [Descriptor(7)], Descriptor(7)],
}


def example(kind: type[Message]) -> Message:
    return kind(**{name: EXAMPLES[expected] for name, expected in kind.FIELDS.items()})


def received(message: Message) -> Message:
    """As the peer gets it: other numbers for the same descriptors, in the same order."""
    data, descriptors = encode(message)
    return decode(data, [fd + 100 for fd in descriptors])


@pytest.mark.parametrize("kind", KINDS, ids=lambda it: it.__name__)
def test_every_message_survives_the_journey(kind: type[Message]) -> None:
    """Equal on the other side, but for the numbers of its descriptors."""
    message = example(kind)
    back = received(message)
    data, descriptors = encode(message)
    places = sum(
        {"Descriptor": 1, "tuple[Descriptor, ...]": 2}.get(it, 0) for it in kind.FIELDS.values()
    )
    assert len(descriptors) == places
    assert decode(data, descriptors) == message
    assert type(back) is kind
    for name, expected in kind.FIELDS.items():
        if expected == "Descriptor":
            assert getattr(back, name) == 107
        elif expected == "tuple[Descriptor, ...]":
            assert set(getattr(back, name)) == {108, 109}


@pytest.mark.parametrize("kind", KINDS, ids=lambda it: it.__name__)
def test_a_message_that_cannot_be_sent_cannot_be_built(kind: type[Message]) -> None:
    """Each field checks its type, on either side, and says which one is wrong."""
    message = example(kind)
    for name, expected in kind.FIELDS.items():
        for wrong in WRONG[expected]:
            with pytest.raises(BadMessage, match=rf"{kind.__name__}\.{name} is "):
                replace(message, **{name: wrong})


def test_an_int_is_a_float_but_a_bool_is_no_number() -> None:
    """As people write them, and as Python would not tell."""
    assert received(Drain("stop", 25, 10)) == Drain("stop", 25.0, 10.0)
    with pytest.raises(BadMessage):
        Drain("stop", True, 10)


def test_descriptors_travel_in_the_order_of_their_fields() -> None:
    """Their places stand in the bytes, the descriptors beside them."""
    begin = Begin("{}", 1, 2, Descriptor(5), (Descriptor(6), Descriptor(7)), ("a", "b"))
    data, descriptors = encode(begin)
    assert descriptors == [5, 6, 7]
    assert b'"page":0' in data and b'"listeners":[1,2]' in data
    back = decode(data, [15, 16, 17])
    assert isinstance(back, Begin)
    assert (back.page, back.listeners, back.baseline) == (15, (16, 17), ())
    assert type(back.page) is Descriptor


@pytest.mark.parametrize("kind", KINDS, ids=lambda it: it.__name__)
def test_what_is_left_out_has_its_default_or_is_missed(kind: type[Message]) -> None:
    """An older peer may leave out what is new; never what has no default."""
    data, descriptors = encode(example(kind))
    for name, expected in kind.FIELDS.items():
        if "Descriptor" in expected:
            continue  # see below: they are counted
        body = json.loads(data)
        del body[name]
        short = json.dumps(body).encode()
        if name not in kind.DEFAULTS:
            with pytest.raises(BadMessage, match=name):
                decode(short, descriptors)
        else:
            assert getattr(decode(short, descriptors), name) == kind.DEFAULTS[name]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"7",
        b'"Hello"',
        b"{}",
        b'{"=":"NoSuchKind"}',
        b'{"=":["Hello"]}',
        b'{"=":{}}',
        b'{"=":"Message","__class__":1}',
        b'{"=":"Hello"}',
        b'{"=":"Hello","pid":"1"}',
        b'{"=":"Hello","pid":1,"uid":0}',
        b'{"=":"Hello","pid":1e999}',
        b'{"=":"Hello","pid":NaN}',
        b'{"=":"Fork","worker":1,"slot":0,"row":0,"channel":[9]}',
        b'{"=":"Fork","worker":1,"slot":0,"row":0,"channel":7}',
        b'{"=":"Fork","worker":1,"slot":0,"row":0,"channel":[null]}',
        b'{"=":"Fork","worker":1,"slot":0,"row":0,"channel":["0"]}',
        b'{"=":"Begin","page":{}}',
        b"[" * 100_000,
        b'{"=":"Progress","text":' + b"1" * 5000 + b"}",
    ],
    ids=lambda it: repr(it[:40]),
)
def test_rubbish_is_a_bad_message_and_nothing_else(data: bytes) -> None:
    """Whatever a confused peer sends, one kind of error comes of it."""
    with pytest.raises(BadMessage):
        decode(data, [5] if b"channel" in data or b"page" in data else [])


@pytest.mark.parametrize(
    ("places", "descriptors"),
    [
        ("null", []),
        ("0", [5]),
        ("[0]", []),
        ("[0]", [5, 6]),
        ("[]", [5]),
        ("[0,0]", [5, 6]),
        ("[0,0]", [5]),
        ("[-1]", [5]),
        ("[1,0]", [5, 6]),
        ("[true]", [5, 6]),
        ("[0.0]", [5]),
    ],
)
def test_descriptors_are_counted(places: str, descriptors: list[int]) -> None:
    """Each that came has its one place: none is used twice, and none is left over to leak."""
    data = f'{{"=":"Ready","kind":"k","found":"f","baseline":{places}}}'.encode()
    with pytest.raises(BadMessage):
        decode(data, descriptors)


@seed(20240229)
@QUIET
@given(st.binary(max_size=200), st.lists(st.integers(0, 50), max_size=3))
def test_no_bytes_do_harm(data: bytes, descriptors: list[int]) -> None:
    """Random bytes decode to a BadMessage."""
    with pytest.raises(BadMessage):
        decode(data, descriptors)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)


@seed(20240229)
@QUIET
@given(st.data())
def test_no_values_do_harm(data: st.DataObject) -> None:
    """Random values in the fields of a real kind: a message, or a BadMessage."""
    kind = data.draw(st.sampled_from(KINDS))
    body = {it: data.draw(JSON, label=it) for it in kind.FIELDS}
    try:
        message = decode(json.dumps({NAME: kind.__name__, **body}).encode(), [])
    except BadMessage:
        return
    assert decode(*encode(message)) == message


@seed(20240229)
@QUIET
@given(st.text(), st.integers(), st.text())
def test_any_text_travels(text: str, code: int, more: str) -> None:
    """Tracebacks contain anything."""
    for message in (Answer(code, text, more), Progress(text), Ready(text, more)):
        assert received(message) == message


def test_the_errors_are_short() -> None:
    """A bad message may be 64 KiB of rubbish; its error is a line."""
    with pytest.raises(BadMessage) as error:
        decode(b"x" * 60_000, [])
    assert len(str(error.value)) < 300
    with pytest.raises(BadMessage) as error:
        Fork("x" * 60_000, 0, 1, 0)  # type: ignore[arg-type]
    assert len(str(error.value)) < 300


def test_what_is_shown_is_what_makes_it() -> None:
    """For whoever debugs: the kind and each field."""
    assert repr(Forked(3, 4711)) == "Forked(worker=3, pid=4711)"
