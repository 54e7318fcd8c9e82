"""Go back to the generation before, at once.

  leeward rollback
  leeward rollback chat

After a reload the generation before is kept loaded for --settle (5 minutes): its
workers are forked anew from that, without importing or reading anything, slot by
slot, and no request is lost.  While a reload is under way, it is given up.

A generation whose workers keep dying within that time goes back by itself.

Exit code 2 if there is nothing to go back to: it was the first generation, it has
settled, or it runs in spawn mode, where no process keeps the old code.  Exit code 3
if the old generation failed as well.  Then put the old code back and reload.

The files stay as they are: the next reload loads what stands there then.
"""

from __future__ import annotations

import os

import click

from leeward._core.messages import RollbackRequest
from leeward.cli import instances, output
from leeward.cli.client import Client
from leeward.cli.main import Verb, chosen, name_argument, option
from leeward.cli.reload import duration_option


@click.command("rollback", cls=Verb, help=__doc__)
@option("--timeout", default="1m", metavar="TIME", help="How long to wait.  [1m]")
@name_argument
def command(name: str, named: str, timeout: str) -> int:
    seconds = duration_option("--timeout", timeout)
    with Client(instances.find(chosen(name, named), os.environ)) as client:
        answer = client.ask(RollbackRequest(), seconds, progress=output.say, goes_on="the rollback")
    if answer.code:
        output.complain(answer.text)
    else:
        output.say(answer.text)
    return answer.code
