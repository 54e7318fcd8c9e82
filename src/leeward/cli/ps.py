"""Show instances and their workers, and why the last ones ended.

Without NAME: every instance of this user (for root: of all users, each with whose it is).

  leeward ps               a table
  leeward ps --json        the same for programs, one object per instance

CONNS is all connections of a worker; ACTIVE, IDLE and UPGRADED (WebSockets) are among them,
and `leeward conns` shows each.  PSS is memory with shared pages divided among those who
share them; FDS is open descriptors of the limit; ENDS counts how often a slot's worker has
ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from typing import Any

import click

from leeward._core import spares
from leeward._core.messages import PsRequest
from leeward._sys import procfs
from leeward.cli import instances, output
from leeward.cli.client import ANSWER_TIMEOUT, Client
from leeward.cli.main import Verb, chosen, name_argument, option
from leeward.cli.shapes import count, flag, pid, seconds, text
from leeward.errors import LeewardError

#: Seconds for all instances of another user: one that does not answer spends them.
_OTHERS = 1.0

_ZYGOTE = {"generation?": count, "pid?": pid, "state?": text}
_WORKER = {
    **{f"{it}?": count for it in ("generation", "connections", "accepted", "requests")},
    **{f"{it}?": count for it in ("in_flight", "idle", "upgraded")},
    "slot": count,
    "pid?": pid,
    "state?": text,
    "aside_left?": seconds,
    "uptime?": seconds,
    "full?": flag,
    "ailing?": {text: text},
}
_END = {"slot": count, "generation": count, "pid": pid, "why": text, "ago": seconds, "count": count}
#: What is read of an answer; an older leeward may have less of it, and a newer one more.
_SNAPSHOT = {
    "name": text,
    "pid": pid,
    **{f"{it}?": text for it in ("state", "target", "kind", "found", "mode", "mode_why")},
    "workers_wanted?": count,
    "generation?": count,
    "uptime?": seconds,
    "listeners?": [text],
    "mixed?": [text],
    "backoff?": {"until": seconds, "why": text},
    "previous?": {"generation": count, "for": seconds},
    "went_back?": {"generation": count, "to": count, "why": text, "ago": seconds},
    "zygotes?": [_ZYGOTE],
    "workers?": [_WORKER],
    "ends?": [_END],
}


@click.command("ps", cls=Verb, help=__doc__)
@option("--json", "as_json", is_flag=True, help="JSON, for programs.")
@name_argument
def command(name: str, named: str, as_json: bool) -> int:
    name = chosen(name, named)
    found = [instances.find(name, os.environ)] if name else instances.every(os.environ)
    if not found:
        raise instances.no_instance("", [])
    snapshots: list[dict[str, Any]] = []
    failures: list[LeewardError] = []
    patience = _Patience(alone=len(found) == 1)
    for instance in found:
        try:
            with patience.of(instance) as seconds:
                answer = ask(instance, seconds)
            snapshots.append(measured(answer))
        except LeewardError as error:
            # One that is stopped or broken must not hide the others.
            failures.append(error)
    if as_json:
        output.say(json.dumps(snapshots, indent=2))
    elif snapshots:
        from leeward.views.ps import render

        output.say(render(snapshots, shutil.get_terminal_size((120, 24)).columns, os.getuid()))
    for failure in failures:
        output.complain(str(failure))
    return failures[0].exit_code if failures else 0


class _Patience:
    """Root asks those of other users too: they shall not hold up its own, nor those of a third."""

    def __init__(self, alone: bool) -> None:
        self._alone = alone
        self._spent: dict[int, float] = {}

    @contextlib.contextmanager
    def of(self, instance: instances.Instance) -> Iterator[float]:
        """Seconds for this one to answer.  Raises `LeewardError` if its user has had his."""
        uid = instances.owner(instance.path)
        if self._alone or uid in (os.getuid(), -1):
            yield ANSWER_TIMEOUT
            return
        left = _OTHERS - self._spent.get(uid, 0.0)
        if left <= 0.0:
            raise LeewardError(
                f"{instance.name} of user {uid} is not asked: others of that user took too long",
                f"leeward ps {instance.name}  asks it alone",
            )
        began = time.monotonic()
        try:
            yield max(0.1, round(left, 1))  # it is told
        finally:
            self._spent[uid] = _OTHERS - left + time.monotonic() - began


def snapshot(instance: instances.Instance) -> dict[str, Any]:
    """All that is known of it."""
    return measured(ask(instance))


def measured(found: dict[str, Any]) -> dict[str, Any]:
    """The supervisor's answer, with what only /proc knows added to each process.

    Reading PSS walks page tables, 10 ms per GiB: done here and never in the
    supervisor's loop.
    """
    for process in (found, *(found.get("zygotes") or ()), *(found.get("workers") or ())):
        number = process.get("pid")
        if number:
            process["pss_bytes"] = procfs.pss_bytes(number)
            process["cpu_seconds"] = procfs.cpu_seconds(number)
            process["fds"] = procfs.fd_count(number)
            process["fd_limit"] = procfs.fd_limit(number)
    of = {it["pid"]: it for it in found.get("zygotes") or () if it.get("pid")}
    for child in procfs.children_of(found["pid"]) if of else ():
        zygote = of.get(spares.zygote_of(procfs.comm(child)))
        if zygote is not None and (more := procfs.pss_bytes(child)) is not None:
            # What a zygote shares with its spare is counted half in each.
            zygote["pss_bytes"] = (zygote["pss_bytes"] or 0) + more
    return found


def ask(instance: instances.Instance, patience: float = ANSWER_TIMEOUT) -> dict[str, Any]:
    """The supervisor's answer, and whose it is."""
    with Client(instance, patience) as client:
        found: dict[str, Any] = client.data(PsRequest(), _SNAPSHOT)
        if found["name"] != instance.name:
            raise client.misunderstood(f"it calls itself {found['name']!r:.40}")
        pids = [it["pid"] for it in found.get("workers") or () if it.get("pid")]
        if len(set(pids)) < len(pids):
            raise client.misunderstood("two workers are one process")
        found["uid"] = client.uid
    return found
