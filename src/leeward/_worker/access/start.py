"""The access log of a worker, from its settings."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING

from leeward._worker import logs
from leeward._worker.access import formats
from leeward._worker.access.hook import AccessLog

if TYPE_CHECKING:
    from leeward._core.config import Config
    from leeward._worker.batch import Sink
    from leeward._worker.logs import Log


def start(log: Log, config: Config) -> AccessLog:
    """Print the application's records and a line for each request, as far as it leaves that
    to us.  To be called after its factory, while the loop runs.
    """
    printer = logs.install(log, config.access_log)
    form = config.access_log_format
    look = log.look_of("pretty") if form == "pretty" else log.look
    if log.batch is not None:
        # A context of its own: that of a request would live as long as the batch.
        log.batch.begin(asyncio.get_running_loop(), contextvars.Context())
    sink: Sink | None = (log.outlet or log.batch) if config.access_log else None
    access = AccessLog(printer, formats.make(form, look, log.identity()), sink)
    access.install()
    return access


def tell(access: AccessLog, log: Log, config: Config) -> None:
    """Say, where it matters, that the application's own logging has won."""
    if config.access_log and config.access_log_format != "auto" and not access.ours():
        log.say(
            "info",
            "the application logs requests in its own way: "
            f"--access-log-format {config.access_log_format} does not apply",
        )
