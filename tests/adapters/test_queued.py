"""leeward.adapters.logfiles.queued: listeners' queues are emptied, and hold up no end."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import time
from collections.abc import Iterator
from typing import Any

import pytest

from leeward.adapters.logfiles import queued


class Slow(logging.Handler):
    def __init__(self, pause: float) -> None:
        super().__init__()
        self.pause = pause
        self.done: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        time.sleep(self.pause)
        self.done.append(record.getMessage())


LISTENERS: list[tuple[logging.handlers.QueueListener, Any]] = []


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    for listener, thread in LISTENERS:
        thread.join(30)
        assert not thread.is_alive(), listener
    LISTENERS.clear()
    queued.within(queued.PATIENCE)


def listening(lines: Any, pause: float, records: int) -> Slow:
    handler = Slow(pause)
    listener = logging.handlers.QueueListener(lines, handler)
    for number in range(records):
        lines.put(logging.LogRecord("shop", logging.INFO, "", 0, str(number), (), None))
    listener.start()
    LISTENERS.append((listener, listener._thread))  # type: ignore[attr-defined]
    return handler


def test_what_waits_is_written() -> None:
    handler = listening(queue.SimpleQueue(), 0.001, 100)
    queued._write()
    assert len(handler.done) == 100


def test_a_queue_that_is_full_too() -> None:
    """Its last word has to wait for room."""
    handler = listening(queue.Queue(20), 0.005, 20)
    queued._write()
    assert len(handler.done) == 20


def test_all_of_them_have_no_more_time_than_there_is() -> None:
    handlers = [listening(queue.SimpleQueue(), 0.02, 100) for _ in range(3)]
    queued.within(0.3)
    began = time.monotonic()
    queued._write()
    assert not any(len(it.done) == 100 for it in handlers), "2 s of work each"
    assert time.monotonic() - began < 1.5  # a second of it for a busy machine


def test_one_that_takes_no_end_leaves_the_others_theirs() -> None:
    class Closed(queue.SimpleQueue[Any]):
        def put_nowait(self, item: Any) -> None:
            raise ValueError("Queue is closed")

    deaf = Closed()
    listening(deaf, 0.0, 1)
    handler = listening(queue.SimpleQueue(), 0.001, 50)
    queued.within(0.5)
    queued._write()
    assert len(handler.done) == 50
    deaf.put(None)  # its own word for an end


def test_who_was_stopped_may_be_stopped_again() -> None:
    """The application's own function for the end, registered earlier or later."""
    handler = listening(queue.SimpleQueue(), 0.001, 10)
    queued._write()
    LISTENERS[0][0].stop()
    assert len(handler.done) == 10
