"""What does a printed line cost, captured and not?

A worker on a terminal prints lines of 40 octets and measures its own CPU time and the time that
it took; the collector's CPU time is read from /proc.  The terminal is read as fast as can be.
And how long does it take until a collector that was killed reads again?
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

from common import telling
from common.measure import median, percentile

from leeward._sys import procfs
from leeward.testing import Service, serve

_APP = """\
import sys, time, tornado.web

class Lines(tornado.web.RequestHandler):
    def get(self, number):
        number = int(number)
        cpu, begin = time.process_time(), time.perf_counter()
        for n in range(number):
            print(f"line {n:8} of what there is to say ....")
        cpu, took = time.process_time() - cpu, time.perf_counter() - begin
        self.write(f"{cpu / number * 1e6} {took / number * 1e6}")

def make_app():
    return tornado.web.Application([("/(.*)", Lines)], log_function=lambda handler: None)
"""


def ask(url: str, lines: int) -> list[float]:
    with urlopen(f"{url}/{lines}", timeout=30) as answer:
        return [float(it) for it in answer.read().split()]


def collector_of(service: Service) -> int:
    family = procfs.children_of(service.pid)
    return next((it for it in family if procfs.comm(it) == "leeward logs"), 0)


def measured(apps: str, setting: str, lines: int, report: telling.Report) -> None:
    cpu: list[float] = []
    took: list[float] = []
    collector: list[float] = []
    with serve("prints", "--capture-output", setting, cwd=apps, terminal=True) as service:
        service.wait_ready(1)
        url = service.url
        ask(url, 1)
        for _ in range(5):
            pid = collector_of(service)
            before = procfs.cpu_seconds(pid) or 0.0
            answer = ask(url, lines)
            service.lines.clear()
            cpu.append(answer[0])
            took.append(answer[1])
            if pid:
                collector.append(((procfs.cpu_seconds(pid) or 0.0) - before) / lines * 1e6)
    report.rows.append(
        {
            "": setting,
            "worker's CPU (µs a line)": median(cpu),
            "its time": median(took),
            "collector's CPU": median(collector) if collector else 0.0,
        }
    )


def killed(apps: str, times: int) -> list[float]:
    waits: list[float] = []
    with serve("prints", cwd=apps, terminal=True) as service:
        service.wait_ready(1)
        url = service.url
        for _ in range(times):
            mark = service.mark()
            ask(url, 1)
            service.wait_line(r"^w0\| line", after=mark)
            time.sleep(0.3)  # one that dies young, again and again, is replaced with pauses
            mark = service.mark()
            begin = time.monotonic()
            os.kill(collector_of(service), signal.SIGKILL)
            ask(url, 1)
            service.wait_line(r"^w0\| line", after=mark)
            waits.append((time.monotonic() - begin) * 1000)
    return waits


def main() -> None:
    parser = telling.arguments(__doc__)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    report = telling.Report(
        "What does a printed line cost, captured and not?", {"lines": options.lines}
    )
    with tempfile.TemporaryDirectory() as apps:
        Path(apps, "prints.py").write_text(_APP)
        for setting in ("off", "auto"):
            measured(apps, setting, options.lines, report)
        waits = killed(apps, options.kills)
    report.rows.append(
        {
            "": "a killed collector reads again",
            "median (ms)": median(waits),
            "p90": percentile(waits, 90),
            "worst": max(waits),
        }
    )
    report.contracts = [
        telling.Contract("a killed collector reads again, median", median(waits), 100, "ms")
    ]
    telling.finish(report, "print", options.keep)


if __name__ == "__main__":
    main()
