"""--health-path: is this worker to be sent requests?  Answered without the application.

200 while it serves, also in a drain for a reload, whose connections go on elsewhere;
503 from the moment on at which the whole instance is to stop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, ResponseStartLine

if TYPE_CHECKING:
    from tornado.httputil import HTTPConnection, RequestStartLine

_SERVES = ResponseStartLine("HTTP/1.1", 200, "OK")
_STOPS = ResponseStartLine("HTTP/1.1", 503, "Service Unavailable")


def asked(path: str, line: RequestStartLine) -> bool:
    """Is it a question for `path`?  Its query and its body do not matter."""
    return line.method in ("GET", "HEAD") and line.path.partition("?")[0] == path


class Health(HTTPMessageDelegate):
    """Answers one request.  serves:  asked when the answer is given."""

    def __init__(self, conn: HTTPConnection, method: str, serves: Callable[[], bool]) -> None:
        self._conn = conn
        self._method = method
        self._serves = serves

    def finish(self) -> None:
        line, body = (_SERVES, b"serves\n") if self._serves() else (_STOPS, b"stops\n")
        headers = HTTPHeaders(
            {
                "Content-Type": "text/plain",
                "Content-Length": str(len(body)),
                "Cache-Control": "no-store",
            }
        )
        # The future tells of a client that has gone, which is no news.
        sent = self._conn.write_headers(line, headers, None if self._method == "HEAD" else body)
        sent.add_done_callback(lambda future: future.exception())
        self._conn.finish()
