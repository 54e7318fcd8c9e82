"""A thread that was started at import and is missed in silence."""

import threading
import time

TICK = threading.Event()


def tick():
    while True:
        TICK.set()
        time.sleep(0.01)


threading.Thread(target=tick, name="ticker", daemon=True).start()  # LW101


def work(word):
    TICK.clear()
    return "right" if TICK.wait(1) else "lost"
