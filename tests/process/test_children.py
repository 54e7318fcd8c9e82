"""An application's children: their exits are told in a worker, and they do not hold its end up."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest
from process.clients import address_of, get
from process.support import APPS

from leeward.testing import Service, serve

#: What the exit functions of `leaves_children` say.
FIRST, LAST = "registered last, run first", "registered first, run last"
#: A worker's end without any child, on a busy machine.
SOON = 1.5


@pytest.mark.parametrize("start", ["zygote", "spawn"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_exits_are_told(loop: str, start: str) -> None:
    """tornado.process.Subprocess and asyncio.create_subprocess_exec, mixed, request by request."""
    if loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    with serve("waits_for_children:app", "--loop", loop, "--start", start, cwd=APPS) as service:
        address = address_of(service.wait_ready())
        for _ in range(3):
            found = get(address).json
            assert found["loop"].startswith(loop)
            assert found["codes"] == [code for code in range(5) for _ in range(2)]


def leaves(service: Service, end: str = "stop") -> float:
    """Seconds that the only worker takes to end: by itself, with all exit functions run."""
    begun = time.monotonic()
    if end == "stop":
        assert service.stop() == 0
    else:
        done = service.leeward("reload")
        assert (done.returncode, done.stderr) == (0, ""), done
    service.wait_line(r"worker=0 gen=1 pid=\d+ gone$")  # no code behind it: by 0
    took = time.monotonic() - begun
    log = service.log
    assert FIRST in log and LAST in log and log.index(FIRST) < log.index(LAST), log
    assert "Timeout" not in log and "Traceback" not in log and " ended " not in log, log
    return took


WAYS = {
    "zygote": ("leaves_children:make_app",),
    "spawn": ("leaves_children:make_app", "--start", "spawn"),
    "program": ("leaves_children.py", "--kind", "script"),
}


@pytest.mark.parametrize("of", ["idle", "busy"])
@pytest.mark.parametrize("way", WAYS)
def test_a_pool(way: str, of: str) -> None:
    """An idle child of a Pool holds the lock that its end needs: Pool and exit functions first."""
    bind = None if way == "program" else "127.0.0.1:0"
    with serve(*WAYS[way], cwd=APPS, bind=bind) as service:
        address = address_of(service.wait_ready(1))
        assert get(address, f"/make?of={of}").body == b"made"
        assert leaves(service) < SOON


def test_a_pool_at_a_reload() -> None:
    with serve("leaves_children:make_app", cwd=APPS) as service:
        assert get(address_of(service.wait_ready(1)), "/make?of=idle").body == b"made"
        leaves(service, "reload")


@pytest.mark.parametrize("of", ["idle", "busy"])
def test_a_pool_of_the_import(of: str) -> None:
    """Its threads are a hazard: each worker has a pool of its own."""
    with serve("leaves_children:make_app", cwd=APPS, env={"HAS": of}) as service:
        service.wait_ready(1)
        assert leaves(service) < SOON


def test_a_manager(tmp_path: Path) -> None:
    """It ends by its own finalizer, which removes its directory."""
    with serve("leaves_children:make_app", cwd=APPS, env={"TMPDIR": str(tmp_path)}) as service:
        assert get(address_of(service.wait_ready(1)), "/make?of=manager").body == b"made"
        assert list(tmp_path.glob("pymp-*"))
        assert leaves(service) < SOON
        assert not list(tmp_path.glob("pymp-*"))


def test_exit_functions_find_the_children_alive() -> None:
    with serve("leaves_children:make_app", cwd=APPS) as service:
        assert get(address_of(service.wait_ready(1)), "/make?of=takes_leave").body == b"made"
        assert leaves(service) < SOON
        service.wait_line("the child has heard of it")


@pytest.mark.parametrize("of", ["executor", "deaf", "deaf_daemon"])
def test_children_that_exit_functions_wait_for(of: str) -> None:
    """They are ended amid them: by TERM, and by KILL who does not heed it; then the rest run."""
    with serve("leaves_children:make_app", cwd=APPS) as service:
        assert get(address_of(service.wait_ready(1)), f"/make?of={of}").body == b"made"
        leaves(service)
