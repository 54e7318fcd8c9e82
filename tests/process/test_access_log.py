"""Each request of an instance is one whole line in its log, whoever of its workers answered."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from process.clients import Http, address_of, reload
from process.support import APPS
from worker.combined import COMBINED

from leeward.testing import serve


def test_workers_that_share_a_pipe_tell_each_request_once() -> None:
    """Two workers, a reload in the middle, and a stop: nothing is lost, doubled or torn."""
    with serve("tells_requests:make_app", "-w", "2", cwd=APPS) as service:
        service.wait_ready(2)
        at = address_of(service)
        for n in range(400):
            with Http(at) as client:
                client.get(f"/{n}?{'x' * (n % 300)}")
                client.get(f"/{n}-again")
            if n == 200:
                reload(service, 2)
        assert service.stop() == 0
        lines = [line for line in service.lines if "tornado.access" in line]
    whole = re.compile(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} info     worker=[01] gen=[12] pid=\d+ "
        r"tornado\.access: 200 GET /(\d+)(-again|\?x*) \(127\.0\.0\.1\) \d+\.\d\dms"
    )
    found = [whole.fullmatch(line) for line in lines]
    assert None not in found
    told = Counter((int(it[1]), it[2].startswith("-")) for it in found if it)
    assert told == Counter((n, again) for n in range(400) for again in (False, True))


@pytest.mark.parametrize("engine", ["leeward", "tornado"])
def test_a_program_behind_a_proxy_tells_who_asked_the_proxy(engine: str) -> None:
    """xheaders of the program's own server; the format of the settings."""
    flags = ("--kind", "script", "--engine", engine, "--access-log-format", "combined")
    with serve("tells_requests.py", *flags, args=("0",), bind=None, cwd=APPS) as service:
        with Http(address_of(service)) as client:
            assert client.get("/", "X-Real-Ip: 203.0.113.9").body == b"203.0.113.9"
        assert service.stop() == 0
        [line] = [it for it in service.lines if "GET" in it]
    found = COMBINED.fullmatch(line + "\n")
    assert found is not None
    assert (found["host"], found["asked"], found["size"]) == ("203.0.113.9", "GET / HTTP/1.1", "11")


def test_a_format_that_does_not_apply_is_said_so() -> None:
    """Once for a generation, not by each worker."""
    flags = ("-w", "2", "--access-log-format", "combined")
    env = {"HOW": "basicConfig in the factory"}
    with serve("logs_its_own_way", *flags, cwd=APPS, env=env) as service:
        service.wait_ready(2)
        with Http(address_of(service)) as client:
            client.get("/")
        assert service.stop() == 0
        lines = service.lines
    words = "the application logs requests in its own way: --access-log-format combined"
    assert len([line for line in lines if words in line]) == 1
    assert len([line for line in lines if line.startswith("OWN INFO 200 GET /")]) == 1
    assert not any(map(COMBINED.match, (line + "\n" for line in lines)))


def test_no_access_log_is_none() -> None:
    with serve("tells_requests:make_app", "--no-access-log", cwd=APPS) as service:
        with Http(address_of(service)) as client:
            client.get("/here")
        assert service.stop() == 0
        assert "/here" not in service.log
