"""End connections: one, those of a peer, or those that nothing is heard of.

  leeward kill 2:17                the connection 17 of slot 2, as `leeward conns` shows it
  leeward kill 2:3.17              the connection 17 of the third worker that slot 2 has had
  leeward kill 203.0.113.7:51234   the one of this client's address and port
  leeward kill --peer 203.0.113.7  all of an address or a network (10.0.0.0/8)
  leeward kill --idle-over 5m      all on which no byte has gone either way for so long
  leeward kill --state idle --idle-over 1m --slot 2

A WebSocket is sent a close frame (1008, "ended by the operator") and cut a second later;
what else there is is cut at once, requests in flight too.  Handlers whose client has left
are ended by `--state orphan`.  Options narrow each other.
The instance itself is ended by `leeward stop`.

Exit code 1 if there was no such connection, or if a worker did not answer.
"""

from __future__ import annotations

import os
import re
from typing import Any

import click

from leeward._core.conns import ORPHAN, id_of, numbers_of
from leeward._core.messages import ConnsRequest
from leeward.cli import asking, instances, output
from leeward.cli.client import Client
from leeward.cli.conns import complain, narrowing, number_option, query_of
from leeward.cli.main import Verb, chosen, name_argument, option
from leeward.cli.reload import duration_option
from leeward.errors import UsageError
from leeward.views.units import plural


@click.command("kill", cls=Verb, help=__doc__)
@click.argument("which", required=False, default="")
@option("--idle-over", default="", metavar="TIME", help="No byte either way for so long.")
@narrowing
@name_argument
def command(
    which: str,
    name: str,
    named: str,
    idle_over: str,
    state: str,
    slot: str,
    peer: str,
    timeout: str,
) -> int:
    if which and ":" not in which and not name:
        which, name = "", which  # an instance's name, alone
    where = number_option("--slot", slot)
    more: dict[str, Any] = {}
    if found := re.fullmatch(r"([0-9]{1,4}):((?:[0-9]{1,18}\.)?[0-9]{1,18})", which, re.ASCII):
        if where is not None and where != int(found[1]):
            raise UsageError(f"{which} is in slot {found[1]}, and --slot says {where}")
        numbers = numbers_of(found[2])
        if not all(numbers):
            raise UsageError("connections are numbered from 1: leeward conns shows them")
        where, more["id"] = int(found[1]), id_of(*numbers)
    elif which:
        if not re.fullmatch(r"unix:pid=\d+|\[[^\]]+\]:\d+|[^:\[\]]+:\d+", which):
            raise UsageError(
                f"expected SLOT:ID or HOST:PORT as leeward conns shows them, found {which!r}"
            )
        more["endpoint"] = which
    if idle_over:
        more["idle_over"] = duration_option("--idle-over", idle_over)
    query = query_of(state=state, peer=peer, **more)
    if not (more or state or peer):
        raise UsageError(
            "which connections? SLOT:ID, HOST:PORT, --peer, --state or --idle-over",
            "leeward conns shows them; leeward stop ends the instance",
        )
    seconds = duration_option("--timeout", timeout)
    with Client(instances.find(chosen(name, named), os.environ)) as client:
        request = ConnsRequest(query.to_json(), -1 if where is None else where, kill=True)
        ended = asking.gather(client, request, seconds)
    return _tell(ended)


def _tell(ended: asking.Gathered) -> int:
    code = complain(ended)
    if not ended.conns:
        if not code:
            output.complain("no such connection\nleeward conns shows those that there are")
        return 1
    told = sum(conn.kind == "websocket" for conn in ended.conns)
    if ended.conns[0].state == ORPHAN:
        output.say(f"{plural(len(ended.conns), 'handler')} told to end")
        return code
    cut = len(ended.conns) - told
    parts = [f"{cut} cut"] if cut else []
    if told:
        parts.append(f"{plural(told, 'WebSocket')} told 1008")
    output.say(f"{plural(len(ended.conns), 'connection')} ended: {', '.join(parts)}")
    return code
