"""The application's own log files: each line once, whoever is killed, and in what it forks."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from pathlib import Path

from process.clients import Http, address_of
from process.support import APPS, until

from leeward._sys import procfs
from leeward.testing import Service, serve


def collector_of(service: Service) -> int:
    """Its pid, once there is one."""

    def look() -> int | None:
        family = procfs.children_of(service.process.pid)
        return next((it for it in family if procfs.comm(it) == "leeward logs"), None)

    return until(look, "no log collector")


def test_tornados_own_log_file(tmp_path: Path) -> None:
    """--log_file_prefix of a program as it stands: what was said is there once, under the names
    that Tornado gives, though workers and the collector are killed in the middle."""
    path = tmp_path / "shop.log"
    options = (f"--log_file_prefix={path}", "--log_file_max_size=3000", "--log_file_num_backups=50")
    with serve("logs_by_options.py", "-w", "2", cwd=APPS, args=options) as service:
        service.wait_line(rf"log file {path} \(RotatingFileHandler\): written by the collector")
        service.wait_ready(2)
        at = address_of(service)
        for number in range(80):
            dies = number % 40 == 20
            mark = service.mark()
            with Http(at) as client:
                if dies:
                    client.send(f"/{number}?die=1")
                    service.wait_line("died: killed by", mark)
                else:
                    assert client.get(f"/{number}").status == 200
            if number % 40 == 30:
                os.kill(collector_of(service), signal.SIGKILL)
        assert service.stop() == 0
    files = list(tmp_path.iterdir())
    assert {it.name for it in files} == {
        "shop.log",
        *(f"shop.log.{n}" for n in range(1, len(files))),
    }
    assert len(files) > 2 and all(it.stat().st_size < 3000 for it in files)
    text = "".join(it.read_text() for it in files)
    assert Counter(re.findall(r"said (\d+)\.\n", text)) == {str(it): 1 for it in range(80)}
    assert all(re.match(r"\[[WIE] \d{6} ", line) for line in text.splitlines())
