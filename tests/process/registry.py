"""What the tests of `conns`, `kill` and `set` share: an application that waits."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from process.support import APPS, PATIENCE, until

from leeward._core.conns import Conn, ordered
from leeward._core.record import asdict
from leeward.cli import instances
from leeward.cli.conns import _ask, query_of
from leeward.testing import Service, serve

WAITS = "waits_in_many_ways"


@contextlib.contextmanager
def waiting(*flags: str, workers: int = 1, graceful: str = "2s", **more: Any) -> Iterator[Service]:
    """`waits_in_many_ways.py`, served.  graceful:  how long its end waits for those that wait."""
    flags = ("-w", str(workers), "--graceful-timeout", graceful, *flags)
    with serve(f"{WAITS}:make_app", *flags, cwd=APPS, **more) as service:
        # Nobody says that it is ready in a log that starts with warnings.
        service.wait_ready(None if "--log-level" in flags else workers)
        until(lambda: len(service.workers()) == workers, "all workers")
        yield service


def conns(service: Service, *flags: str, code: int = 0) -> list[dict[str, Any]]:
    """What `leeward conns --json` says."""
    done = service.leeward("conns", "--json", "--timeout", "20s", *flags)
    assert done.returncode == code, done
    return [dict(it) for it in json.loads(done.stdout)]


def until_there(service: Service, count: int, state: str = "") -> list[dict[str, Any]]:
    """The connections of that state, once there are so many.

    Asked by the verb's own code in this process: each look would start another.
    """
    query = query_of(state=state)
    instance = instances.find(service.name, {"XDG_RUNTIME_DIR": str(service.directory)})
    found: list[Conn] = []

    def there() -> bool:
        gathered = _ask(instance, query, None, PATIENCE)
        assert not gathered.silent, gathered
        found[:] = ordered(gathered.conns, "")
        return len(found) == count

    until(there, f"{count} connections {state}")
    return [asdict(it) for it in found]
