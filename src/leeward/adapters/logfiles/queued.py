"""What waits in the queue of a `QueueListener` is written before its process ends.

Its thread is a daemon: the interpreter's end, and ours, takes the records that it has not come to
(https://docs.python.org/3/library/logging.handlers.html#logging.handlers.QueueListener.stop).  A
process that lives for months loses them once; workers are replaced at every reload.
"""

from __future__ import annotations

import atexit
import logging.handlers
import queue
import threading
import time

#: Seconds for the records of all listeners: what a worker has for its whole end is 2.
PATIENCE = 0.8
#: Seconds between two tries to put the last word into a queue that is full.
_AGAIN = 0.01

_patience = PATIENCE


def write_at_exit() -> None:
    """Call this before the application is imported: what is registered later runs earlier, so
    that its own functions may log, and stop their listeners; `logging.shutdown` runs after it.
    """
    atexit.register(_write)


def within(seconds: float) -> None:
    """This process has no more than so many seconds for it."""
    global _patience
    _patience = min(PATIENCE, max(seconds, 0.0))


def _write() -> None:
    deadline = time.monotonic() + _patience
    running = [(thread, it) for thread in threading.enumerate() if (it := _listener_of(thread))]
    for _, listener in running:
        _end(listener, deadline)
    for thread, _ in running:
        thread.join(max(0.0, deadline - time.monotonic()))


def _listener_of(thread: threading.Thread) -> logging.handlers.QueueListener | None:
    # A listener is known to nobody but its thread, and may be to the application.
    found = getattr(vars(thread).get("_target"), "__self__", None)
    return found if isinstance(found, logging.handlers.QueueListener) else None


def _end(listener: logging.handlers.QueueListener, deadline: float) -> None:
    # Not `stop()`: up to 3.11 a second one, by the application, raises.
    while True:
        try:
            listener.enqueue_sentinel()
        except queue.Full:
            if time.monotonic() >= deadline:
                return
            time.sleep(_AGAIN)
        except Exception as error:  # a queue that is closed, or of a kind of its own
            logging.getLogger(__name__).debug("%r takes no end: %r", listener, error)
            return
        else:
            return
