"""Under load from programs that nobody here wrote, not one request fails."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from process.clients import address_of
from process.support import APPS, until

from leeward.testing import Service, serve

CHAT = APPS.parents[1] / "examples/chat"

needs_ab = pytest.mark.skipif(
    shutil.which("ab") is None, reason="no ab here: apt-get install apache2-utils"
)
needs_wrk = pytest.mark.skipif(
    shutil.which("wrk") is None, reason="no wrk here: apt-get install wrk"
)
CHATS = pytest.mark.parametrize(
    ("target", "cwd", "path"), [("hello", APPS, "/"), ("chat:make_app", CHAT, "/about")]
)


#: wrk calls an answer that takes longer than 2 s an error, if it is not told otherwise.
LATE = ("--timeout", "20s")


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def url(service: Service, path: str) -> str:
    host, port = address_of(service)
    return f"http://{host}:{port}{path}"


def both_serve(service: Service) -> None:
    """Nobody says that it is ready in a log that starts with warnings."""
    service.wait_ready()
    until(lambda: len(service.workers()) == 2, "both to serve")


def counted(service: Service, least: int) -> list[int]:
    """Requests of each worker, once all clients are gone and so many are counted.

    (Kept connections may all be one worker's.)
    """

    def settled() -> list[int]:
        workers = service.workers()
        busy = any(it["connections"] or it["in_flight"] for it in workers)
        counts = [it["requests"] for it in workers]
        return [] if busy or sum(counts) < least else counts

    counts = until(settled, f"all clients to be gone and {least} requests to be counted")
    assert len(counts) == 2
    return counts


def ab(service: Service, path: str, *flags: str) -> int:
    """Requests that were answered; raises if any failed."""
    # -l: the length may differ, it tells a pid.  -r: go on after an error, and count it.
    shown = run("ab", "-q", "-l", "-r", "-n", "2000", "-c", "20", *flags, url(service, path))
    assert "Non-2xx" not in shown, shown
    failed, complete = (
        re.search(rf"(?m)^{words} requests: +(\d+)", shown) for words in ("Failed", "Complete")
    )
    assert failed and complete
    assert int(failed[1]) == 0, shown
    return int(complete[1])


def wrk(service: Service, path: str, seconds: int = 2) -> int:
    """Requests that were answered; raises if any failed."""
    flags = ("-t", "1", "-c", "30", "-d", f"{seconds}s", *LATE)
    shown = run("wrk", *flags, url(service, path))
    # It says a word of them only if there were some.
    assert "Socket errors" not in shown and "Non-2xx" not in shown, shown
    complete = re.search(r"(\d+) requests in", shown)
    assert complete
    return int(complete[1])


@needs_ab
@CHATS
@pytest.mark.parametrize("flags", [(), ("-k",)], ids=["new connections", "keep-alive"])
def test_ab_counts_no_failure(
    target: str, cwd: Path, path: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    """2000 requests, 20 at a time: each answered, each counted once in ps."""
    env = {"CHAT_RUN_DIR": str(tmp_path)}
    with serve(target, "-w", "2", "--log-level", "error", cwd=cwd, env=env) as service:
        both_serve(service)
        assert ab(service, path, *flags) == 2000
        counts = counted(service, 2000)
        assert sum(counts) == 2000
        assert flags or min(counts) > 0, "both take new connections"


@needs_wrk
@CHATS
def test_wrk_counts_no_failure(target: str, cwd: Path, path: str, tmp_path: Path) -> None:
    """30 kept connections as fast as they can, for 2 s: no socket error, no other status."""
    env = {"CHAT_RUN_DIR": str(tmp_path)}
    with serve(target, "-w", "2", "--log-level", "error", cwd=cwd, env=env) as service:
        both_serve(service)
        answered = wrk(service, path)
        assert answered > 100
        # wrk leaves in the middle of its last 30.
        assert answered <= sum(counted(service, answered)) <= answered + 30


@needs_ab
@needs_wrk
def test_ab_and_wrk_together_with_a_reload() -> None:
    """Kept and new connections at once, and two reloads under them: ab sees no failure."""
    with serve("hello", "-w", "2", "--log-level", "warning", cwd=APPS) as service:
        both_serve(service)
        kept = subprocess.Popen(
            ["wrk", "-t", "1", "-c", "10", "-d", "3s", *LATE, url(service, "/")],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            for _ in range(2):
                assert ab(service, "/") == 2000
                assert service.leeward("reload").returncode == 0
            assert ab(service, "/") == 2000
            shown = kept.communicate(timeout=50)[0]
        finally:
            kept.kill()
            kept.wait()
        assert "Non-2xx" not in shown, shown
        # wrk itself counts a connection that was announced to close and closed as no
        # error, and opens it again.
        assert "Socket errors" not in shown, shown
        assert service.ps()["generation"] == 3
