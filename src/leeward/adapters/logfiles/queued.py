"""What waits in the queue of a `QueueListener` is written before its process ends.

Its thread is a daemon: the interpreter's end, and ours, takes the records that it has not come to
(https://docs.python.org/3/library/logging.handlers.html#logging.handlers.QueueListener.stop).  A
process that lives for months loses them once; workers are replaced at every reload.
"""

from __future__ import annotations

import atexit
import contextlib
import logging.handlers
import queue
import threading

#: Seconds for the records of one listener: what a worker has for its whole end is 2.
PATIENCE = 0.8


def write_at_exit() -> None:
    """Call this before the application is imported: what is registered later runs earlier, so
    that its own functions may log, and stop their listeners; `logging.shutdown` runs after it.
    """
    atexit.register(_write)


def _write() -> None:
    for thread in threading.enumerate():
        # A listener is known to nobody but its thread, and may be to the application.
        listener = getattr(vars(thread).get("_target"), "__self__", None)
        if isinstance(listener, logging.handlers.QueueListener):
            # Not `stop()`: up to 3.11 a second one, by the application, raises.
            with contextlib.suppress(queue.Full):
                listener.enqueue_sentinel()
                thread.join(PATIENCE)
