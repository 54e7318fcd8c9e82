"""An application that closes whatever it may have inherited serves as by itself."""

from __future__ import annotations

import pytest
from process.clients import address_of, get
from process.support import APPS

from leeward.testing import serve


@pytest.mark.parametrize("start", ["zygote", "spawn"])
@pytest.mark.parametrize("how", ["", ", one by one"], ids=["closerange", "close"])
@pytest.mark.parametrize("where", ["import", "factory", "main"])
def test_it_serves_and_ends(where: str, how: str, start: str) -> None:
    """Our descriptors stay open while it is loaded, on whatever loop; a stop still reaches it."""
    program = where == "main"
    target = ("closes_all.py", "--kind", "script") if program else ("closes_all:make_app",)
    bind = None if program else "127.0.0.1:0"
    env = {"WHERE": where + how}
    with serve(*target, "--start", start, cwd=APPS, bind=bind, env=env) as service:
        assert get(address_of(service.wait_ready(1))).body == b"hello"
        assert service.stop() == 0
        service.wait_line(r"worker=0 gen=1 pid=\d+ gone$")
        assert "Traceback" not in service.log


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_loop_of_a_worker_turns_on(loop: str) -> None:
    """The factory runs on it, and would close its epoll set."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with serve(
        "closes_all:make_app", "--loop", loop, cwd=APPS, env={"WHERE": "factory"}
    ) as service:
        assert get(address_of(service.wait_ready(1))).body == b"hello"
