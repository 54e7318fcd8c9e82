"""An executor that was used at import: its thread is in another process."""

from concurrent.futures import ThreadPoolExecutor

POOL = ThreadPoolExecutor(1)
POOL.submit(int).result()  # LW102


def work(word):
    try:
        return "right" if POOL.submit(str, word).result(1) == word else "crossed"
    except TimeoutError:
        return "hung"
