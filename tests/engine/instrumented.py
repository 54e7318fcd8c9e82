"""Serves a few requests under a real instrument and prints what the instrument saw, as JSON.

    python instrumented.py sentry|opentelemetry before|after tornado|leeward|"leeward plain"

before, after:  is the instrument put in before the server is made, or when it serves?
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tornado.web import Application, HTTPError, RequestHandler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from engine.hall import ask, installed, served


class Fine(RequestHandler):
    def get(self, number: str = "") -> None:
        self.write(f"fine {number}")


class Late(RequestHandler):
    async def get(self) -> None:
        await asyncio.sleep(0)
        self.finish({"late": True})


class Fails(RequestHandler):
    def get(self) -> None:
        raise ValueError(self.get_argument("why"))


class Refuses(RequestHandler):
    async def post(self) -> None:
        await asyncio.sleep(0)
        raise HTTPError(409, "refused")


def application() -> Application:
    rules = [("/fine/([0-9]*)", Fine), ("/late", Late), ("/fails", Fails), ("/refuses", Refuses)]
    return Application(rules)  # type: ignore[arg-type]


def sentry() -> Callable[[], Any]:
    import sentry_sdk
    from sentry_sdk.integrations.tornado import TornadoIntegration
    from sentry_sdk.transport import Transport

    seen: list[Any] = []

    class Kept(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            for item in envelope.items:
                event = item.get_event() or item.get_transaction_event()
                if event is None:
                    continue
                exceptions = event.get("exception", {}).get("values", [])
                seen.append(
                    [
                        event.get("type", "event"),
                        event.get("transaction"),
                        event["request"]["method"],
                        event["request"]["url"].partition("/fine")[1:],
                        event["request"].get("query_string"),
                        [[it["type"], it["value"]] for it in exceptions],
                        event.get("contexts", {}).get("trace", {}).get("status"),
                    ]
                )

    sentry_sdk.init(
        "http://key@localhost/1",
        transport=Kept,
        integrations=[TornadoIntegration()],
        traces_sample_rate=1.0,
        default_integrations=False,
    )
    return lambda: (sentry_sdk.flush(), seen)[1]


def opentelemetry() -> Callable[[], Any]:
    from opentelemetry.instrumentation.tornado import TornadoInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    TornadoInstrumentor().instrument(tracer_provider=provider)

    def seen() -> Any:
        return [
            [
                span.name,
                span.status.status_code.name,
                span.kind.name,
                {
                    key: value
                    for key, value in sorted((span.attributes or {}).items())
                    if "port" not in key and "host" not in key
                },
                [event.name for event in span.events],
            ]
            for span in exporter.get_finished_spans()
        ]

    return seen


async def main(instrument: str, when: str, way: str) -> None:
    put_in = {"sentry": sentry, "opentelemetry": opentelemetry}[instrument]
    seen = put_in() if when == "before" else None
    requests = [
        b"GET /fine/7?a=b HTTP/1.1\r\nHost: a\r\n%s\r\n",
        b"GET /late HTTP/1.1\r\nHost: a\r\n%s\r\n",
        b"GET /fails?why=this HTTP/1.1\r\nHost: a\r\n%s\r\n",
        b"POST /refuses HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n%s\r\n",
        b"GET /nowhere HTTP/1.1\r\nHost: a\r\n%s\r\n",
    ]
    async with served(application(), way) as port:
        if seen is None:
            seen = put_in()
        for _ in range(3):
            for request in requests:
                await ask(port, request % b"Connection: close\r\n")
        active = installed.active()
    found = sorted(seen(), key=json.dumps)
    print(json.dumps({"seen": found, "active": active}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
