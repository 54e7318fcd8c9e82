"""Logging by a queue whose listener was started at import."""

import logging
import logging.handlers
import os
import queue
import time

LOG = logging.getLogger("listener")
LOG.setLevel(logging.INFO)
LOG.propagate = False
RECORDS = queue.SimpleQueue()
LOG.addHandler(logging.handlers.QueueHandler(RECORDS))
PATH = os.environ["LISTENED"]
LISTENER = logging.handlers.QueueListener(RECORDS, logging.FileHandler(PATH))
LISTENER.start()  # LW103


def work(word):
    LOG.info("%s", word)
    by = time.monotonic() + 1
    while time.monotonic() < by:
        with open(PATH) as file:
            if f"{word}\n" in file.readlines():
                return "right"
        time.sleep(0.01)
    return "lost"
