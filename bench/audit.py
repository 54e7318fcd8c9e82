"""What does the audit cost: while the application is imported, before the first fork, for ever?

* import: what `import MODULE` takes in a fresh interpreter, watched and not, and as a zygote does
  it (watched, and garbage collected seldom), in turns.  Processor time, as the clock's goes up
  and down with the machine.
* audit: once per generation, with nothing found and with a connection found (only then are
  its holder and its line looked for), on a heap of so many MiB of small objects.
* event: ns for an audit event in a process without a hook, with one that is armed for
  other events, and with one that is disarmed, as in each worker.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from common.measure import median
from common.telling import Contract, Report

SRC = str(Path(__file__).resolve().parents[1] / "src")
HEAD = f"""
import os, sys, time
sys.path[:0] = [{SRC!r}, {str(Path(__file__).parent / "apps")!r}]
import asyncio, leeward._zygote.main
from leeward._zygote.audit import audit, open_descriptors
from leeward._zygote.origins import Origins
from leeward._zygote.seldom import Seldom
from leeward._zygote.watch import Watch
own, watch = open_descriptors(), Watch(Origins())
"""
IMPORT = """
if {how} == 2:
    Seldom().begin()
if {how}:
    watch.arm()
start = time.process_time()
import {module}
print(time.process_time() - start)
"""
AUDIT = """
import gc, socket
watch.arm()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before, heap = resident(), []
while resident() - before < {mib} * 2**20:
    heap.append({{"name": str(len(heap)), "tags": [len(heap)], "at": (len(heap), None)}})
server = socket.create_server(("127.0.0.1", 0))
if {found}:
    client = socket.create_connection(server.getsockname())
watch.disarm()
start = time.monotonic()
found = audit(own, watch)
print(time.monotonic() - start, len(gc.get_objects()), len(found.hazards))
"""
EVENT = """
if {hook}:
    watch.arm()
if {hook} == 2:
    watch.disarm()
def turn():
    start = time.perf_counter_ns()
    for _ in range(200000):
        sys.audit("bench", 1, 2)
    return (time.perf_counter_ns() - start) / 200000
print(min(turn() for _ in range(5)))
"""


def run(code: str, **values: object) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code.format(**values)],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--module", default="heavy", help="of bench/apps, or any that is installed")
    parser.add_argument("--mib", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    report = Report("What does the audit cost?", {"module": args.module, "heap": f"{args.mib} MiB"})
    imports: list[list[float]] = [[], [], []]
    for number in range(args.rounds + 1):
        for how, into in enumerate(imports):
            (took,) = run(IMPORT, how=how, module=args.module)
            if number:  # the first turn reads the files from the disk
                into.append(took)
    plain, watched, loaded = imports
    for name, turns in (("watched", watched), ("by a zygote", loaded)):
        ms = median(turns) * 1000
        row = {"what": f"import, ms, {name}", "without": median(plain) * 1000, "with": ms}
        report.rows.append(row)
    report.ratio("import watched / not", plain, watched)
    report.ratio("import by a zygote / not", plain, loaded)
    clean = [run(AUDIT, mib=args.mib, found=False) for _ in range(5)]
    found = [run(AUDIT, mib=args.mib, found=True) for _ in range(5)]
    assert not clean[0][2] and found[0][2] == 1
    for name, times in (("nothing found", clean), ("a connection found", found)):
        ms = median([it[0] for it in times]) * 1000
        report.rows.append({"what": f"audit, ms, {name}", "with": ms, "objects": times[0][1]})
    events = [min(run(EVENT, hook=hook)[0] for _ in range(3)) for hook in (0, 1, 2)]
    report.rows.append(
        {"what": "event, ns", "without": events[0], "with": events[2], "armed": events[1]}
    )
    report.contracts += [
        Contract("import, by a zygote / not", median(loaded) / median(plain), 1.0),
        Contract("audit", median([it[0] for it in clean]), 0.3, "s"),
        Contract("audit that finds something", median([it[0] for it in found]), 0.3, "s"),
        Contract("an event with the hook, disarmed", events[2] / 1000, 0.2, "µs"),
    ]
    report.tell()
    if args.keep:
        report.keep("audit")


if __name__ == "__main__":
    main()
