"""examples/deploy: what is handed out verifies, parses, and runs as PID 1."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from process.support import APPS, PATIENCE, gone, until

from leeward._core.config import Config
from leeward._sys import procfs
from leeward.cli import options
from leeward.cli.serve import command

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "examples/deploy"
PAGES = ROOT / "docs/how-to"


def config_of(words: list[str]) -> Config:
    """What leeward's own command line makes of `words`, the directories of others set aside."""
    words = [word for word in words if not word.startswith("/srv/") and word != "--chdir"]
    place = words.index("--user") if "--user" in words else None
    if place is not None:  # `chat` is no user here
        del words[place : place + 2]
    return options.resolved(options.parse(command, words)).config


def unit_command() -> list[str]:
    text = (DEPLOY / "chat.service").read_text().replace("\\\n", " ")
    found = re.search(r"^ExecStart=(.*)$", text, re.M)
    assert found
    return shlex.split(found[1])


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def unit_value(key: str) -> str:
    found = re.search(rf"^{key}=(.*)$", (DEPLOY / "chat.service").read_text(), re.M)
    assert found
    return found[1]


# --- systemd ----------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_verifies_the_units(tmp_path: Path) -> None:
    """Not a warning, for the service and its socket."""
    version = subprocess.check_output(["systemd-analyze", "--version"], text=True).split()[1]
    program = tmp_path / "leeward"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in ("chat.service", "chat.socket"):
        text = (DEPLOY / name).read_text().replace("/srv/chat/venv/bin/leeward", str(program))
        if int(version) < 253:  # as docs/how-to/run-under-systemd.md says for these
            text = text.replace(
                "Type=notify-reload", "Type=notify\nExecReload=/bin/kill -HUP $MAINPID"
            )
        (tmp_path / name).write_text(text)
    units = [tmp_path / "chat.service", tmp_path / "chat.socket"]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"SYSTEMD_LOG_LEVEL": "warning"},
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "chat" in line or str(tmp_path) in line]
    assert not said


def test_the_units_times_fit() -> None:
    """systemd waits longer than leeward does, for the start and for the end."""
    program, verb, *words = unit_command()
    assert (Path(program).name, verb) == ("leeward", "serve")
    config = config_of(words)
    assert seconds(unit_value("TimeoutStopSec")) > config.drain_delay + config.graceful_timeout + 2
    assert seconds(unit_value("TimeoutStartSec")) > config.start_timeout
    assert config.ssl_certfile and config.ssl_keyfile
    assert "--bind" not in words, "the socket unit binds"


# --- container --------------------------------------------------------------------------


def docker() -> dict[str, str]:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line and line[0] != "#"]
    return dict(lines)


def container_command() -> list[str]:
    """ENTRYPOINT and CMD, which must both be lists: a shell would be PID 1 otherwise."""
    found = docker()
    return [*json.loads(found["ENTRYPOINT"]), *json.loads(found["CMD"])]


def test_the_image_runs_leeward_without_root() -> None:
    program, verb, *words = container_command()
    assert (program, verb) == ("leeward", "serve")
    config = config_of(words)
    assert config.health_path and config.drain_delay
    assert config.bind == ("0.0.0.0:8000",) and docker()["EXPOSE"] == "8000"
    assert int(docker()["USER"].split(":")[0]) > 0


def namespaces_work() -> bool:
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed")
def test_the_containers_command_as_pid_1(tmp_path: Path) -> None:
    """Serves, reaps what is orphaned to it, says 503 at TERM, ends with 0."""
    if not namespaces_work():
        pytest.skip("pid namespaces are not allowed here")
    _, *words = container_command()
    words = ["127.0.0.1:0" if word == "0.0.0.0:8000" else word for word in words]
    words = ["1s" if word == "5s" else word for word in words]
    words = ["hello" if word == "chat:make_app" else word for word in words]
    log = tmp_path / "log"
    with log.open("wb") as output:
        outer = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
             sys.executable, "-m", "leeward", *words],
            cwd=APPS,
            stderr=output,
            env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
        )  # fmt: skip
    try:
        found = until(lambda: re.search(r"at +(http://\S+)", log.read_text()), "served")
        url = found[1]
        with urlopen(f"{url}/healthz", timeout=PATIENCE) as answer:
            assert answer.status == 200
        (inner,) = procfs.children_of(outer.pid)
        # An orphan that is nobody's: PID 1 has to reap it.
        enter = ["nsenter", "-t", str(inner), "-p", "-m"]
        subprocess.run([*enter, "sh", "-c", "true & exec true"], check=True, timeout=PATIENCE)
        until(lambda: all(procfs.state_of(it) != "Z" for it in procfs.children_of(inner)), "reaped")
        os.kill(inner, signal.SIGTERM)
        until(lambda: status(f"{url}/healthz") == 503, "not ready")
        assert status(url) == 200
        assert outer.wait(PATIENCE) == 0, log.read_text()
    finally:
        outer.kill()
        outer.wait()
    assert gone(inner)


def status(url: str) -> int:
    try:
        with urlopen(url, timeout=PATIENCE) as answer:
            return int(answer.status)
    except HTTPError as error:
        error.close()
        return error.code


# --- Kubernetes -------------------------------------------------------------------------


def test_the_manifest_says_what_the_settings_say() -> None:
    """Probes ask the health path on the right port; the grace period is above the drain's."""
    yaml = pytest.importorskip("yaml", reason="reads the manifest")
    deployment, service = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    config = config_of([*json.loads(docker()["ENTRYPOINT"])[2:], *container["args"]])
    (port,) = container["ports"]
    assert config.bind == (f"0.0.0.0:{port['containerPort']}",)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": config.health_path, "port": port["name"]}
    ends = config.drain_delay + config.graceful_timeout
    assert pod["terminationGracePeriodSeconds"] > ends + 2
    ready, alive, start = (container[f"{it}Probe"] for it in ("readiness", "liveness", "startup"))
    # Told before the drain begins; never restarted because of one.
    assert config.drain_delay > ready["periodSeconds"] * ready["failureThreshold"]
    assert alive["periodSeconds"] * alive["failureThreshold"] > ends
    assert start["periodSeconds"] * start["failureThreshold"] > config.start_timeout
    assert "lifecycle" not in container
    assert pod["securityContext"]["runAsUser"] == int(docker()["USER"].split(":")[0])
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]


# --- the pages --------------------------------------------------------------------------


def test_each_line_is_explained() -> None:
    """What stands in a file stands on its page."""
    page = (PAGES / "run-under-systemd.md").read_text()
    service = (DEPLOY / "chat.service").read_text().partition("[Service]")[2]
    for key in re.findall(r"^(\w+)=", service.partition("[Install]")[0], re.M):
        assert key in page or key.startswith("Protect") or key == "ExecStart", key
    page = (PAGES / "run-in-a-container.md").read_text()
    for flag in re.findall(r"--[a-z-]+", docker()["CMD"]):
        assert flag in page, flag
