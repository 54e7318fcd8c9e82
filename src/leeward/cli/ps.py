"""Show instances and their workers, and why the last ones ended.

Without NAME: every instance of this user (for root: of all users).

  leeward ps               a table
  leeward ps --json        the same for programs, one object per instance

CONNS is all connections of a worker; ACTIVE, IDLE and UPGRADED (WebSockets) are among them,
and `leeward conns` shows each.  PSS is memory with shared pages divided among those who
share them; FDS is open descriptors of the limit; ENDS counts how often a slot's worker has
ended.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

import click

from leeward._core.messages import PsRequest
from leeward._sys import procfs
from leeward.cli import instances, output
from leeward.cli.client import Client
from leeward.cli.main import Verb, chosen, name_argument
from leeward.errors import LeewardError


@click.command("ps", cls=Verb, help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")
@name_argument
def command(name: str, named: str, as_json: bool) -> int:
    name = chosen(name, named)
    found = [instances.find(name, os.environ)] if name else instances.every(os.environ)
    if not found:
        raise instances.no_instance("", [])
    snapshots: list[dict[str, Any]] = []
    failures: list[LeewardError] = []
    for instance in found:
        try:
            snapshots.append(snapshot(instance))
        except LeewardError as error:
            # One that is stopped or broken must not hide the others.
            failures.append(error)
    if as_json:
        output.say(json.dumps(snapshots, indent=2))
    elif snapshots:
        from leeward.views.ps import render

        output.say(render(snapshots, shutil.get_terminal_size((120, 24)).columns))
    for failure in failures:
        output.complain(str(failure))
    return failures[0].exit_code if failures else 0


def snapshot(instance: instances.Instance) -> dict[str, Any]:
    """The supervisor's answer, with what only /proc knows added to each process.

    Reading PSS walks page tables, 10 ms per GiB: done here and never in the
    supervisor's loop.
    """
    found = ask(instance)
    for process in (found, *found.get("zygotes", ()), *found.get("workers", ())):
        pid = process.get("pid")
        if pid:
            process["pss_bytes"] = procfs.pss_bytes(pid)
            process["cpu_seconds"] = procfs.cpu_seconds(pid)
            process["fds"] = procfs.fd_count(pid)
            process["fd_limit"] = procfs.fd_limit(pid)
    return found


def ask(instance: instances.Instance) -> dict[str, Any]:
    """The supervisor's answer."""
    with Client(instance) as client:
        found: dict[str, Any] = client.data(PsRequest())
    return found
