"""`Service.ps()` says what `leeward ps --json` says: in any thread, wherever the test runs."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from process.support import APPS, wrapped

from leeward.testing import serve

UNSHARE = "unshare --mount"


def test_it_is_the_commands_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of another instance, in the directory that the test's own environment names."""
    with serve("hello", cwd=APPS) as other, serve("hello", "-w", "2", cwd=APPS) as service:
        other.wait_ready(1)
        service.wait_ready(2)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(other.directory))
        with ThreadPoolExecutor(8) as threads:
            shown = list(threads.map(lambda _: service.ps(), range(24)))
        assert {it["pid"] for it in shown} == {service.pid}
        assert {len(it["workers"]) for it in shown} == {2}
        (by_command,) = json.loads(service.leeward("ps", "--json").stdout)
        assert by_command.keys() == shown[0].keys()
        workers = [(it["slot"], it["pid"], it.keys()) for it in shown[0]["workers"]]
        assert [(it["slot"], it["pid"], it.keys()) for it in by_command["workers"]] == workers


@pytest.mark.parametrize("place", ["here", "another mount namespace", "another leeward"])
def test_behind_a_script(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked from here where its pids, its paths and its leeward are ours; else by the command."""
    apart = UNSHARE if place == "another mount namespace" else ""
    if apart and subprocess.run(["sh", "-c", f"{apart} true"], check=False).returncode:
        pytest.skip("cannot make a mount namespace here")
    starts = tmp_path / "starts"
    script = f'echo >>{starts}\ncase " $* " in *" serve "*) exec {apart} "$python" "$@";; esac'
    python = wrapped(tmp_path, f'{script}\nexec "$python" "$@"')
    with serve("hello", cwd=APPS, python=python) as service:
        service.wait_ready(1)
        if place == "another leeward":
            monkeypatch.setattr("leeward.testing.__file__", str(tmp_path / "leeward/testing.py"))
        begun = len(starts.read_text())
        assert [it["slot"] for it in service.workers()] == [0]
        assert len(starts.read_text()) - begun == (0 if place == "here" else 1)


def test_one_that_has_ended_does_not_answer() -> None:
    """An AssertionError with the log, as of every wait that fails."""
    with serve("hello", cwd=APPS) as service:
        service.wait_ready(1)
        assert service.url.startswith("http://127.0.0.1:")
        assert service.stop() == 0
        with pytest.raises(AssertionError, match=r"(?s)no instance .*stopped"):
            service.ps()
