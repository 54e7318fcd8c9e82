"""Give a running instance its new code and settings, without losing a request.

The settings are read again, the new code is loaded beside the old, and worker
by worker takes over.  Code that does not load never displaces code that
serves: its traceback is printed and the exit code is 3.

The same as kill -HUP, but it waits and tells.

  leeward reload --tls     the running workers show the renewed certificate;
                           no connection is dropped, and no code is loaded
"""

from __future__ import annotations

import os

import click

from leeward._core.messages import ReloadRequest
from leeward.cli import instances, output, values
from leeward.cli.client import Client
from leeward.cli.main import Verb, chosen, name_argument, option
from leeward.errors import UsageError


@click.command("reload", cls=Verb, help=__doc__)
@option("--tls", is_flag=True, help="Only the certificate: nothing else changes.")
@option("--no-wait", is_flag=True, help="Ask for it and return.")
@option("--timeout", default="10m", metavar="TIME", help="How long to wait.  [10m]")
@name_argument
def command(name: str, named: str, tls: bool, no_wait: bool, timeout: str) -> int:
    seconds = duration_option("--timeout", timeout)
    with Client(instances.find(chosen(name, named), os.environ)) as client:
        request = ReloadRequest(wait=not no_wait, tls=tls)
        wait = None if no_wait else seconds
        answer = client.ask(request, wait, progress=output.say, goes_on="the reload")
    if answer.code:
        output.complain(answer.text)
    else:
        output.say(answer.text)
    return answer.code


def duration_option(flag: str, text: str, least: float | None = None) -> float:
    """Seconds above 0, or from `least` on.  Raises `UsageError` that names the flag."""
    try:
        found = values.positive_duration(text) if least is None else values.duration(text)
    except values.Bad as bad:
        raise UsageError(f"{flag}: {bad}") from None
    assert isinstance(found, float)
    return found
