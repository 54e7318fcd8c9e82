"""A file with a line in its buffer that each process would write."""

import os

REPORT = open(os.environ["REPORT"], "a")  # LW160
REPORT.write("the head\n")


def work(word):
    REPORT.write(f"{word}\n")
    REPORT.flush()
    return "right"
