"""How long a connection may be in each of its states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leeward._core.config import TUNABLE
from leeward._core.record import Record, replace

if TYPE_CHECKING:
    from leeward._core.config import Config
    from leeward.limits import Deadlines

#: HTTPServer's idle_connection_timeout where the program has not said any.
_TORNADOS = 3600


class Timeouts(Record):
    """Seconds, 0.0 for never.

    silent:      until the first byte, a TLS handshake included.
    header:      from the first byte of a request to the end of its header.
    idle:        between an answer and the next request.
    body:        that a body may be silent for (`leeward._core.pace`), each
    rate:        bytes of it earning a second more.
    whole_body:  for all of a body; a program's own `body_timeout`.  None: `body` counts.
    write:       without a byte that is taken.
    handler:     from the end of the request to the end of its answer.
    poll:        the same, where there is no `handler`, and but for downloads.
    """

    silent: float
    header: float
    idle: float
    body: float
    rate: float
    whole_body: float | None
    write: float
    handler: float
    poll: float

    def answer(self, own: Deadlines | None) -> tuple[float, float]:
        """`handler` and `poll` for a class that says `own`; where the first is, the second is not.

        Who says one of them has said what kind of answer this is: the instance's other does not
        come before it.
        """
        if own is None or (own.handler is None and own.poll is None):
            return self.handler, self.poll
        if own.handler is not None:
            return own.handler, own.poll or 0.0
        return (0.0, own.poll) if own.poll else (self.handler, 0.0)

    def writing(self, own: Deadlines | None) -> float:
        """`write` for a class that says `own`."""
        return self.write if own is None or own.write is None else own.write


def timeouts(config: Config, params: Any) -> Timeouts:
    """What holds: what the operator has given, else what the program says, else our defaults.

    params:  of the HTTPServer (HTTP1ConnectionParameters): the program's own, if it has one.
    """
    silent, header, idle = config.silent_timeout, config.header_timeout, config.idle_timeout
    own = idle_of(params)
    if own is not None:
        # Tornado has one number for the three.
        if "idle_timeout" not in config.given:
            idle = own
        if "header_timeout" not in config.given:
            header = _shorter(header, own)
        if "silent_timeout" not in config.given:
            silent = _shorter(silent, own)
    given = "body_timeout" in config.given
    return Timeouts(
        silent=silent,
        header=header,
        idle=idle,
        body=config.body_timeout,
        rate=float(config.min_body_rate),
        whole_body=None if given else params.body_timeout,
        write=config.write_timeout,
        handler=config.handler_timeout,
        poll=config.max_poll_age,
    )


def idle_of(params: Any) -> float | None:
    """The program's own `idle_connection_timeout`, None if it has not said any."""
    own: float | None = params.header_timeout
    return None if own is None or own == _TORNADOS else own


def tuned(old: Config, new: Config) -> Config:
    """`old` with what `new` says of `TUNABLE`."""
    return replace(old, given=new.given, **{key: getattr(new, key) for key in TUNABLE})


def _shorter(one: float, other: float) -> float:
    """0.0 is never."""
    return min(one or other, other or one)
