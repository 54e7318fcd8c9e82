"""Random requests to an application whose handlers tell all that they see, for comparison.

With the engine's own way to handlers, and without: what is told must be the same.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from engine.hall import connection, engine
from tornado.web import Application, RequestHandler

_PATHS = (
    "/",
    "/item/7",
    "/item/7",
    "/item/x",
    "/item/%37",
    "/named/abc",
    "/named/abc",
    "/late",
    "/late",
    "/none",
    "/added",
    "/debug",
    "/fails",
    "/long/" + "a" * 600,
)
_QUERIES = (
    "",
    "",
    "?",
    "?a=1",
    "?a=1&a=2&b=",
    "?a",
    "?=1",
    "?a=%20b",
    "?a=b+c",
    "?a=b=c",
    "?&&a=1",
    "?é=1",
    "?a=1?b=2",
    "?" + "&".join(f"f{at}=1" for at in range(40)),
)
_HOSTS = ("a", "a", "a:80", "[::1]:8080", "B.example", "", "other")
_FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
_PARTS = (
    "Content-Type: multipart/form-data; boundary=b\r\n",
    '--b\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n\r\nx\r\n--b--\r\n',
)
_BODIES = (
    ("", ""),
    ("", "plain"),
    (_FORM, "a=3&c=4"),
    (_FORM, "a=%41&a=2&&x"),
    (_FORM.replace("Content-Type", "content-type"), "d=1"),
    (_FORM + "Content-Type: text/plain\r\n", "e=1"),
    _PARTS,
    ("Content-Type: text/plain\r\n", "a=3"),
)


class Tells(RequestHandler):
    """Answers with its request, field by field, and with its own arguments."""

    def initialize(self, **kwargs: Any) -> None:
        self.given = kwargs

    def tell(self, *args: Any, **kwargs: Any) -> None:
        it = self.request
        self.write(
            json.dumps(
                {
                    "line": [it.method, it.uri, it.path, it.query, it.version],
                    "host": [it.host, it.host_name, it.protocol, it.remote_ip],
                    "headers": list(it.headers.get_all()),
                    "arguments": [repr(it.arguments), repr(it.query_arguments)],
                    "body": [repr(it.body), repr(it.body_arguments), repr(it.files)],
                    "shared": it.arguments is it.query_arguments
                    or any(it.arguments[k] is v for k, v in it.query_arguments.items()),
                    "args": [
                        repr(args),
                        repr(kwargs),
                        repr(self.path_args),
                        repr(self.path_kwargs),
                    ],
                    "given": repr(self.given),
                    "full": it.full_url(),
                    "log": repr(it),
                    "type": type(it.body).__name__,
                    "task": asyncio.current_task() is not None,
                }
            )
        )
        # What one handler does to its request must not be seen by the next.
        for values in (it.arguments, it.query_arguments, self.path_kwargs):
            values.clear()
        self.path_args.clear()
        it.headers["X-Spoilt"] = "1"

    get = post = put = tell


class Late(Tells):
    async def get(self, *args: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        self.tell(*args, **kwargs)

    post = put = get


class Fails(Tells):
    def get(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError("as it must")

    post = put = get


def application(rng: random.Random) -> Application:
    rules: list[Any] = [
        ("/", Tells),
        ("/item/([0-9]+)", Tells, {"a": 1}),
        ("/named/(?P<name>[a-z]+)", Tells),
        ("/late", Late),
        ("/fails", Fails),
        ("/long/.*", Tells),
    ]
    made = Application(rules, compiled_template_cache=rng.random() < 0.9)
    if rng.random() < 0.2:
        made.add_handlers("other", [("/.*", Tells, {"host": "other"})])
    return made


def _request(rng: random.Random) -> bytes:
    method = rng.choice(("GET", "GET", "POST", "PUT", "HEAD", "DELETE"))
    target = rng.choice(_PATHS) + rng.choice(_QUERIES)
    head, body = rng.choice(_BODIES) if method in ("POST", "PUT") else ("", "")
    length = f"Content-Length: {len(body)}\r\n" if head or body or method in ("POST", "PUT") else ""
    return (
        f"{method} {target} HTTP/1.1\r\nHost: {rng.choice(_HOSTS)}\r\n{head}{length}\r\n{body}"
    ).encode("latin-1")


async def tellings(seed: int, accelerate: bool, rounds: int = 12) -> list[Any]:
    """What the application told, round by round; each round has rules and a server of its own."""
    rng = random.Random(seed)
    heard: list[Any] = []
    for _ in range(rounds):
        made = application(rng)
        member, transport = connection(engine(made, accelerate=accelerate))
        for turn in range(40):
            if turn == 20:
                made.add_handlers(".*", [("/added", Tells), ("/", Late, {"later": True})])
            wire = _request(rng)
            cut = rng.randrange(1, len(wire))
            for piece in (wire[:cut], wire[cut:]):
                member.data_received(piece)
            for _ in range(6):
                await asyncio.sleep(0)
            heard.append((wire[:60], b"".join(transport.written), transport.closed))
            transport.written.clear()
            if transport.closed:
                member, transport = connection(member.server)
    return heard
