"""Stop a running instance and wait until it has ended.

Requests in flight may finish, up to its --graceful-timeout; WebSockets are told
(1001).  The same as kill -TERM, but it waits and tells.

  leeward stop --now                nothing may finish
  leeward stop --drain-delay 10s    first not ready for 10 s, but still accepting
"""

from __future__ import annotations

import os
import time
from typing import Any

import click

from leeward._core.messages import PsRequest, StopRequest
from leeward.cli import instances, output
from leeward.cli.client import Client, ProcessEnd
from leeward.cli.main import Verb, chosen, name_argument, option
from leeward.cli.reload import duration_option
from leeward.cli.shapes import count, pid
from leeward.errors import ChannelClosed, LeewardError
from leeward.views.units import plural

#: How often a person who waits is told for what.
_TELL_EVERY = 5.0
#: What is read of an answer.
_LEFT = {"workers": [{"slot": count, "pid?": pid, "in_flight": count, "connections": count}]}


@click.command("stop", cls=Verb, help=__doc__)
@option("--now", is_flag=True, help="End everything at once.")
@option("--drain-delay", metavar="TIME", help="Instead of that in its settings.")
@option("--timeout", default="10m", metavar="TIME", help="How long to wait.  [10m]")
@name_argument
def command(name: str, named: str, now: bool, drain_delay: str | None, timeout: str) -> int:
    seconds = duration_option("--timeout", timeout)
    delay = -1.0 if drain_delay is None else duration_option("--drain-delay", drain_delay, 0.0)
    instance = instances.find(chosen(name, named), os.environ)
    with Client(instance) as client:
        # Before we ask: the pid may be somebody else's once it has ended.
        end = ProcessEnd(client.pid)
        try:
            answer = client.ask(StopRequest(now=now, delay=delay), progress=output.say)
            if answer.code:
                output.complain(answer.text)
                return answer.code
            output.say(answer.text)
            _wait(instance, client.pid, end, seconds)
        finally:
            end.close()
    output.say(f"{instance.name} (pid {client.pid}) has ended")
    return 0


def _wait(instance: instances.Instance, pid: int, end: ProcessEnd, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if end.wait(min(_TELL_EVERY, left)):
            return
        output.say(_waiting_for(instance))
    raise LeewardError(
        f"{instance.name} (pid {pid}) has not ended within {seconds:g} s",
        f"leeward stop --now {instance.name}",
    )


def _waiting_for(instance: instances.Instance) -> str:
    """What the workers that are left still do; asked anew, on a connection of its own."""
    try:
        with Client(instance) as client:
            workers: list[dict[str, Any]] = client.data(PsRequest(), _LEFT)["workers"]
    except (LeewardError, ChannelClosed):
        return "waiting for its last processes"
    busy = [
        f"worker {each['slot']} (pid {each['pid']}): {plural(each['in_flight'], 'request')} "
        f"in flight, {plural(each['connections'], 'connection')}"
        for each in workers
    ]
    return "waiting for " + ("; ".join(busy) or "its last processes")
