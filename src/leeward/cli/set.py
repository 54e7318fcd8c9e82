"""Change settings while the instance runs: in all workers at once, and in those to come.

  leeward set log-level=debug
  leeward set graceful-timeout=60s max-requests=10000
  leeward set log-level=default            as it was resolved; `--unset log-level` is the same
  leeward set                              what is set now

Values are read as those of flags are.  What is set wins over flags, variables and files,
through reloads and rollbacks, until the instance stops; `leeward config --origin` shows
it as `runtime`.  The instance is named by --name.

Exit code 2 for a key or a value that cannot be, and nothing is changed; 1 if a worker did not
answer: it obeys as soon as its loop turns.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import click

from leeward._core.messages import SetRequest
from leeward.cli import instances, output
from leeward.cli.client import Client
from leeward.cli.config import assignment
from leeward.cli.layers import parsed
from leeward.cli.main import Verb, option
from leeward.cli.settings import TABLE, Setting
from leeward.cli.values import nearest, quoted
from leeward.errors import UsageError

#: Seconds: the supervisor itself waits 5 for its workers.
_TIMEOUT = 10.0

#: As a value: take back what was set.
DEFAULT = "default"


@click.command("set", cls=Verb, help=__doc__)
@click.argument("changes", nargs=-1, metavar="KEY=VALUE...")
@option("--unset", multiple=True, metavar="KEY", help="The same as KEY=default.")
@option("--name", "named", metavar="NAME", default="", help="The instance.")
def command(changes: tuple[str, ...], unset: tuple[str, ...], named: str) -> int:
    found = read([*changes, *(f"{key}={DEFAULT}" for key in unset)])
    with Client(instances.find(named, os.environ)) as client:
        answer = client.ask(SetRequest(json.dumps(found)), _TIMEOUT)
        if answer.code:
            output.complain(answer.text)
            return answer.code
        overrides = {} if found else client.read(answer, {})
    if found:
        output.say(answer.text)
    else:
        lines = [assignment(it, overrides[it.key]) for it in TABLE if it.key in overrides]
        output.say("\n".join(lines) or "nothing is set: every setting is as it was resolved")
    return 0


def read(words: Sequence[str]) -> dict[str, Any]:
    """The changes that KEY=VALUE words ask for; None takes one back.  Raises `UsageError`."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise UsageError(
                f"expected KEY=VALUE, found {quoted(word)}",
                "the instance's name goes behind --name",
            )
        setting = _setting(key)
        value = None if text == DEFAULT else parsed(setting, text, setting.toml)
        if setting.key in found and found[setting.key] != value:
            raise UsageError(f"{setting.toml} is given twice: which one?")
        found[setting.key] = value
    return found


def _setting(key: str) -> Setting:
    wanted = key.strip().removeprefix("--").replace("_", "-")
    known = {it.toml: it for it in TABLE}
    free = [it.toml for it in TABLE if it.runtime]
    setting = known.get(wanted)
    if setting is None:
        hint = nearest(wanted, free) or nearest(wanted, known)
        raise UsageError(
            f"no setting is called {quoted(key)}{hint}", f"these can be set: {', '.join(free)}"
        )
    if not setting.runtime:
        how = "stop and serve again" if setting.needs_restart else "change it and leeward reload"
        raise UsageError(
            f"{setting.toml} cannot change while it runs: {how}",
            f"these can be set: {', '.join(free)}",
        )
    return setting
