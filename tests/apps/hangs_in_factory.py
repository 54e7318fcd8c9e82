"""Its factory never ends."""

import time


def make_app() -> None:
    time.sleep(3600)
