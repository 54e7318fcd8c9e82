"""Change the number of workers of a running instance.

  leeward scale 6          exactly six
  leeward scale +1         one more
  leeward scale -1 chat    one less, of the instance called chat

Until the next start; for good it is `workers` in leeward.toml.
"""

from __future__ import annotations

import os
import re

import click

from leeward._core.messages import ScaleRequest
from leeward.cli import instances, output
from leeward.cli.client import Client
from leeward.cli.main import Verb, chosen, name_argument
from leeward.errors import UsageError


# "-1" is a number here and no option.
@click.command("scale", cls=Verb, help=__doc__, context_settings={"ignore_unknown_options": True})
@click.argument("number", metavar="N|+1|-1")
@name_argument
def command(number: str, name: str, named: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,4}", number):
        raise UsageError(f"expected a number of workers such as 6, +1 or -1, found {number!r}")
    relative = number[0] in "+-"
    request = ScaleRequest(by=int(number)) if relative else ScaleRequest(to=int(number))
    with Client(instances.find(chosen(name, named), os.environ)) as client:
        answer = client.ask(request, progress=output.say)
    if answer.code:
        output.complain(answer.text)
    else:
        output.say(answer.text)
    return answer.code
