"""leeward.engine.request: equal to Tornado's own in every attribute, on random input."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
from tornado import httputil
from tornado.httputil import HTTPHeaders, HTTPInputError, RequestStartLine

from leeward.engine import request as requests

HOSTS = [
    "a",
    "a:80",
    "A.Example:8000",
    "[::1]:80",
    "[::1]",
    "",
    "a,b",
    "a b",
    "a:x",
    "ü",
    "x" * 300,
]
NAMES = ["a", "b", "c", "", "a.b", "-"]
VALUES = ["", "1", "x y", "%20", "%zz", "+", "é", "a=b", ";", "%00", "%FF"]
CONNECTION: Any = SimpleNamespace(
    context=SimpleNamespace(remote_ip="10.0.0.1", protocol="https"), stream=None
)


def theirs(line: RequestStartLine, headers: HTTPHeaders) -> object:
    try:
        return httputil.HTTPServerRequest(
            connection=CONNECTION, server_connection=CONNECTION, start_line=line, headers=headers
        )
    except HTTPInputError as error:
        return str(error)


def ours(line: RequestStartLine, headers: HTTPHeaders) -> object:
    try:
        return requests.make(CONNECTION, CONNECTION, line, headers)
    except HTTPInputError as error:
        return str(error)


def query(rng: random.Random) -> str:
    fields = rng.choice([0, 0, 1, 2, 5, 40])
    said = [
        rng.choice(NAMES) + rng.choice(["=", "=", ""]) + rng.choice(VALUES[: rng.choice([2, 11])])
        for _ in range(fields)
    ]
    return rng.choice(["?", ""] if not said else ["?", "?&", "??"]) + "&".join(said)


def drawn(rng: random.Random) -> tuple[RequestStartLine, HTTPHeaders]:
    headers = HTTPHeaders()
    if rng.random() < 0.95:
        headers["Host"] = rng.choice(HOSTS)
    if rng.random() < 0.3:
        headers["X-Other"] = "1"
    path = rng.choice(["/", "/a/b", "*", "http://a/b", "/%41", "//x"])
    version = rng.choice(["HTTP/1.1", "HTTP/1.0"])
    return RequestStartLine(rng.choice(["GET", "POST"]), path + query(rng), version), headers


def test_every_attribute_is_the_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    monkeypatch.setattr("time.time", lambda: 12.5)
    monkeypatch.setattr(requests, "_known_hosts", {})
    quick = 0
    for _ in range(4000):
        line, headers = drawn(rng)
        quick += headers.get("Host") in requests._known_hosts
        mine, original = ours(line, headers), theirs(line, headers)
        if isinstance(original, str):
            assert mine == original
            continue
        assert isinstance(mine, httputil.HTTPServerRequest)
        assert vars(mine) == vars(original), line
        assert list(vars(mine)) == list(vars(original))
        assert repr(mine) == repr(original)
        for name in ("arguments", "query_arguments", "body_arguments"):
            assert list(vars(mine)[name]) == list(vars(original)[name])
        assert mine.query_arguments is not mine.arguments
        for key, values in mine.query_arguments.items():
            assert values is not mine.arguments[key]
    assert quick > 500  # the quick way was taken too


def test_hosts_that_clients_think_up_do_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests, "_known_hosts", {})
    for number in range(3000):
        ours(RequestStartLine("GET", "/", "HTTP/1.1"), HTTPHeaders({"Host": f"h{number}"}))
    assert len(requests._known_hosts) <= 1024
    ours(RequestStartLine("GET", "/", "HTTP/1.1"), HTTPHeaders({"Host": "h" * 4000}))
    assert "h" * 4000 not in requests._known_hosts


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (None, b"a=1"),
        ("application/json", b"a=1"),
        ("application/x-www-form-urlencoded", b"a=1&b=2&a=3"),
        ("application/x-www-form-urlencoded; charset=utf-8", b"a=%20"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"'
         b"\r\n\r\n1\r\n--x--\r\n"),
        ("multipart/form-data", b""),
    ],
)  # fmt: skip
def test_bodies_become_the_same_arguments(kind: str | None, body: bytes) -> None:
    found = []
    for make in (ours, theirs):
        headers = HTTPHeaders({"Host": "a"})
        if kind is not None:
            headers["Content-Type"] = kind
        request: Any = make(RequestStartLine("POST", "/?a=0", "HTTP/1.1"), headers)
        request.body = body
        try:
            request._parse_body()
        except HTTPInputError as error:
            found.append(str(error))
        else:
            found.append((request.arguments, request.body_arguments, request.query_arguments))
    assert found[0] == found[1]
    assert found[0]


def test_a_lower_bound_of_fields_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SimpleNamespace(urlencoded=SimpleNamespace(max_arguments=2))
    monkeypatch.setattr(httputil, "_DEFAULT_PARSE_BODY_CONFIG", config, raising=False)
    assert requests._arguments("a=1&b=2") == {"a": [b"1"], "b": [b"2"]}
    assert requests._arguments("a=1&b=2&c=3") is None
