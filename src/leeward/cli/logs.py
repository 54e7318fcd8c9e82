"""Show the log of an instance that writes to files (--log-file).

  leeward logs                        the last 20 lines
  leeward logs -f                     and from then on each line, until Ctrl-C
  leeward logs -n 200 --slot 2        of one worker
  leeward logs -f --level warning     warnings and above; requests count as info

At most the last 1000 lines, since the log collector began; the files have all of them.
If the collector dies, -f goes on with the next one.
Lines of a service that logs to stderr are where its stderr goes: journalctl, docker logs.
"""

from __future__ import annotations

import os
import time

import click

from leeward._core.messages import AGAIN, Answer, BadMessage, LogsRequest, Piece
from leeward._core.reached import Reached, from_text
from leeward._core.record import replace
from leeward.cli import instances, output
from leeward.cli.client import ANSWER_TIMEOUT, Client
from leeward.cli.conns import number_option, one_of
from leeward.cli.instances import Instance
from leeward.cli.main import Verb, chosen, name_argument, option
from leeward.errors import ChannelClosed, LeewardError, NoInstanceError

#: Seconds for a collector that has died to be replaced, and between two questions for it.
_PATIENCE, _PAUSE = 10.0, 0.02
#: Seconds after which one that had us, and had nothing to say, counts as one that works.
_WORKS = 1.0
#: Seconds between two looks at whether anybody reads us still.
_LOOK = 1.0

LEVELS = ("debug", "info", "warning", "error", "critical")


@click.command("logs", cls=Verb, help=__doc__)
@option("--level", default="", metavar="LEVEL", help="This and above.")
@option("--slot", default="", metavar="N", help="Of one worker.")
@option("-n", "--lines", default="20", metavar="N", help="So many of the last lines.  [20]")
@option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@name_argument
def command(name: str, named: str, follow: bool, lines: str, slot: str, level: str) -> int:
    one_of("--level", level, LEVELS)
    most = number_option("--lines", lines) or 0
    where = number_option("--slot", slot)
    lowest = 10 * (LEVELS.index(level) + 1) if level else 0
    instance = instances.find(chosen(name, named), os.environ)
    request = LogsRequest(most, follow, -1 if where is None else where, lowest)
    return _Reader(instance, request).run()


class _Reader:
    """Asks for lines and shows them, one collector after the other."""

    def __init__(self, instance: Instance, request: LogsRequest) -> None:
        self._instance = instance
        self._request = request
        self._pid = 0
        self._reached = Reached()
        #: Did a collector have us, ever, and with this connection?
        self._begun = self._has_us = False
        self._shown = False
        #: What the supervisor answered instead.
        self._refusal: LeewardError | None = None

    def run(self) -> int:
        give_up = time.monotonic() + _PATIENCE
        while True:
            began = time.monotonic()
            self._has_us = self._shown = False
            if self._ask():
                return 0
            if self._shown and not self._request.follow:
                return self._ended("its log collector died in the middle of the answer")
            now = time.monotonic()
            if self._shown or (self._has_us and now - began >= _WORKS):
                give_up = now + _PATIENCE
            elif now >= give_up:
                if self._begun or self._refusal is None:
                    return self._ended(f"its log collector is not back after {_PATIENCE:g} s")
                raise self._refusal
            # Once for each that dies: one that cannot live is not asked without a pause.
            time.sleep(_PAUSE)

    def _ask(self) -> bool:
        """True once all is told, False if it is to be asked for again.

        Raises `LeewardError`.
        """
        try:
            client = Client(self._instance)
        except NoInstanceError:
            if not self._begun:
                raise
            raise self._gone() from None
        with client:
            if self._begun and client.pid != self._pid:
                raise self._gone()
            self._pid = client.pid
            try:
                return self._show(client)
            except ChannelClosed:
                if not self._has_us and not self._begun:
                    raise client.ended() from None
                return False
            except BadMessage as error:
                raise client.misunderstood(error) from None

    def _show(self, client: Client) -> bool:
        request = self._request
        if self._begun and request.follow:
            request = replace(request, lines=-1, after=self._reached.to_text())
        client.channel.send(request)
        while True:
            # Once the collector has us, it may be silent for as long as nothing happens.
            message = client.channel.wait(_LOOK if self._has_us else ANSWER_TIMEOUT)
            if self._has_us and not output.is_read():
                return True  # `| head -1`: nobody will read the next line
            if isinstance(message, Answer):
                if message.code:
                    self._refusal = _refused(message)
                    if message.data == AGAIN:
                        return False
                    raise self._gone() if self._begun else self._refusal
                self._has_us = True
            elif isinstance(message, Piece):
                self._take(message)
                if message.last:
                    return True
            elif message is None and not self._has_us:
                raise client.silent(ANSWER_TIMEOUT)
            elif message is None:
                continue
            else:
                raise LeewardError(f"{client.instance.name} answered {type(message).__name__}")

    def _take(self, piece: Piece) -> None:
        self._has_us = self._begun = True
        self._reached.advance(from_text(piece.reached))
        if piece.text:
            self._shown = True
            output.say(piece.text.removesuffix("\n"))
        if piece.error and piece.last:
            raise LeewardError(piece.error)
        if piece.error:
            output.complain(piece.error)

    def _gone(self) -> LeewardError:
        return LeewardError(f"{self._instance.name} has ended")

    def _ended(self, why: str) -> int:
        output.complain(f"{self._instance.name}: {why}")
        return 1


def _refused(answer: Answer) -> LeewardError:
    error = LeewardError(answer.text)
    error.exit_code = answer.code
    return error
