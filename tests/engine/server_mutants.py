"""Mistakes beneath the parser that the comparison of servers must notice.

As in `mutants`: each is a substitution in the text of one module, here of those that a
connection is made of.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.explain import Unexplained, explain
from engine.grammar import Input
from engine.mutants import Mutant, rebuild
from engine.server_side import Served, Wrong
from engine.sides import Simulated

#: In the order in which they build on each other.
MODULES = ("link", "expiry", "parting", "reading", "exchange", "connection")


def kind(mutant: Mutant) -> type[Any]:
    """The class of connections with this one mistake."""
    made: type[Any] = rebuild(mutant, MODULES)["connection"].Connection
    return made


def noticed(mutant: Mutant, inputs: Iterable[Input], tornado_side: Simulated) -> int | None:
    """How many inputs it takes until one shows the mistake, or None."""
    made = kind(mutant)
    sides = [Served(made), Served(made, piece=7), Served(made, application=True)]
    try:
        for count, case in enumerate(inputs, 1):
            try:
                explain(case.wire, sides[count % 3](case.pieces), tornado_side)
            except (Unexplained, Wrong):
                return count
            except Exception:
                # The mistake raises where nothing may: noticed as well.
                return count
    finally:
        for side in sides:
            side.close()
    return None


MUTANTS = (
    # --- heads ----------------------------------------------------------------------------------
    Mutant(
        "what follows a head in one read loses an octet",
        "connection",
        "memoryview(data)[start:]",
        "memoryview(data)[start + 1 :]",
    ),
    Mutant(
        "what follows a head in one read is lost",
        "connection",
        "if start < len(data):",
        "if False:",
    ),
    Mutant(
        "the end of a head stays in the buffer",
        "connection",
        "del buffer[:start]",
        "del buffer[:end]",
    ),
    Mutant(
        "the end of a head is looked for too far behind",
        "connection",
        "max(0, len(buffer) - 3)",
        "len(buffer)",
    ),
    Mutant(
        "the next head is looked for where the last one was",
        "connection",
        "        self._scanned = 0\n        return self._begin(self.server",
        "        return self._begin(self.server",
    ),
    # --- bodies ---------------------------------------------------------------------------------
    Mutant(
        "a body that came at once is read again",
        "reading",
        "            self._buffer.clear()\n            return self._deliver",
        "            return self._deliver",
    ),
    Mutant(
        "a part of a body is all of it",
        "reading",
        "len(self._buffer) == head.length <=",
        "0 < len(self._buffer) <= head.length <=",
    ),
    Mutant(
        "a head in doubt is lost",
        "connection",
        "self._buffer += data  # it may",
        "self._buffer += data[end:]  # it may",
    ),
    Mutant(
        "a body is an octet short",
        "reading",
        "self._remaining = head.length",
        "self._remaining = head.length - 1",
    ),
    Mutant(
        "a body is an octet long",
        "reading",
        "self._remaining = head.length",
        "self._remaining = head.length + 1",
    ),
    Mutant(
        "a body takes what is behind it",
        "reading",
        "view[: min(self._remaining, self.params.chunk_size)]",
        "view[: self.params.chunk_size]",
    ),
    Mutant(
        "a body takes what is behind it in the same read",
        "reading",
        "at + min(self._remaining, self.params.chunk_size)",
        "at + self.params.chunk_size",
    ),
    Mutant(
        "what is left of a read is lost",
        "reading",
        "self._buffer += rest\n",
        "pass\n",
    ),
    Mutant(
        "bodies have no bound",
        "reading",
        "check_length(head.length, exchange.max_body_size)",
        "check_length(head.length, None)",
    ),
    Mutant(
        "chunked bodies have no bound",
        "reading",
        "limit = self.exchange.max_body_size",
        "limit = 10**9",
    ),
    Mutant(
        "an octet behind a chunk is lost",
        "reading",
        "del buffer[:used]",
        "del buffer[: used + (chunks.done and used > 1)]",
    ),
    Mutant(
        "a chunked body ends with its first piece",
        "reading",
        "self._step = self._request_complete if self._chunks.done else self._read_chunked",
        "self._step = self._request_complete",
    ),
    Mutant(
        "a chunked body that ends without data never ends",
        "reading",
        "if pieces else True\n",
        "if pieces else False\n",
    ),
    Mutant(
        "100 is not sent",
        "reading",
        "if head.expect and not (exchange.begun or exchange.write_finished):",
        "if False:",
    ),
    Mutant(
        "100 comes behind the body",
        "reading",
        "if head.expect and not (exchange.begun or exchange.write_finished):",
        "if head.expect and head.length == 0:",
    ),
    # --- one request after the other -------------------------------------------------------------
    Mutant(
        "a pipelined request is lost",
        "connection",
        "        if self._buffer or self._paused_reading:\n            # Not",
        "        if self._paused_reading:\n            # Not",
    ),
    Mutant(
        "the next request begins before its time",
        "connection",
        "            elif len(self._buffer) > AHEAD:",
        "            elif self._read_head():",
    ),
    Mutant(
        "one step for each read",
        "connection",
        "while self._step is not None and self._step():",
        "if self._step is not None and self._step():",
    ),
    Mutant(
        "what comes when it closes is read",
        "connection",
        "elif self.life is not _ENDING:\n            if not",
        "else:\n            if not",
    ),
    Mutant(
        "what was there when it closed is read",
        "connection",
        "    def stop_reading_requests(self) -> None:\n        self._step = None\n",
        "    def stop_reading_requests(self) -> None:\n        return\n",
    ),
    Mutant(
        "keep-alive for everybody",
        "exchange",
        "self.disconnect = not head.keep_alive",
        "self.disconnect = False",
    ),
    Mutant(
        "keep-alive kept on 1.0",
        "exchange",
        "self.disconnect = not head.keep_alive",
        'self.disconnect = not head.keep_alive and head.version != "HTTP/1.0"',
    ),
    Mutant(
        "keep-alive for nobody",
        "exchange",
        "self.disconnect = not head.keep_alive",
        "self.disconnect = True",
    ),
    Mutant(
        "the last answer does not say so",
        "exchange",
        'headers["Connection"] = "close"',
        'headers["Connection"] = "Keep-Alive"',
    ),
    Mutant(
        "in flight for ever",
        "link",
        "        self.server.in_flight(-1)\n        self.life, self.account.since = _IDLE",
        "        self.life, self.account.since = _IDLE",
    ),
    # --- the end --------------------------------------------------------------------------------
    Mutant(
        "a refusal leaves the connection open",
        "connection",
        "        self._tell_delegate()\n        self.close()\n\n    def _tell_delegate",
        "        self._tell_delegate()\n\n    def _tell_delegate",
    ),
    Mutant(
        "a refusal says nothing",
        "connection",
        '            self.send(refusals.answer(getattr(error, "status", 400)))',
        "            pass",
    ),
    Mutant(
        "a refusal is not counted",
        "connection",
        "        self.server.refused(rule)\n",
        "",
    ),
    Mutant(
        "half a request is waited for when its client has gone",
        "link",
        "        return self.half_closed()  # else it is amid a request, or between two",
        "        return self.half_closed() or True",
    ),
    Mutant(
        "a connection that is lost stays on the list",
        "link",
        "        self._websocket = None\n        self.server.remove(self)",
        "        self._websocket = None",
    ),
)
