"""Prints what it is asked for, and at its start what the environment asks for."""

import ctypes
import logging
import os
import random
import subprocess
import sys
import threading

import tornado.web

LOGGER = logging.getLogger("prints")

SAID = {
    "print": lambda: print("from print", sys.stdout.isatty()),
    "stderr": lambda: print("to stderr", file=sys.stderr),
    "record": lambda: LOGGER.warning("a record"),
    "both": lambda: (print("before"), LOGGER.warning("between"), print("after")),
    "partial": lambda: print("loading", end="", flush=True),
    "done": lambda: print(" ... done"),
    "colour": lambda: print("\x1b[31mred\x1b[0m"),
    "child": lambda: subprocess.run(["sh", "-c", "echo from a child; echo its error >&2"]),
    "libc": lambda: ctypes.CDLL(None).puts(b"from libc") and ctypes.CDLL(None).fflush(None),
    "crash": lambda: (print("last words"), ctypes.string_at(0)),
    "much": lambda: print("\n".join(f"much {n} " + "x" * 70 for n in range(2000))),
    "nothing": lambda: None,
}


def stream(slot: int, octets: int) -> bytes:
    """Octets at random; those of slot 1 have their highest bit set."""
    table = bytes(it & 127 | slot << 7 for it in range(256))
    return random.Random(slot).randbytes(octets).translate(table)


def print_octets() -> None:
    data = stream(int(os.environ["LEEWARD_SLOT"]), int(os.environ["PRINTS_OCTETS"]))
    for start in range(0, len(data), 70_000):
        piece = data[start : start + 70_000]
        while piece:
            piece = piece[os.write(1, piece) :]
    print(f"slot {os.environ['LEEWARD_SLOT']} has printed all", file=sys.stderr)


def print_lines() -> None:
    slot = os.environ["LEEWARD_SLOT"]
    for n in range(int(os.environ["PRINTS_LINES"])):
        print(f"slot {slot} line {n} {'x' * (n * 37 % 300)}.", flush=n % 3 == 0)
    print(f"slot {os.environ['LEEWARD_SLOT']} has printed all", file=sys.stderr)


class Prints(tornado.web.RequestHandler):
    def get(self, what: str) -> None:
        SAID[what]()
        self.write(str(os.getpid()))


def make_app() -> tornado.web.Application:
    for variable, work in (("PRINTS_OCTETS", print_octets), ("PRINTS_LINES", print_lines)):
        if variable in os.environ:
            threading.Thread(target=work, daemon=True).start()
    return tornado.web.Application([(r"/(\w+)", Prints)])
