"""Show the log of an instance that writes to files (--log-file).

  leeward logs                        the last 20 lines
  leeward logs -f                     and from then on each line, until Ctrl-C
  leeward logs -n 200 --slot 2        of one worker
  leeward logs -f --level warning     warnings and above; requests count as info

At most the last 1000 lines, since the log collector began; the files have all of them.
Lines of a service that logs to stderr are where its stderr goes: journalctl, docker logs.
"""

from __future__ import annotations

import os

import click

from leeward._core.messages import Answer, BadMessage, LogsRequest, Piece
from leeward.cli import instances, output
from leeward.cli.client import ANSWER_TIMEOUT, Client
from leeward.cli.conns import number_option, one_of
from leeward.cli.main import Verb, chosen, name_argument
from leeward.errors import ChannelClosed, LeewardError

LEVELS = ("debug", "info", "warning", "error", "critical")


@click.command("logs", cls=Verb, help=__doc__)
@click.option("--level", default="", metavar="LEVEL", help="This and above.")
@click.option("--slot", default="", metavar="N", help="Of one worker.")
@click.option("-n", "--lines", default="20", metavar="N", help="So many of the last lines.  [20]")
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@name_argument
def command(name: str, named: str, follow: bool, lines: str, slot: str, level: str) -> int:
    one_of("--level", level, LEVELS)
    most = number_option("--lines", lines) or 0
    where = number_option("--slot", slot)
    lowest = 10 * (LEVELS.index(level) + 1) if level else 0
    instance = instances.find(chosen(name, named), os.environ)
    with Client(instance) as client:
        request = LogsRequest(most, follow, -1 if where is None else where, lowest)
        return _show(client, request)


def _show(client: Client, request: LogsRequest) -> int:
    answered = False
    try:
        client.channel.send(request)
        while True:
            # Once the collector has us, it may be silent for as long as nothing happens.
            message = client.channel.wait(None if answered else ANSWER_TIMEOUT)
            if isinstance(message, Answer):
                if message.code:
                    raise _refused(message)
                answered = True
            elif isinstance(message, Piece):
                answered = True
                if message.text:
                    output.say(message.text.removesuffix("\n"))
                if message.error:
                    raise LeewardError(message.error)
                if message.last:
                    return 0
            elif message is None:
                raise client.silent(ANSWER_TIMEOUT)
            else:
                raise LeewardError(f"{client.instance.name} answered {type(message).__name__}")
    except ChannelClosed:
        if not answered:
            raise client.ended() from None
        if request.follow:
            output.complain(f"{client.instance.name} or its log collector has ended")
        return 1 if request.follow else 0
    except BadMessage as error:
        raise client.misunderstood(error) from None


def _refused(answer: Answer) -> LeewardError:
    error = LeewardError(answer.text)
    error.exit_code = answer.code
    return error
