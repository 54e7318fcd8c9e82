"""Named cases of RFC 6455 and what a server has to do with each.

`Case.wire` is what the client sends after its handshake; each case ends the connection
by itself.  `answers` are the data frames and pongs that must come back, `close` the code
in the server's close frame: `EMPTY` for one without a code, `GONE` for no close frame.
`tornado` says what Tornado's own server does where it differs, as (answers, close).
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
EMPTY, GONE = -1, 0
#: Octets of the largest message that the servers of the tests take.
MOST = 16 * 1024 * 1024
KEY = b"\x37\xfa\x21\x3d"

Answers = tuple[tuple[int, bytes], ...]


class Case(NamedTuple):
    name: str
    section: str
    wire: bytes
    answers: Answers = ()
    close: int = 1000
    tornado: tuple[Answers, int] | None = None
    #: Is the application told something else than under Tornado, and what it must not be?
    differs: str = ""
    deflate: bool = False
    chop: int = 0  # send in pieces of so many octets


def masked(payload: bytes, key: bytes = KEY) -> bytes:
    pad = (key * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload) ^ int.from_bytes(pad)
    return number.to_bytes(len(payload))


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    bits: int = 0,
    mask: bool = True,
    form: int = 0,
    length: int | None = None,
    key: bytes = KEY,
) -> bytes:
    """form: 16 or 64 for that length field though a shorter one would do."""
    size = len(payload) if length is None else length
    head = bytes([fin << 7 | bits | opcode])
    flag = mask << 7
    if form == 64 or size > 0xFFFF:
        head += struct.pack("!BQ", flag | 127, size)
    elif form == 16 or size > 125:
        head += struct.pack("!BH", flag | 126, size)
    else:
        head += bytes([flag | size])
    return head + (key + masked(payload, key) if mask else payload)


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


END = close(1000)
HI: Answers = ((TEXT, b"hi"),)
SAID = frame(TEXT, b"hi")
#: No text, and allowed in a ping.
OCTETS = b"\xff\xfe\xfd\x80"


def _framing() -> Iterator[Case]:
    for size in (0, 1, 2, 124, 125, 126, 127, 128, 65535, 65536, 65537):
        for name, opcode in (("text", TEXT), ("binary", BINARY)):
            payload = b"*" * size
            wire = frame(opcode, payload) + END
            yield Case(f"{name} of {size}", "5.2", wire, ((opcode, payload),))
    for chop in (1, 3, 61):
        wire = frame(TEXT, b"*" * 300) + END
        yield Case(f"text of 300 by {chop}", "5.2", wire, ((TEXT, b"*" * 300),), chop=chop)
    yield Case("16 bits for a short length", "5.2", frame(TEXT, b"hi", form=16) + END, HI)
    yield Case("64 bits for a short length", "5.2", frame(TEXT, b"hi", form=64) + END, HI)
    for bit in (63, 64):
        size = 2**bit - (bit == 64)
        wire = SAID + frame(BINARY, b"", length=size)
        yield Case(f"length of 2^{bit}", "5.2", wire, HI, 1002, tornado=(HI, 1009))
    yield Case("length of 2^63-1", "5.2", SAID + frame(BINARY, b"", length=2**63 - 1), HI, 1009)
    for bits in range(0x10, 0x80, 0x10):
        for name, opcode in (("text", TEXT), ("ping", PING), ("close", CLOSE)):
            wire = SAID + frame(opcode, bits=bits)
            name = f"reserved bits {bits:#x} on {name}"
            yield Case(name, "5.2", wire, HI, 1002, tornado=(HI, GONE))
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        for payload in (b"", b"reserved"):
            name = f"opcode {opcode} {'with' if payload else 'without'} payload"
            wire = SAID + frame(opcode, payload) + frame(PING)
            yield Case(name, "5.2", wire, HI, 1002, tornado=(HI, GONE))
    wire = SAID + frame(3, b"a", fin=False) + frame(CONT, b"b") + END
    yield Case("reserved opcode in parts", "5.2", wire, HI, 1002, tornado=(HI, GONE))


def _masking() -> Iterator[Case]:
    taken = "hears what was not masked"
    said = ((TEXT, b"hi"), (TEXT, b"bare"))
    wire = SAID + frame(TEXT, b"bare", mask=False) + END
    yield Case("text not masked", "5.1", wire, HI, 1002, (said, 1000), taken)
    wire = SAID + frame(BINARY, b"x" * 70000, mask=False) + END
    big = (*HI, (BINARY, b"x" * 70000))
    yield Case("large binary not masked", "5.1", wire, HI, 1002, (big, 1000), taken)
    pong = (*HI, (PONG, b"p"))
    wire = SAID + frame(PING, b"p", mask=False) + END
    yield Case("ping not masked", "5.1", wire, HI, 1002, (pong, 1000), taken)
    wire = SAID + frame(CLOSE, b"\x03\xe8", mask=False)
    yield Case("close not masked", "5.1", wire, HI, 1002, (HI, 1000), taken)
    wire = SAID + frame(TEXT, b"a", fin=False) + frame(CONT, b"b", mask=False) + END
    both = (*HI, (TEXT, b"ab"))
    yield Case("second part not masked", "5.4", wire, HI, 1002, (both, 1000), taken)
    for key in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\x02\x03\x04"):
        wire = frame(TEXT, "héllo".encode(), key=key) + END
        yield Case(f"key {key.hex()}", "5.3", wire, ((TEXT, "héllo".encode()),))


def _fragments() -> Iterator[Case]:
    first, last = frame(TEXT, b"frag", fin=False), frame(CONT, b"ment")
    whole: Answers = ((TEXT, b"fragment"),)
    ping, pong = frame(PING, b"p"), (PONG, b"p")
    yield Case("in two parts", "5.4", first + last + END, whole)
    for chop in (1, 2, 7):
        name = f"in two parts by {chop}"
        yield Case(name, "5.4", first + ping + last + END, (pong, *whole), chop=chop)
    many = frame(BINARY, b"0", fin=False) + frame(CONT, b"1", fin=False) * 300 + frame(CONT, b"2")
    yield Case("in 302 parts", "5.4", many + END, ((BINARY, b"0" + b"1" * 300 + b"2"),))
    empty = frame(TEXT, fin=False) + frame(CONT, fin=False) + frame(CONT)
    yield Case("in three empty parts", "5.4", empty + END, ((TEXT, b""),))
    yield Case("ping between parts", "5.4", first + ping + last + END, (pong, *whole))
    wire = first + frame(PONG, b"x") + last + END
    yield Case("pong between parts", "5.4", wire, whole)
    yield Case("close between parts", "5.4", first + END + last, ())
    refused = {
        "continuation of nothing": SAID + last,
        "first continuation of nothing": SAID + frame(CONT, b"x", fin=False) + last,
        "continuation after the end": SAID + first + last + last,
        "text amid parts": SAID + first + frame(TEXT, b"new"),
        "binary amid parts": SAID + first + frame(BINARY, b"new"),
        "first part amid parts": SAID + first + frame(TEXT, b"new", fin=False) + last,
    }
    for name, wire in refused.items():
        answers = (*HI, *whole) if "after" in name else HI
        yield Case(name, "5.4", wire, answers, 1002, tornado=(answers, GONE))


def _control() -> Iterator[Case]:
    for size in (0, 1, 124, 125):
        payload = bytes(range(size))
        wire = frame(PING, payload) + END
        yield Case(f"ping of {size}", "5.5.2", wire, ((PONG, payload),))
        yield Case(f"pong of {size}", "5.5.3", frame(PONG, payload) + SAID + END, HI)
    wire = frame(PING, b"\x00\xff\xfe") + END
    yield Case("ping that is no text", "5.5.2", wire, ((PONG, b"\x00\xff\xfe"),))
    for name, opcode in (("close", CLOSE), ("ping", PING), ("pong", PONG)):
        gone = (HI, GONE)
        for size in (126, 127, 300):
            wire = SAID + frame(opcode, b"x" * size)
            yield Case(f"{name} of {size}", "5.5", wire, HI, 1002, gone)
        wire = SAID + frame(opcode, b"\x03\xe8", fin=False)
        yield Case(f"{name} in parts", "5.5", wire, HI, 1002, gone)
        wire = SAID + frame(opcode, b"\x03\xe8", form=16)
        yield Case(f"{name} with a long length", "5.5", wire, HI, 1002, gone)


def _closing() -> Iterator[Case]:
    yield Case("close without a code", "5.5.1", SAID + close(None), HI, EMPTY)
    wire = SAID + frame(CLOSE, b"\x03")
    yield Case("close of one octet", "5.5.1", wire, HI, 1002, (HI, EMPTY))
    for code in (*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999):
        yield Case(f"close {code}", "7.4", SAID + close(code, b"why"), HI, code)
    for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65535):
        wire = SAID + close(code, b"why")
        yield Case(f"close {code}", "7.4", wire, HI, 1002, (HI, code))
        yield Case(f"close {code} bare", "7.4", SAID + close(code), HI, 1002, (HI, code))
    yield Case("reason of 123", "5.5.1", SAID + close(1000, b"r" * 123), HI)
    yield Case("reason in UTF-8", "5.5.1", SAID + close(1000, "κόσμε".encode()), HI)
    for name, reason in (("not UTF-8", b"\xce\xba\xe1\xff"), ("cut", b"\xce")):
        wire = SAID + close(1000, reason)
        differs = "before 6.6 Tornado forgets on_close"
        yield Case(f"reason {name}", "5.5.1", wire, HI, 1007, (HI, GONE), differs)
    yield Case("text after close", "5.5.1", SAID + END + frame(TEXT, b"late"), HI)
    yield Case("ping after close", "5.5.1", SAID + END + frame(PING, b"late"), HI)
    yield Case("rubbish after close", "5.5.1", SAID + END + b"\xff" * 20, HI)
    yield Case("two closes", "5.5.1", SAID + close(1001) + close(1000), HI, 1001)


_GOOD = {
    "greek": "κόσμε",
    "one octet, least": "\0",
    "one octet, most": "\x7f",
    "two octets, least": "\x80",
    "two octets, most": "\u07ff",
    "three octets, least": "\u0800",
    "before the surrogates": "\ud7ff",
    "behind the surrogates": "\ue000",
    "no character": "\ufffe",
    "replacement": "\ufffd",
    "four octets, least": "\U00010000",
    "the last": "\U0010ffff",
}
_BAD = {
    "a continuation alone": b"\x80",
    "two continuations": b"\xbf\x80",
    "a start alone": b"\xc0 ",
    "overlong slash, two": b"\xc0\xaf",
    "overlong slash, three": b"\xe0\x80\xaf",
    "overlong slash, four": b"\xf0\x80\x80\xaf",
    "overlong NUL": b"\xc0\x80",
    "low surrogate": b"\xed\xa0\x80",
    "high surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "above the last": b"\xf4\x90\x80\x80",
    "five octets": b"\xf8\x88\x80\x80\x80",
    "six octets": b"\xfc\x84\x80\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "cut at the end": "κόσμε".encode()[:-1],
}


def _utf8() -> Iterator[Case]:
    for name, text in _GOOD.items():
        data = f"<{text}>".encode("utf-8", "surrogatepass")
        answer: Answers = ((TEXT, data),)
        yield Case(f"UTF-8: {name}", "8.1", frame(TEXT, data) + END, answer)
        parts = [data[at : at + 1] for at in range(len(data))]
        wire = frame(TEXT, parts[0], fin=False)
        wire += b"".join(frame(CONT, it, fin=False) for it in parts[1:]) + frame(CONT)
        yield Case(f"UTF-8 octet by octet: {name}", "8.1", wire + END, answer)
    for name, bad in _BAD.items():
        gone = (HI, GONE)
        wire = SAID + frame(TEXT, b"ok " + bad)
        yield Case(f"not UTF-8: {name}", "8.1", wire, HI, 1007, gone)
        wire = SAID + frame(TEXT, b"ok ", fin=False) + frame(CONT, bad)
        yield Case(f"not UTF-8 in the second part: {name}", "8.1", wire, HI, 1007, gone)
    wire = frame(BINARY, b"\xff\xfe\x80") + END
    yield Case("binary that is not UTF-8", "5.6", wire, ((BINARY, b"\xff\xfe\x80"),))
    wire = SAID + frame(TEXT, b"\xce", fin=False) + frame(PING, OCTETS) + frame(CONT, b"\xba")
    split = (*HI, (PONG, OCTETS), (TEXT, b"\xce\xba"))
    yield Case("UTF-8 round a ping", "8.1", wire + END, split)


#: Sent without their rest: only a server that does not wait for it ends these.
SOON = (
    Case("not UTF-8 in a first part", "8.1", SAID + frame(TEXT, b"\xff", fin=False), HI, 1007),
    Case(
        "not UTF-8 in half a payload",
        "8.1",
        SAID + frame(TEXT, b"abc\xff" + b"d" * 200)[:40],
        HI,
        1007,
    ),
    Case(
        "not UTF-8 in half a second part",
        "8.1",
        SAID + frame(TEXT, b"\xce", fin=False) + frame(CONT, b"\xff" + b"d" * 70000)[:5000],
        HI,
        1007,
        chop=7,
    ),
)


def _limits() -> Iterator[Case]:
    for name, opcode, size, chop in (
        ("text of 1 MiB by 997", TEXT, 2**20, 997),
        ("binary of 1 MiB by 64 KiB", BINARY, 2**20, 65536),
        ("text of 4 MiB by 16 KiB", TEXT, 2**22, 16384),
        ("text of 16 MiB", TEXT, MOST, 0),
        ("binary of 16 MiB by 128 KiB", BINARY, MOST, 131072),
    ):
        payload = b"*" * size
        wire = frame(opcode, payload) + END
        yield Case(name, "10.4", wire, ((opcode, payload),), chop=chop)
    for part in (64, 4096, 2**18):
        payload = b"*" * 2**20
        parts = [payload[at : at + part] for at in range(0, len(payload), part)]
        wire = frame(BINARY, parts[0], fin=False)
        wire += b"".join(frame(CONT, it, fin=False) for it in parts[1:-1])
        wire += frame(CONT, parts[-1]) + END
        yield Case(f"1 MiB in parts of {part}", "10.4", wire, ((BINARY, payload),))
    # More waits unread than is kept, and the next frame is larger still.
    large = b"*" * 2**20
    wire = frame(BINARY, large) * 4 + END
    yield Case("four of 1 MiB", "10.4", wire, ((BINARY, large),) * 4)
    wire = frame(TEXT, large, fin=False) + frame(CONT, large, fin=False) * 2 + frame(CONT, large)
    yield Case("4 MiB in parts of 1 MiB", "10.4", wire + END, ((TEXT, large * 4),))
    wire = SAID + frame(BINARY, b"", length=MOST + 1)
    yield Case("16 MiB and one octet", "10.4", wire, HI, 1009)
    wire = SAID + frame(BINARY, b"x" * 9, fin=False) + frame(CONT, b"", length=MOST - 8)
    yield Case("16 MiB and one octet in parts", "10.4", wire, HI, 1009)


def deflated(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return (made.compress(data) + made.flush(zlib.Z_SYNC_FLUSH))[:-4]


def _deflate() -> Iterator[Case]:
    packed = deflated(b"hello" * 50)
    answer: Answers = ((TEXT, b"hello" * 50),)
    gone = (HI, GONE)
    cases = [
        Case("compressed", "7692 6", frame(TEXT, packed, bits=0x40) + END, answer),
        Case("not compressed all the same", "7692 6", frame(TEXT, b"hello" * 50) + END, answer),
        Case(
            "compressed in parts",
            "7692 6",
            frame(TEXT, packed[:5], bits=0x40, fin=False) + frame(CONT, packed[5:]) + END,
            answer,
        ),
        Case("compressed empty", "7692 7.2.3.6", frame(TEXT, b"\0", bits=0x40) + END, ((1, b""),)),
        Case(
            "RSV1 on a later part",
            "7692 6.1",
            SAID + frame(TEXT, packed[:5], bits=0x40, fin=False) + frame(CONT, b"x", bits=0x40),
            HI,
            1002,
            gone,
        ),
        Case(
            "RSV1 on a ping",
            "7692 6.1",
            SAID + frame(PING, deflated(b"p"), bits=0x40) + END,
            HI,
            1002,
            ((*HI, (PONG, b"p")), 1000),
            "hears the ping",
        ),
        Case("RSV2 of a text", "5.2", SAID + frame(TEXT, packed, bits=0x60), HI, 1002, gone),
        Case("not UTF-8, plain", "8.1", SAID + frame(TEXT, b"\xff"), HI, 1007, gone),
        Case(
            "not UTF-8, compressed",
            "8.1",
            SAID + frame(TEXT, deflated(b"\xff"), bits=0x40),
            HI,
            GONE,
        ),
    ]
    for case in cases:
        yield case._replace(deflate=True)


CASES = tuple(
    itertools.chain(
        _framing(), _masking(), _fragments(), _control(), _closing(), _utf8(), _limits(), _deflate()
    )
)
