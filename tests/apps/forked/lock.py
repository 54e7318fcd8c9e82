"""A lock that a thread holds for a second after the import."""

import threading
import time

LOCK = threading.Lock()  # LW130
HELD = threading.Event()


def refresh():
    with LOCK:
        HELD.set()
        time.sleep(1)


threading.Thread(target=refresh, name="refresh", daemon=True).start()
HELD.wait()


def work(word):
    if not LOCK.acquire(timeout=2):
        return "hung"
    LOCK.release()
    return "right"
