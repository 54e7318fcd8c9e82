"""Asking every worker itself: the supervisor hands our socket on, and each answers in pieces.

One that does not answer, because its loop is blocked or its process stopped, is named and
keeps nobody from being heard.
"""

from __future__ import annotations

import time

from leeward._core.conns import Conn
from leeward._core.messages import Answer, BadMessage, ConnsRequest, Piece
from leeward._core.record import Struct, field
from leeward._sys import procfs
from leeward.cli.client import ANSWER_TIMEOUT, Client
from leeward.cli.shapes import count, flag, pid
from leeward.errors import ChannelClosed, LeewardError

#: Whether a worker has ended meanwhile is looked at this often.
_LOOK = 0.25
#: What the supervisor answers: whom it has handed our socket to.
_ASKED = {"workers": [{"worker": count, "slot": count, "pid": pid, "asked": flag}]}


class _Worker(Struct):
    slot: int
    pid: int
    deadline: float
    has_ended: bool = False


class Gathered(Struct):
    """conns: of all who answered.  workers: how many did.  silent: a line for each other one."""

    conns: list[Conn] = field(default_factory=list)
    workers: int = 0
    silent: list[str] = field(default_factory=list)


def gather(client: Client, request: ConnsRequest, patience: float) -> Gathered:
    """patience:  seconds that each worker may take for its next piece.

    Raises `LeewardError` if the supervisor does not answer, or refuses.
    """
    return _Gathering(client, request, patience).run()


class _Gathering:
    def __init__(self, client: Client, request: ConnsRequest, patience: float) -> None:
        self._client = client
        self._request = request
        self._patience = patience
        self._found = Gathered()
        #: Who still owes pieces, by its number in the instance; None until we know who is asked.
        self._open: dict[int, _Worker] | None = None
        self._done: set[int] = set()  # has told all, before or after we knew
        self._errors: dict[int, str] = {}

    def run(self) -> Gathered:
        client = self._client
        answer_by = time.monotonic() + ANSWER_TIMEOUT
        message = None
        try:
            client.send(self._request)
            while self._open is None or self._open:
                now = time.monotonic()
                if self._open is None and now >= answer_by:
                    raise client.silent(ANSWER_TIMEOUT)
                self._expire(now, nothing_came=message is None)
                message = client.channel.wait(_LOOK) if self._open != {} else None
                if isinstance(message, Piece):
                    self._take(message)
                elif isinstance(message, Answer):
                    self._begin(message)
                elif message is not None:
                    raise LeewardError(f"{client.instance.name} answered {type(message).__name__}")
        except ChannelClosed:
            if self._open is None:
                raise client.ended() from None
            lost = [_line(it, "ended before it had told all") for it in self._open.values()]
            self._found.silent += lost
        except BadMessage as error:
            raise client.misunderstood(error) from None
        return self._found

    def _begin(self, answer: Answer) -> None:
        asked = self._client.read(answer, _ASKED)["workers"]
        deadline = time.monotonic() + self._patience
        self._open = {}
        for it in asked:
            worker = _Worker(it["slot"], it["pid"], deadline)
            if it["worker"] in self._done:
                self._ends(it["worker"], worker)
            elif it["asked"]:
                self._open[it["worker"]] = worker
            else:
                self._found.silent.append(_line(worker, "does not read any more"))

    def _take(self, piece: Piece) -> None:
        try:
            self._found.conns += map(Conn.from_json, piece.text.splitlines())
        except (ValueError, TypeError, KeyError) as error:
            raise BadMessage(f"no connection: {error!r:.80}") from None
        if piece.error:
            self._errors[piece.worker] = piece.error
        worker = self._open.get(piece.worker) if self._open else None
        if piece.last:
            self._done.add(piece.worker)
            if worker is not None and self._open is not None:
                del self._open[piece.worker]
                self._ends(piece.worker, worker)
        elif worker is not None:
            worker.deadline = time.monotonic() + self._patience

    def _ends(self, number: int, worker: _Worker) -> None:
        self._found.workers += 1
        if number in self._errors:
            self._found.silent.append(_line(worker, self._errors[number]))

    def _expire(self, now: float, nothing_came: bool) -> None:
        for number, it in list((self._open or {}).items()):
            state = procfs.state_of(it.pid)
            if state in (None, "Z", "X"):
                # What it has said before its end is read first: the last connection that `kill`
                # cuts is what a draining worker waits for.
                if not (it.has_ended and nothing_came):
                    it.has_ended = True
                    continue
                why = "ended meanwhile"
            elif now >= it.deadline:
                why = f"has not answered within {self._patience:g} s: {_WHY.get(state, _BLOCKED)}"
            else:
                continue
            assert self._open is not None
            del self._open[number]
            self._found.silent.append(_line(it, why))


_BLOCKED = "its loop is blocked (leeward ps, and the log says where)"
_WHY: dict[str | None, str] = {
    "T": "its process is stopped (SIGSTOP)",
    "t": "a debugger holds it",
    "D": "it waits in the kernel (state D)",
}


def _line(it: _Worker, why: str) -> str:
    return f"slot {it.slot} (pid {it.pid}) {why}"
