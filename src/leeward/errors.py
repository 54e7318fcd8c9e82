"""What can go wrong, who is guilty, and what to do next.

    LeewardError                exit 1   a bug in leeward, unless a child says otherwise
    ├── UsageError              exit 2   flags, settings, files: the person who typed
    ├── TargetError             exit 3   the application: not found, raises, hangs, is none
    ├── BindError               exit 4   an address that cannot be had
    ├── CrashLoopError          exit 5   no worker of the first generation was ever ready
    ├── NoInstanceError         exit 6   nobody is at the control socket
    ├── NotOpen                          a resource was asked for where it is not open
    ├── ChannelClosed                    the process at the other end has gone
    └── LineError                        a call of leeward.LineClient was not answered
        ├── LineTimeout                  its deadline passed (also a TimeoutError)
        ├── LineBusy                     too many wait, or too long, for a connection
        ├── LineDown                     no connection can be had (also a ConnectionError)
        ├── LineLost                     the connection broke meanwhile (also a ConnectionError)
        ├── BadReply                     too large, undecodable, or more than was asked for
        ├── BadRequest                   never sent: it would be two requests, or undecodable
        └── LineClosed                   after aclose()

Those of LineClient are for the application and end nothing.  Each of the others is
printed as it stands, in at most 8 lines, without a traceback: first the guilty, then the
remedy (`remedy`), which names the next command to type.
"""

from __future__ import annotations

#: Characters of an error that repeats what was typed: 100 KB of it help nobody.
TYPED = 1000


class LeewardError(Exception):
    """Base of all errors that leeward raises on purpose.

    message:  the guilty, with file and line or flag where there is one.
    remedy:   what to do about it, a command where there is one; may be empty.
    """

    exit_code = 1
    #: Characters of the message, and of the remedy.  What an application raises may have
    #: megabytes, and a reload writes it into the log.
    longest = 20_000

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = shortened(message, self.longest)
        self.remedy = shortened(remedy, self.longest)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


def shortened(text: str, most: int) -> str:
    """`text` without its middle, where it has more than `most` characters."""
    return text if len(text) <= most else f"{text[: most * 3 // 4]}…{text[-most // 5 :]}"


class UsageError(LeewardError):
    exit_code = 2
    longest = TYPED


class TargetError(LeewardError):
    exit_code = 3


class BindError(LeewardError):
    exit_code = 4
    longest = TYPED


class CrashLoopError(LeewardError):
    exit_code = 5


class NoInstanceError(LeewardError):
    exit_code = 6
    longest = TYPED


class NotOpen(LeewardError):
    """A resource is asked for in a process that has not opened it, or has closed it."""


class ChannelClosed(LeewardError):
    """The peer's end is closed.  A hint only: death is learnt by waiting for the process."""


class LineError(LeewardError):
    """A call was not answered.  The message names the server, what was waited for, how long."""


class LineTimeout(LineError, TimeoutError):
    """Whether the server has carried the call out is not known if it had been sent."""


class LineBusy(LineError):
    """Nothing was sent."""


class LineDown(LineError, ConnectionError):
    """Nothing was sent."""


class LineLost(LineError, ConnectionError):
    """Whether the server has carried the call out is not known."""


class BadReply(LineError, ValueError):
    """The call was carried out, and what came back cannot be given to the caller."""


class BadRequest(LineError, ValueError):
    """Nothing was sent."""


class LineClosed(LineError):
    """The client was closed.  A call that had been sent may have been carried out."""
