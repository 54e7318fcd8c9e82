"""The supervisor and the terminal that it was typed at."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from process.clients import address_of, get
from process.support import APPS, wrapped

from leeward.testing import serve


def test_in_the_background_of_a_terminal_that_stops_who_writes(tmp_path: Path) -> None:
    """`stty tostop; leeward serve &`: it says what it has to say, serves, and obeys."""
    job = 'stty tostop; set -m; "$python" "$@" & echo "supervisor $!"; wait $!; exit $?'
    python = wrapped(tmp_path, f'if [ "$1 $3" = "-m serve" ]; then {job}; fi\nexec "$python" "$@"')
    with serve("hello", "-w", "2", cwd=APPS, python=python, terminal=True) as service:
        pid = int(service.wait_line(r"^supervisor (\d+)$")[1])
        try:
            service.wait_ready(2)
            assert os.getpgid(pid) == pid != os.getpgid(service.pid)
            assert get(address_of(service)).status == 200
            assert service.leeward("reload").returncode == 0
            service.wait_line("generation 2 serves")
            assert service.ps()["workers_wanted"] == 2, "its own signals are no TTOU of somebody's"
            assert service.leeward("stop").returncode == 0
            assert service.wait() == 0
            service.wait_line("stopped")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
