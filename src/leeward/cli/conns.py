"""Show who is connected: each live connection of every worker.

  leeward conns                       a table; SLOT:ID names a connection for `leeward kill`
  leeward conns --state upgraded      new, active, idle, upgraded or closing
  leeward conns --state orphan        instead the handlers that work on although their client left
  leeward conns --peer 10.0.0.0/8     of one address or network, also as a trusted proxy told it
  leeward conns --sort idle --limit 20
  leeward conns --json                everything that is known, for programs
  leeward conns --out                 the other way: what the workers are connected to, by peer

IDLE is how long no byte has gone either way; WAITS AT the line of the application that the
handler stands at; ENDS IN what it must do before which deadline.  The last line counts orphans,
handlers whose client left, which `--state orphan` shows.

Each worker answers for itself.  One that does not (its loop is blocked, its process is
stopped) is named on stderr, the others are shown all the same, and the exit code is 1.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

import click

from leeward._core.conns import ORDERS, ORPHAN, STATES, Query, ordered
from leeward._core.messages import ConnsRequest
from leeward._core.record import asdict
from leeward.cli import asking, instances, output
from leeward.cli.client import Client
from leeward.cli.main import Verb, chosen, name_argument, option
from leeward.cli.reload import duration_option
from leeward.cli.values import nearest
from leeward.errors import UsageError


def narrowing(function: Any) -> Any:
    """The options by which `conns` and `kill` mean some of all connections."""
    for narrow in (
        option("--timeout", default="3s", metavar="TIME", help="For each worker.  [3s]"),
        option("--peer", default="", metavar="HOST", help="An address or a network."),
        option("--slot", default="", metavar="N", help="Of one worker."),
        option("--state", default="", metavar="STATE", help=f"{', '.join(STATES)}."),
    ):
        function = narrow(function)
    return function


@click.command("conns", cls=Verb, help=__doc__)
@option("--json", "as_json", is_flag=True, help="JSON, for programs.")
@option("--limit", default="", metavar="N", help="At most so many, of those sorted.")
@option("--sort", default="", metavar="KEY", help=f"{', '.join(ORDERS)}: most first.")
@option("--out", is_flag=True, help="Connections that the workers have made.")
@narrowing
@name_argument
def command(
    name: str,
    named: str,
    state: str,
    slot: str,
    peer: str,
    timeout: str,
    out: bool,
    sort: str,
    limit: str,
    as_json: bool,
) -> int:
    one_of("--sort", sort, ORDERS)
    most = number_option("--limit", limit)
    where = number_option("--slot", slot)
    query = query_of(state=state, peer=peer)
    instance = instances.find(chosen(name, named), os.environ)
    if out:
        if state or sort:
            raise UsageError("--out counts connections by peer: --state and --sort do not apply")
        return _outbound(instance, query, where, most, as_json)
    seconds = duration_option("--timeout", timeout)
    found = _ask(instance, query, where, seconds)
    orphans = 0
    if not (as_json or state or found.silent):
        theirs = _ask(instance, query_of(state=ORPHAN, peer=peer), where, seconds)
        orphans = len(theirs.conns)
    conns = ordered(found.conns, sort)[:most]
    if as_json:
        output.say(json.dumps([asdict(conn) for conn in conns], indent=2))
    else:
        from leeward.views.conns import render

        width = shutil.get_terminal_size((120, 24)).columns
        output.say(render(conns, len(found.conns), found.workers, width, orphans))
    return complain(found)


def _ask(
    instance: instances.Instance, query: Query, slot: int | None, seconds: float
) -> asking.Gathered:
    with Client(instance) as client:
        request = ConnsRequest(query.to_json(), -1 if slot is None else slot)
        return asking.gather(client, request, seconds)


def complain(found: asking.Gathered) -> int:
    """Names who did not answer; the exit code."""
    for line in found.silent:
        output.complain(line)
    return 1 if found.silent else 0


def one_of(option: str, word: str, words: tuple[str, ...]) -> None:
    if word and word not in words:
        raise UsageError(
            f"{option}: expected {', '.join(words)}, found {word!r}{nearest(word, words)}"
        )


def number_option(option: str, word: str) -> int | None:
    if word and not (word.isdecimal() and word.isascii() and len(word) < 10):
        raise UsageError(f"{option}: expected a whole number such as 2, found {word!r}")
    return int(word) if word else None


def query_of(*, state: str = "", peer: str = "", **more: Any) -> Query:
    one_of("--state", state, STATES)
    try:
        return Query(state=state, peer=peer, **more)
    except ValueError:
        raise UsageError(
            f"--peer: expected an address such as 203.0.113.7, a network such as 10.0.0.0/8, "
            f"or unix, found {peer!r}"
        ) from None


def _outbound(
    instance: instances.Instance, query: Query, slot: int | None, most: int | None, as_json: bool
) -> int:
    from leeward._sys.outbound import outbound
    from leeward.cli.ps import ask

    found = ask(instance)
    # Workers share the network namespace of whoever listens: the listeners' ports are inbound.
    rows: dict[str, dict[str, Any]] = {}
    unseen: list[str] = []
    for worker in found.get("workers", ()):
        if not worker.get("pid") or slot not in (None, worker["slot"]):
            continue
        ends = outbound(worker["pid"])
        if ends is None:
            unseen.append(
                f"slot {worker['slot']} (pid {worker['pid']}) may not be looked into, or ended"
            )
            continue
        for end in ends:
            if not query.is_peer(end.peer):
                continue
            row = rows.setdefault(end.peer, {"peer": end.peer, "slots": {}, "states": {}})
            for part, key in (("slots", str(worker["slot"])), ("states", end.state)):
                row[part][key] = row[part].get(key, 0) + 1
    shown = sorted(rows.values(), key=lambda row: (-sum(row["slots"].values()), row["peer"]))[:most]
    if as_json:
        output.say(json.dumps(shown, indent=2))
    else:
        from leeward.views.conns import render_outbound

        output.say(render_outbound(shown, shutil.get_terminal_size((120, 24)).columns))
    for line in unseen:
        output.complain(line)
    return 1 if unseen else 0
