"""Replace workers by fresh ones of the same code, without losing a request.

  leeward recycle          every worker, one after the other
  leeward recycle 2        the one in slot 2
  leeward recycle 2 chat   the same, of the instance called chat

Each worker serves until its replacement is ready, and then finishes what it has
in flight.  The next one is touched only then: there is never more than one worker
too many, and never one too few.  In zygote mode a fresh worker is a fork of what
was loaded when this generation began, so it has no new code; that is a reload.

Exit code 2 if no worker serves in that slot, 1 if the instance is stopped meanwhile.
"""

from __future__ import annotations

import os

import click

from leeward._core.messages import RecycleRequest
from leeward.cli import instances, output
from leeward.cli.client import Client
from leeward.cli.main import Verb, chosen, name_argument, option, slot_of
from leeward.cli.reload import duration_option
from leeward.errors import UsageError


@click.command("recycle", cls=Verb, help=__doc__)
@click.argument("slot", required=False, default="")
@option("--timeout", default="10m", metavar="TIME", help="How long to wait.  [10m]")
@name_argument
def command(slot: str, name: str, named: str, timeout: str) -> int:
    if slot and not slot.isdecimal():
        if name:
            raise UsageError(f"expected the number of a slot such as 0, found {slot!r}")
        slot, name = "", slot  # an instance's name, alone
    seconds = duration_option("--timeout", timeout)
    request = RecycleRequest(slot=slot_of(slot) if slot else -1)
    with Client(instances.find(chosen(name, named), os.environ)) as client:
        answer = client.ask(request, seconds, progress=output.say, goes_on="the recycling")
    if answer.code:
        output.complain(answer.text)
    else:
        output.say(answer.text)
    return answer.code
