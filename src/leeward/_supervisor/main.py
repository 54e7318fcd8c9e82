"""The supervisor process begins here, after the command line's `exec`."""

from __future__ import annotations

import contextlib
import os
import time
from typing import NoReturn

from leeward._core.config import Config, Handover
from leeward._supervisor.instance import Instance
from leeward._supervisor.say import Voice
from leeward._sys.bootstrap import environ_as_given
from leeward._sys.posix import POSIX, read_memfd, set_comm


def run(handover_fd: int) -> NoReturn:
    """Serves until told to stop, then ends the process.

    handover_fd: a memfd with a `Handover`, inherited across the exec.
    """
    handover = Handover.from_json(read_memfd(handover_fd).decode())
    os.close(handover_fd)
    # What the command line passed us across its exec goes no further by itself.
    for fd in (
        handover.control_fd,
        handover.lock_fd,
        *handover.tls,
        *(it.fd for it in handover.listeners),
    ):
        os.set_inheritable(fd, False)
    with contextlib.suppress(OSError):  # only a name in `ps`
        set_comm("leeward")
    config = handover.config
    environ = environ_as_given()  # of later generations too, whose TZ may be another
    _keep_time(config)
    voice = Voice(config.log_format, config.log_level)
    try:
        code = Instance(handover, POSIX, voice, environ).run()
    except OSError as error:
        # No descriptor for an epoll set, no memory for the page: nothing runs yet.
        voice.fail(f"the supervisor cannot start: {error}\nSee `ulimit -a`")
        code = 1
    voice.close()
    os._exit(code)


def _keep_time(config: Config) -> None:
    """By the application's clock (TZ in its --env-file): our lines stand between its own."""
    for name, value in config.env:
        if name == "TZ":
            os.environ[name] = value
            time.tzset()
