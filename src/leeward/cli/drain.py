"""Take one worker out of accept, to look at it: with gdb, py-spy, strace.

  leeward drain 2                 the worker in slot 2, for 10 minutes
  leeward drain 2 --for 1h chat   for an hour, of the instance called chat

A replacement is started in the slot first, so that there are never fewer workers than
asked for.  When it is ready, the old worker accepts no more and tells each of its HTTP
clients to go with its next answer.  Its WebSockets and everything else run on: it
stays as it is until the time is over, and then drains as for a reload.  Sooner by
`kill PID` (TERM); at once by `leeward stop` or `kill -9 PID`.

A reload, a rollback or a change of scale leaves it alone, and how it ends is held
against nobody.  `leeward ps` shows it and how long it stays.

Exit code 2 if no worker serves in that slot or one of it is aside already, 3 if it ended
before it was replaced, 1 if the instance is stopped meanwhile.
"""

from __future__ import annotations

import os

import click

from leeward._core.messages import AsideRequest
from leeward.cli import instances, output
from leeward.cli.client import Client
from leeward.cli.main import Verb, chosen, name_argument, option, slot_of
from leeward.cli.reload import duration_option


@click.command("drain", cls=Verb, help=__doc__)
@click.argument("slot")
@option("--for", "stays", default="10m", metavar="TIME", help="How long it stays.  [10m]")
@option("--timeout", default="2m", metavar="TIME", help="How long to wait.  [2m]")
@name_argument
def command(slot: str, name: str, named: str, stays: str, timeout: str) -> int:
    number = slot_of(slot)
    seconds = duration_option("--timeout", timeout)
    request = AsideRequest(slot=number, seconds=duration_option("--for", stays))
    with Client(instances.find(chosen(name, named), os.environ)) as client:
        answer = client.ask(request, seconds, progress=output.say, goes_on="the replacement")
    if answer.code:
        output.complain(answer.text)
    else:
        output.say(answer.text)
    return answer.code
