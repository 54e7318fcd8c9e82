"""Random requests: mostly legal, each with a few things that deviate, all of them counted.

A production is a named option of a group; the first of a group is the usual one.
`Grammar.input()` makes what one connection sends, cut into pieces.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import NamedTuple

#: Group -> production -> octets.  `{n}` is the length of the body.
OPTIONS: dict[str, dict[str, bytes]] = {
    "prefix": {
        "none": b"",
        "crlf": b"\r\n",
        "lf": b"\n",
        "two-crlf": b"\r\n\r\n",
        "cr": b"\r",
        "cr-crlf": b"\r\r\n",
        "crlf-cr": b"\r\n\r",
        "space": b" ",
        "nul": b"\0",
    },
    "method": {
        "GET": b"GET",
        "POST": b"POST",
        "HEAD": b"HEAD",
        "OPTIONS": b"OPTIONS",
        "CONNECT": b"CONNECT",
        "lower": b"get",
        "token": b"M-SEARCH",
        "empty": b"",
        "not-token": b"G(T",
        "high": b"G\xc9T",
    },
    "target": {
        "path": b"/a",
        "query": b"/a/b?c=d&e=%20",
        "fragment": b"/a#b",
        "slashes": b"//a",
        "high": b"/caf\xc3\xa9",
        "odd": b'/"<>\\^`{|}',
        "absolute": b"http://example.com/x?y",
        "absolute-bare": b"http://example.com:80",
        "absolute-user": b"http://u:p@example.com/",
        "absolute-empty": b"http:///x",
        "absolute-v6": b"http://[::1]/",
        "one-slash": b"http:/x",
        "authority": b"example.com:443",
        "authority-empty": b":443",
        "star": b"*",
        "star-more": b"*/a",
        "relative": b"foo",
        "question": b"?a",
        "empty": b"",
        "space": b"/a b",
        "tab": b"/a\tb",
        "nul": b"/a\0b",
        "del": b"/a\x7fb",
    },
    "version": {
        "1.1": b"HTTP/1.1",
        "1.0": b"HTTP/1.0",
        "1.2": b"HTTP/1.2",
        "2.0": b"HTTP/2.0",
        "0.9": b"HTTP/0.9",
        "lower": b"http/1.1",
        "long": b"HTTP/1.10",
        "none": b"",
        "junk": b"HTTP/1.1 x",
        "trailing": b"HTTP/1.1 ",
    },
    "gap": {"sp": b" ", "two": b"  ", "tab": b"\t", "vt": b"\x0b", "nbsp": b"\xa0"},
    "eol": {
        "crlf": b"\r\n",
        "lf": b"\n",
        "crcrlf": b"\r\r\n",
        "cr": b"\r",
        "lfcr": b"\n\r",
        "nel": b"\x85",
    },
    "host": {
        "name": b"Host: example.com",
        "port": b"Host: example.com:8080",
        "empty": b"Host:",
        "empty-port": b"Host: a:",
        "v6": b"Host: [2001:db8::1]:80",
        "v6-zone": b"Host: [fe80::1%25eth0]",
        "v-future": b"Host: [v1.a:b]",
        "percent": b"Host: a%41b",
        "none": b"X-Host: a",
        "twice": b"Host: a\r\nHost: a",
        "twice-other": b"Host: a\r\nhost: b",
        "comma": b"Host: a,b",
        "space": b"Host: a b",
        "user": b"Host: u@a",
        "path": b"Host: a/b",
        "colons": b"Host: a:b:c",
        "brackets": b"Host: ]a[",
        "v6-bad": b"Host: [::1::2]",
        "v6-open": b"Host: [::1",
        "port-long": b"Host: a:" + b"1" * 5000,
        "port-six": b"Host: a:100000",
        "port-name": b"Host: a:http",
        "percent-bad": b"Host: a%4",
        "high": b"Host: caf\xe9",
        "nel": b"Host: a\x85",
    },
    "field": {
        "plain": b'X-Plain: a, b;c="d"',
        "empty": b"X-Empty:",
        "spaces": b"X-Spaces: \t a  b\t ",
        "no-space": b"x-tight:a",
        "colons": b"X-Colons: a:b:c",
        "high": b"X-High: caf\xe9 \x85\xa0",
        "nbsp-edge": b"X-Edge: \xa0a\xa0",
        "inner-tab": b"X-Tab: a\tb",
        "repeat": b"X-Plain: c\r\nx-plain: d",
        "underscore": b"Content_Length: 3",
        "digits": b"1a: b",
        "no-colon": b"X-None",
        "no-name": b": a",
        "name-space": b"X Y: a",
        "space-colon": b"X-Space : a",
        "tab-colon": b"X-Tab\t: a",
        "name-high": b"X-\xe9: a",
        "name-nul": b"X-\0: a",
        "name-paren": b"X(: a",
        "nul": b"X-Nul: a\0b",
        "del": b"X-Del: a\x7fb",
        "escape": b"X-Esc: \x1b[1m",
        "vt": b"X-Vt: a\x0bb",
        "fs-edge": b"X-Fs: a\x1c",
        "cr": b"X-Cr: a\rb",
        "cr-end": b"X-Cr: a\r",
        "fold": b"X-Fold: a\r\n b",
        "fold-tab": b"X-Fold: a\r\n\tb",
        "fold-empty": b"X-Fold: a\r\n ",
        "fold-vt": b"X-Fold: a\r\n\x0bb",
        "fold-nbsp": b"X-Fold: a\r\n\xa0b: c",
        "fold-length": b"Content-Length:\r\n 3",
        "fold-coding": b"Transfer-Encoding:\r\n chunked",
        "cookie": b"Cookie: a=b; c=d",
        "upgrade": b"Upgrade: websocket",
        "websocket": b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "websocket-case": b"UPGRADE: WebSocket\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
        "websocket-short": b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==",
        "websocket-long": b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE=",
        "websocket-octets": b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!!==",
        "websocket-empty": b"Upgrade: websocket\r\nSec-WebSocket-Key:",
        "websocket-twice": b"Upgrade: websocket"
        + b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" * 2,
        "websocket-other": b"Upgrade: h2c\r\nSec-WebSocket-Key: a",
    },
    "first": {"none": b"", "space": b" X-First: a", "tab": b"\tX-First: a"},
    "connection": {
        "none": b"",
        "close": b"Connection: close",
        "close-case": b"Connection: Close",
        "keep": b"Connection: keep-alive",
        "keep-case": b"Connection: Keep-Alive",
        "list": b"Connection: close, TE",
        "list-last": b"Connection: Upgrade ,\tclose",
        "two-lines": b"Connection: keep-alive\r\nConnection: close",
        "like": b"Connection: closed, not-close",
        "empty": b"Connection:",
        "nbsp": b"Connection: \xa0close",
    },
    "expect": {
        "none": b"",
        "continue": b"Expect: 100-continue",
        "case": b"Expect: 100-Continue",
        "other": b"Expect: 200-ok",
        "list": b"Expect: 100-continue, x",
    },
    "framing": {
        "none": b"",
        "length": b"Content-Length: {n}",
        "chunked": b"Transfer-Encoding: chunked",
        "chunked-case": b"transfer-encoding: Chunked",
        "length-zero": b"Content-Length: 0",
        "length-zeros": b"Content-Length: 000{n}",
        "length-list": b"Content-Length: {n}, {n}",
        "length-lines": b"Content-Length: {n}\r\nContent-Length: {n}",
        "length-tab": b"Content-Length: {n},\t{n}",
        "length-unequal": b"Content-Length: {n}, 1{n}",
        "length-zero-list": b"Content-Length: {n}, 0{n}",
        "length-comma": b"Content-Length: {n},",
        "length-space-comma": b"Content-Length: {n} ,{n}",
        "length-plus": b"Content-Length: +{n}",
        "length-minus": b"Content-Length: -{n}",
        "length-hex": b"Content-Length: 0x{n}",
        "length-under": b"Content-Length: 1_0",
        "length-empty": b"Content-Length:",
        "length-space": b"Content-Length: 1 0",
        "length-nbsp": b"Content-Length: {n}\xa0",
        "length-vt": b"Content-Length: \x0b{n}",
        "length-high": b"Content-Length: \xb2",
        "length-large": b"Content-Length: 1001",
        "length-huge": b"Content-Length: " + b"9" * 5000,
        "length-space-colon": b"Content-Length : {n}",
        "both": b"Content-Length: {n}\r\nTransfer-Encoding: chunked",
        "both-turned": b"Transfer-Encoding: chunked\r\nContent-Length: {n}",
        "both-identity": b"Content-Length: {n}\r\nTransfer-Encoding: identity",
        "coding-empty": b"Transfer-Encoding:",
        "coding-identity": b"Transfer-Encoding: identity",
        "coding-gzip": b"Transfer-Encoding: gzip, chunked",
        "coding-not-last": b"Transfer-Encoding: chunked, gzip",
        "coding-twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "coding-comma": b"Transfer-Encoding: ,chunked",
        "coding-param": b"Transfer-Encoding: chunked;a=b",
        "coding-like": b"Transfer-Encoding: xchunked",
        "coding-nbsp": b"Transfer-Encoding: \xa0chunked",
        "coding-vt": b"Transfer-Encoding: \x0bchunked",
        "coding-quoted": b'Transfer-Encoding: "chunked"',
        "coding-space-colon": b"Transfer-Encoding : chunked",
        "coding-nul": b"Transfer-Encoding: chunked\0",
    },
    # What follows the digits of a chunk's size, or stands in their place.
    "size": {
        "plain": b"",
        "extension": b";a=b",
        "extension-bare": b";a",
        "extension-quoted": b';a="b;\\" \xe9"',
        "extension-spaces": b" \t; a = b ;c",
        "extension-long": b";a=" + b"b" * 100,
        "extension-open": b';a="b',
        "extension-empty": b";",
        "extension-nul": b";a=\0",
        "extension-cr": b";a=b\rc",
        "extension-lf": b";a=b\nc",
        "extension-value": b";=b",
        "space": b" ",
        "junk": b"x",
        "comma": b",1",
        "cr": b"\r",
        "lf": b"\n1",
    },
    "digits": {
        "plain": b"",
        "zeros": b"000",
        "zeros-62": b"0" * 61,
        "zeros-63": b"0" * 62,
        "prefix": b"0x",
        "plus": b"+",
        "minus": b"-",
        "space": b" ",
        "under": b"0_",
        "large": b"fff",
        "huge": b"f" * 60,
        "high": b"\xb2",
        "semicolon": b";",
    },
    "chunk-end": {"crlf": b"\r\n", "lf": b"\n", "none": b"", "cr": b"\rX", "more": b"x\r\n"},
    "size-end": {"crlf": b"\r\n", "lf": b"\n", "cr": b"\r", "crcrlf": b"\r\r\n"},
    "trailer": {
        "none": b"",
        "one": b"X-Sum: 1\r\n",
        "two": b"X-Sum: 1\r\nX-More:\t2 \r\n",
        "high": b"X-Sum: \xe9\r\n",
        "length": b"Content-Length: 5\r\n",
        "coding": b"Transfer-Encoding: chunked\r\n",
        "no-colon": b"X-Sum\r\n",
        "space-colon": b"X-Sum : 1\r\n",
        "fold": b"X-Sum: 1\r\n 2\r\n",
        "nul": b"X-Sum: \0\r\n",
        "lf": b"X-Sum: 1\n",
        "cr": b"X-Sum: 1\rX: 2\r\n",
    },
    "last": {
        "crlf": b"\r\n",
        "lf": b"\n",
        "none": b"",
        "crcr": b"\r\r",
        "cr": b"\rX",
        "junk": b"XY",
    },
    "body": {
        "text": b"hello",
        "empty": b"",
        "one": b"a",
        "request": b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "zeros": b"0\r\n\r\n",
        "long": b"z" * 300,
        "limit": b"z" * 1000,
        "above": b"z" * 1001,
    },
    "short": {"whole": b"", "cut": b""},
    "octet": {
        "none": b"",
        "nul": b"\0",
        "tab": b"\t",
        "lf": b"\n",
        "cr": b"\r",
        "crlf": b"\r\n",
        "sp": b" ",
        "comma": b",",
        "colon": b":",
        "semicolon": b";",
        "digit": b"0",
        "del": b"\x7f",
        "nel": b"\x85",
        "nbsp": b"\xa0",
        "high": b"\xff",
        "quote": b'"',
        "drop": b"",
        "double": b"",
    },
}
SPLITS = ("whole", "each-octet", "one-cut", "cuts", "lines", "before-ends")
PRODUCTIONS = frozenset(
    [f"{group}:{name}" for group, options in OPTIONS.items() for name in options]
    + [f"split:{name}" for name in SPLITS]
    + [f"pipeline:{n}" for n in (1, 2, 3, 4)]
)
_DEVIATIONS = [(group, name) for group, options in OPTIONS.items() for name in [*options][1:]]
_CHUNKED = ("size", "digits", "chunk-end", "size-end", "trailer", "last")


class Input(NamedTuple):
    """What a connection sends."""

    pieces: list[bytes]

    @property
    def wire(self) -> bytes:
        return b"".join(self.pieces)


class Grammar:
    """Makes inputs from a seed, and counts what it used."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.count: Counter[str] = Counter()

    def input(self) -> Input:
        n = self.random.choices((1, 2, 3, 4), (30, 40, 20, 10))[0]
        self.count[f"pipeline:{n}"] += 1
        wire = b"".join(self._request() for _ in range(n))
        return Input(self._split(wire))

    def _request(self) -> bytes:
        rng = self.random
        chosen: dict[str, str] = {}
        for _ in range(rng.choices((0, 1, 2, 3), (15, 38, 30, 17))[0]):
            group, name = rng.choice(_DEVIATIONS)
            chosen[group] = name
        if any(group in chosen for group in _CHUNKED):
            chosen.setdefault("framing", "chunked")
        if "body" in chosen:
            chosen.setdefault("framing", rng.choice(("length", "chunked")))
        if rng.random() < 0.1:
            chosen.setdefault("version", "1.0")
        if rng.random() < 0.2:
            chosen.setdefault("method", rng.choice(("POST", "HEAD", "OPTIONS")))
        if chosen.get("field", "").startswith("websocket"):
            chosen.setdefault("version", rng.choice(("1.1", "1.1", "1.0")))
        if chosen.get("version") == "1.0":
            # Else the connection closes, and what follows is not read.
            chosen.setdefault("connection", rng.choice(("keep", "keep-case", "none")))
            chosen.setdefault("framing", rng.choice(("none", "length", "chunked")))
            chosen.setdefault("expect", rng.choice(("none", "none", "continue")))
        if "method" not in chosen and chosen.get("target", "").startswith(("authority", "star")):
            chosen["method"] = rng.choice(("CONNECT", "OPTIONS", "GET"))
        part = {}
        for group, options in OPTIONS.items():
            name = chosen.get(group, next(iter(options)))
            self.count[f"{group}:{name}"] += 1
            part[group] = options[name]
        return self._mutate(self._wire(part, chosen), chosen.get("octet", "none"))

    def _wire(self, part: dict[str, bytes], chosen: dict[str, str]) -> bytes:
        rng, body = self.random, part["body"]
        fields = [part[it] for it in ("host", "field", "connection", "expect", "framing")]
        rng.shuffle(fields)
        lines = [part["method"] + part["gap"] + part["target"] + part["gap"] + part["version"]]
        lines += [it.replace(b"{n}", b"%d" % len(body)) for it in (part["first"], *fields) if it]
        head = lines[0]
        odd = rng.randrange(len(lines))
        for at, line in enumerate(lines[1:]):
            head += (part["eol"] if at == odd else b"\r\n") + line
        end = part["eol"] if odd == len(lines) - 1 else b"\r\n"
        head = part["prefix"] + head + end + rng.choice((b"\r\n", part["eol"]))
        framing = part["framing"].lower()
        if b"chunked" in framing:
            content = self._chunks(part, body)
        elif framing or "short" in chosen:
            content = body
        else:
            content = b""
        wire = head + content
        return wire[: rng.randrange(len(wire))] if "short" in chosen else wire

    def _chunks(self, part: dict[str, bytes], body: bytes) -> bytes:
        cut = self.random.randrange(len(body) + 1)
        chunks = [it for it in (body[:cut], body[cut:]) if it]
        odd = self.random.randrange(len(chunks) + 1)
        wire = b""
        for at, chunk in enumerate([*chunks, b""]):
            digits = b"%x" % len(chunk)
            if at == odd:
                wire += part["digits"] + digits + part["size"] + part["size-end"]
            else:
                wire += digits + b"\r\n"
            if chunk:
                wire += chunk + (part["chunk-end"] if at == odd else b"\r\n")
        if odd == len(chunks) and not part["chunk-end"]:
            return wire + part["trailer"]
        return wire + part["trailer"] + part["last"]

    def _mutate(self, wire: bytes, kind: str) -> bytes:
        """One octet more, or less, anywhere."""
        at = self.random.randrange(len(wire) + 1)
        if kind == "drop":
            return wire[:at] + wire[at + 1 :]
        if kind == "double":
            return wire[:at] + wire[max(at - 1, 0) :]
        octet = OPTIONS["octet"][kind]
        over = self.random.random() < 0.5
        return wire[:at] + octet + wire[at + len(octet) * over :] if octet else wire

    def _split(self, wire: bytes) -> list[bytes]:
        rng = self.random
        kind = rng.choices(SPLITS, (40, 3, 20, 20, 12, 5))[0]
        self.count[f"split:{kind}"] += 1
        if kind == "each-octet":
            cuts = range(1, len(wire))
        elif kind == "one-cut":
            cuts = [rng.randrange(len(wire) + 1)]
        elif kind == "cuts":
            cuts = sorted(rng.randrange(len(wire) + 1) for _ in range(5))
        elif kind == "lines":
            cuts = [at + 1 for at, it in enumerate(wire) if it == 0x0A]
        elif kind == "before-ends":
            cuts = [at for at, it in enumerate(wire) if it in b"\r\n"]
        else:
            cuts = []
        edges = [0, *cuts, len(wire)]
        return [wire[a:b] for a, b in itertools.pairwise(edges)]
