"""Workers that reach a limit are replaced without anybody noticing, and never in a frenzy."""

from __future__ import annotations

import re
import time

import pytest
from process.clients import Http, address_of, get
from process.crowd import Crowd
from process.support import APPS, until

from leeward.testing import Service, serve


def births(service: Service) -> int:
    return len(re.findall(r"worker=\d gen=1 pid=\d+ ready", service.log))


@pytest.mark.parametrize("mode", ["zygote", "spawn"])
def test_max_requests_under_load(mode: str) -> None:
    """Replaced again and again: every request is answered by 200."""
    flags = ("-w", "2", "--start", mode, "--max-requests", "50")
    with serve("hello", *flags, cwd=APPS) as service:
        service.wait_ready(2)
        with Crowd(address_of(service)) as crowd:
            until(lambda: births(service) >= 6, "four replacements")
            crowd.all_answered()
        asked = re.findall(r"asks to be replaced \(answered (\d+) requests, --max-req", service.log)
        assert len(asked) >= 4 and all(50 <= int(it) <= 55 for it in asked)
        assert "died" not in service.log and not service.ps()["ends"]


def test_max_requests_1_does_not_melt_the_machine() -> None:
    """Each worker has reached its limit when it is born: pauses, and everybody is served."""
    flags = ("-w", "2", "--max-requests", "1", "--max-requests-jitter", "0")
    with serve("hello", *flags, cwd=APPS) as service:
        service.wait_ready(2)
        began = time.monotonic()
        with Crowd(address_of(service)) as crowd:
            service.wait_line(r"when it was hardly ready; the next one is replaced in 0.8 s")
            crowd.all_answered()
        # 0.1 + 0.2 + 0.4 s have passed at least, and 2 workers for each of these waves.
        assert births(service) - 2 <= 2 * (4 + (time.monotonic() - began) / 0.8)
        assert "pausing" not in service.log and not service.ps()["ends"]
        assert service.ps()["state"] == "serving"


def test_max_requests_of_one_connection() -> None:
    """A keep-alive client is told at the end of the old worker's life; none is cut."""
    flags = ("--max-requests", "5", "--max-requests-jitter", "0%")
    with serve("hello", *flags, cwd=APPS) as service:
        with Http(address_of(service.wait_ready(1))) as client:
            pids = {client.get().json["pid"] for _ in range(5)}
            service.wait_line(r"asks to be replaced \(answered 5 requests, --max-requests\)")
            service.wait_line(rf"pid={min(pids)} draining")
            last = client.get()
            assert last.json["pid"] in pids and last.announces_close
        assert get(address_of(service)).json["pid"] not in pids


def test_max_age() -> None:
    """Replaced when they are old, not in the same moment, while a client asks all the time."""
    with serve("hello", "-w", "2", "--max-age", "2s", cwd=APPS) as service:
        service.wait_ready(2)
        with Crowd(address_of(service)) as crowd:
            until(lambda: births(service) >= 5, "three replacements")
            crowd.all_answered()
        ages = re.findall(r"asks to be replaced \(is ([\d.]+) s old, --max-age\)", service.log)
        assert len(ages) >= 2 and all(1.8 <= float(age) <= 2 for age in ages)
        assert len(set(ages)) > 1


def test_max_pss_of_an_application_that_leaks() -> None:
    """Past the bound it is replaced; its client is not cut."""
    with serve("leaks", "--max-pss", "80MiB", cwd=APPS) as service:
        address = address_of(service.wait_ready(1))
        first = get(address).json["pid"]
        until(lambda: get(address).json["pid"] != first, "another worker")
        found = service.wait_line(r"asks to be replaced \(has (\d+) MiB of memory, --max-pss\)")
        assert 80 <= int(found[1]) <= 150
        assert "died" not in service.log
