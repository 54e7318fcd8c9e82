"""Answers what the kernel and the C library hold for its process; as a program, prints it.

Its hooks of os.register_at_fork and atexit leave lines in the directory $MARKS.
"""

import atexit
import json
import locale
import os
import resource
import signal
import sys

import tornado.web


def around() -> dict[str, object]:
    mask = os.umask(0)
    os.umask(mask)
    with open("/proc/self/oom_score_adj") as file:
        oom = file.read().strip()
    return {
        "umask": mask,
        "cwd": os.getcwd(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "oom_score_adj": oom,
        "locale": locale.setlocale(locale.LC_CTYPE, None),
        "encoding": [locale.getpreferredencoding(False), sys.getfilesystemencoding()],
        "environ": {k: v for k, v in os.environ.items() if k.startswith(("LC_", "LANG", "OF_"))},
        "utf8_mode": sys.flags.utf8_mode,
        "affinity": sorted(os.sched_getaffinity(0)),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "streams": [sys.stdin.encoding, sys.stdout.encoding, sys.stderr.errors],
    }


def mark(name: str) -> None:
    directory = os.environ.get("MARKS")
    if directory:
        with open(os.path.join(directory, f"{name}.{os.getpid()}"), "a") as file:
            file.write("once\n")


IMPORTED = around()
HOOKS: list[str] = []
for number in (1, 2):
    os.register_at_fork(
        before=lambda number=number: HOOKS.append(f"before {number}"),
        after_in_parent=lambda number=number: HOOKS.append(f"parent {number}"),
        after_in_child=lambda number=number: HOOKS.append(f"child {number}"),
    )
atexit.register(mark, "atexit")


class Around(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write({"import": IMPORTED, "now": around(), "hooks": HOOKS, "pid": os.getpid()})


def make_app() -> tornado.web.Application:
    return tornado.web.Application([("/", Around)], log_function=lambda handler: None)


if __name__ == "__main__":
    print(json.dumps(IMPORTED))
