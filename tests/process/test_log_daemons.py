"""`--log-file syslog:` and `journal:`: each line is a message with its level and identity."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from pathlib import Path

from collector.daemons import Daemon, fields
from process.clients import Http, address_of
from process.support import APPS

from leeward.testing import serve

MESSAGE = re.compile(
    r"<(\d+)>[A-Z][a-z]{2} [ 0-3]\d \d\d:\d\d:\d\d test-[-\w]+\[(\d+)\]: (.*)", re.DOTALL
)


def test_syslog(tmp_path: Path) -> None:
    """Workers' lines, requests with their levels, tracebacks in one message, the supervisor's
    lines; the daemon is restarted and a worker killed meanwhile."""
    daemon = Daemon(str(tmp_path / "log"))
    flags = ("-w", "2", "--log-file", f"syslog:{tmp_path}/log")
    said = []
    with serve("logs_much:make_app", *flags, "--log-facility", "local1", cwd=APPS) as service:
        service.wait_ready(2)
        at = address_of(service)
        for n in range(30):
            with Http(at) as client:
                said.append((n, int(client.get(f"/{n}").body)))
            if n == 10:
                daemon.stop()
                daemon.start()
            if n == 20:
                os.kill(said[-1][1], signal.SIGKILL)
                service.wait_line("died: killed by")
        with Http(at) as client:
            assert client.get("/nowhere/at/all").status == 404
        assert service.stop() == 0
    daemon.stop()
    found = [MESSAGE.fullmatch(it.decode()) for it in daemon.came]
    assert None not in found
    lines = [(int(it[1]), int(it[2]), it[3]) for it in found if it]
    much = [re.match(r"worker=[01] gen=1 pid=(\d+) much: line (\d+) of", it[2]) for it in lines]
    assert Counter((int(it[2]), int(it[1])) for it in much if it) == Counter(said)
    info, warning = 17 * 8 + 6, 17 * 8 + 4
    assert all(it[:2] == (info, int(m[1])) for it, m in zip(lines, much, strict=True) if m)
    assert [it[0] for it in lines if "404 GET /nowhere" in it[2]] == [warning]
    assert [it[2] for it in lines if it[1] == service.process.pid][-1] == "stopped"


def test_the_journal(tmp_path: Path) -> None:
    """The level and the identity as fields; `leeward logs` shows the lines as ever."""
    daemon = Daemon(str(tmp_path / "socket"))
    flags = ("--log-file", f"journal:{tmp_path}/socket")
    with serve("logs_much:make_app", *flags, cwd=APPS) as service:
        with Http(address_of(service)) as client:
            pid = client.get("/3").body
            daemon.wait_for(b"line 3 of")
            shown = service.leeward("logs", "-n", "9").stdout
        assert re.search(r"^20\d\d-\S+ \S+ info     worker=0 gen=1 \S+ much: line 3", shown, re.M)
        assert service.stop() == 0
    daemon.stop()
    entries = [fields(it) for it in daemon.came]
    [it] = [it for it in entries if b"much: line 3 of" in it["MESSAGE"]]
    assert it["MESSAGE"].startswith(b"worker=0 gen=1 pid=" + pid)
    assert it["SYSLOG_PID"] == pid and it["PRIORITY"] == b"6"
    assert it["SYSLOG_IDENTIFIER"] == service.name.encode() and it["LEEWARD_SLOT"] == b"0"
    assert re.fullmatch(rb"20\d\d-\d\d-\d\dT\S+[+-]\d\d:\d\d", it["SYSLOG_TIMESTAMP"])


def test_what_is_printed(tmp_path: Path) -> None:
    """With --capture-output on each printed line is an entry, in order, and on stderr no more."""
    daemon = Daemon(str(tmp_path / "socket"), pause=0.0002)
    flags = ("--capture-output", "on", "--log-file", f"journal:{tmp_path}/socket")
    with serve("prints:make_app", *flags, cwd=APPS) as service:
        with Http(address_of(service)) as client:
            for what in ("much", "colour", "stderr", "record"):
                client.get(f"/{what}")
            daemon.wait_for(b"to stderr")
            daemon.wait_for(b"a record")
            daemon.stop()
            client.get("/print")
            daemon.start()
            daemon.wait_for(b"from print")
        assert service.stop() == 0
    daemon.stop()
    entries = [fields(it) for it in daemon.came]
    printed = [it for it in entries if b" stdout: " in it["MESSAGE"]]
    assert all(it["PRIORITY"] == b"6" and it["LEEWARD_SLOT"] == b"0" for it in printed)
    assert all(it.keys().isdisjoint({"SYSLOG_PID", "LEEWARD_SEQUENCE"}) for it in printed)
    texts = [it["MESSAGE"].partition(b" stdout: ")[2].decode() for it in printed]
    much = [f"much {n} " + "x" * 70 for n in range(2000)]
    assert texts == [*much, "\\e[31mred\\e[0m", "from print False"]
    [it] = [it for it in entries if b"to stderr" in it["MESSAGE"]]
    assert it["PRIORITY"] == b"4" and it["LEEWARD_GENERATION"] == b"1"
    [it] = [it for it in entries if b"a record" in it["MESSAGE"]]
    assert it["PRIORITY"] == b"4" and it["SYSLOG_PID"]
    assert not [it for it in service.lines if "much" in it or "to stderr" in it]
