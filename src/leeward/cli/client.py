"""The asking end of a control socket: one request, lines of progress, one answer."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from leeward._core.messages import Answer, BadMessage, Message, Progress
from leeward._sys.channel import Channel
from leeward.cli.instances import Instance, no_instance
from leeward.cli.shapes import fault
from leeward.errors import ChannelClosed, LeewardError, UsageError

#: A supervisor answers from its loop, in about a millisecond; one that needs
#: seconds is stopped (SIGSTOP, a frozen cgroup) or the machine is drowning.
ANSWER_TIMEOUT = 5.0


class Client:
    """A connection to the supervisor of one instance.

    pid, uid:  the supervisor's, told by the kernel (0 in another pid namespace).
    who:       what it is called, and whose it is unless it is ours.
    patience:  seconds for it to accept, and for it to answer unless another time is given.

    Raises `NoInstanceError` if nobody listens, `UsageError` if we may not ask.
    """

    def __init__(self, instance: Instance, patience: float = ANSWER_TIMEOUT) -> None:
        self.instance = instance
        self._patience = patience
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            # Not settimeout(): a non-blocking connect() to a unix socket whose queue is
            # full is refused at once (EAGAIN) instead of waiting for its turn.
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", *_timeval(patience))
            )
            connection.connect(instance.path)
            connection.setblocking(False)
        except (ConnectionRefusedError, FileNotFoundError):
            connection.close()
            raise no_instance(instance.name, []) from None
        except PermissionError:
            connection.close()
            raise UsageError(
                f"{instance.path}: permission denied", "ask as the user who started it, or as root"
            ) from None
        except BlockingIOError:
            connection.close()
            raise LeewardError(
                f"{instance.name} did not accept within {patience:g} s: "
                "too many others are asking, or it is stopped",
                f"ss -xlp src {instance.path}  shows its queue and its pid",
            ) from None
        except OSError as error:
            connection.close()
            raise LeewardError(f"{instance.name} does not accept: {error}") from None
        self.channel = Channel(connection)
        self.pid, self.uid, _ = self.channel.peer()
        if os.getuid() != 0 and self.uid not in (0, os.getuid()):
            self.channel.close()
            raise UsageError(f"{instance.path} is answered by user {self.uid}: not asked")
        theirs = "" if self.uid == os.getuid() else f" of user {self.uid}"
        self.who = instance.name + theirs

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.channel.close()

    def ask(
        self,
        request: Message,
        timeout: float | None = None,
        progress: Callable[[str], None] = lambda text: None,
        goes_on: str = "",
    ) -> Answer:
        """The answer to `request`; each line of progress goes to `progress` meanwhile.

        timeout:  seconds for the whole of it; else `patience`.
        goes_on:  what was asked for, if it may well take longer than that and
                  goes on without us.
        """
        timeout = self._patience if timeout is None else timeout
        deadline = time.monotonic() + timeout
        try:
            self.send(request)
            while True:
                left = deadline - time.monotonic()
                # One that never ceases to tell of its progress does not answer either.
                message = self.channel.wait(min(left, ANSWER_TIMEOUT)) if left > 0.0 else None
                if message is None and left > ANSWER_TIMEOUT:
                    if self._is_stopped():
                        raise self.silent(round(timeout - left + ANSWER_TIMEOUT), goes_on)
                    continue
                if isinstance(message, Answer):
                    return message
                if isinstance(message, Progress):
                    progress(message.text)
                elif message is None:
                    raise self.silent(timeout, goes_on)
                else:
                    raise LeewardError(f"{self.who} answered {type(message).__name__}")
        except ChannelClosed:
            raise self.ended() from None
        except BadMessage as error:
            raise self.misunderstood(error) from None

    def data(self, request: Message, shape: Any) -> Any:
        """The data of the answer to `request`.  Raises `LeewardError` if there is none."""
        return self.read(self.ask(request), shape)

    def read(self, answer: Answer, shape: Any) -> Any:
        """The data of `answer`, which is of this shape (`leeward.cli.shapes`).

        Raises `LeewardError` if it is not, or refuses.
        """
        if answer.code:
            raise refusal(answer)
        try:
            found = json.loads(answer.data)
        except (ValueError, RecursionError):
            raise self.misunderstood("its answer is no JSON") from None
        if wrong := fault(found, shape):
            raise self.misunderstood(wrong)
        return found

    def send(self, request: Message) -> None:
        """It may have closed already, and said why: that is still to be read."""
        with contextlib.suppress(ChannelClosed):
            self.channel.send(request)

    def _is_stopped(self) -> bool:
        from leeward._sys import procfs

        return bool(self.pid) and procfs.state_of(self.pid) == "T"

    def ended(self) -> LeewardError:
        from leeward._sys import procfs

        if self.pid and procfs.state_of(self.pid) not in (None, "Z", "X"):
            return LeewardError(
                f"{self.who} (pid {self.pid}) closed the connection before it answered",
                f"leeward ps {self.instance.name}  shows whether it serves",
            )
        return LeewardError(
            f"{self.who} (pid {self.pid}) ended before it answered",
            "its log says why",
        )

    def misunderstood(self, error: BadMessage | str) -> LeewardError:
        return LeewardError(
            f"{self.who} speaks another language: {error}",
            "it runs another version of leeward: ask with the command of its environment",
        )

    def silent(self, timeout: float, goes_on: str = "") -> LeewardError:
        from leeward._sys import procfs

        state = procfs.state_of(self.pid) if self.pid else None
        words = (procfs.cmdline(self.pid) or ()) if self.pid else ()
        if "serve" in words and "supervisor" not in words and state != "T":
            return LeewardError(
                f"{self.instance.name} (pid {self.pid}) is starting: it answers when it has read "
                "its settings and bound its addresses"
            )
        if goes_on and state != "T":
            # Nobody is to kill a supervisor for the application's slow import.
            return LeewardError(
                f"{goes_on} of {self.instance.name} is not done after {timeout:g} s; it goes on",
                f"leeward ps {self.instance.name}  shows how far it is",
            )
        stopped = ": its process is stopped (SIGSTOP)" if state == "T" else ""
        return LeewardError(
            f"{self.who} (pid {self.pid}) did not answer within {timeout:g} s{stopped}",
            f"kill -CONT {self.pid} lets it go on; kill -KILL {self.pid} ends it and its workers",
        )


def _timeval(seconds: float) -> tuple[int, int]:
    """Never (0, 0), which is for ever."""
    return int(seconds), max(1, int(seconds % 1 * 1e6))


def refusal(answer: Answer) -> LeewardError:
    """What an answer says whose code is not 0."""
    error = LeewardError(answer.text)
    error.exit_code = answer.code
    return error


class ProcessEnd:
    """Waits for the end of a process that is not our child, by its pidfd."""

    def __init__(self, pid: int) -> None:
        try:
            self.fd = os.pidfd_open(pid) if pid else -1
        except ProcessLookupError:
            self.fd = -1

    def wait(self, timeout: float) -> bool:
        """True once it has ended (or cannot be seen from here), False after `timeout` seconds."""
        if self.fd < 0:
            return True
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(int(timeout * 1000)))

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
