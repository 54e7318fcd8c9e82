"""`Service.ps()` says what `leeward ps --json` says: in any thread, wherever the test runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from process.support import APPS, wrapped

from leeward.testing import serve


def test_it_is_the_commands_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of another instance, in the directory that the test's own environment names."""
    with serve("hello", cwd=APPS) as other, serve("hello", "-w", "2", cwd=APPS) as service:
        other.wait_ready(1)
        service.wait_ready(2)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(other.directory))
        with ThreadPoolExecutor(8) as threads:
            shown = list(threads.map(lambda _: service.ps(), range(24)))
        assert {it["pid"] for it in shown} == {service.pid}
        assert {len(it["workers"]) for it in shown} == {2}
        # Behind a script nobody knows who asks, and whom: the command itself is run.
        monkeypatch.setattr(service, "_python", wrapped(tmp_path, 'exec "$python" "$@"'))
        by_command = service.ps()
        assert by_command.keys() == shown[0].keys()
        workers = [(it["slot"], it["pid"], it.keys()) for it in shown[0]["workers"]]
        assert [(it["slot"], it["pid"], it.keys()) for it in by_command["workers"]] == workers


def test_one_that_has_ended_does_not_answer() -> None:
    """An AssertionError with the log, as of every wait that fails."""
    with serve("hello", cwd=APPS) as service:
        service.wait_ready(1)
        assert service.url.startswith("http://127.0.0.1:")
        assert service.stop() == 0
        with pytest.raises(AssertionError, match=r"(?s)no instance .*stopped"):
            service.ps()
