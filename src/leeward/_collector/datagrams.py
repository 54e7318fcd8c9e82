"""Sinks that take messages, one line each: a syslog's socket, the journal's.

A message is taken whole or not at all, and none is taken back.  So there is no intent: the
sink's cursor moves behind each one, and the successor of a collector that was killed between
the two sends one message once more (the journal has `LEEWARD_SEQUENCE`, RFC 5424
``seq``, to tell by).  A daemon that is gone, or slow, is waited for as a full disk is.

A daemon that reads, but has a short queue (10 datagrams, net.unix.max_dgram_qlen), is waited for
by poll(2) for as long as a turn may take, so that the room that it makes is used at once.
One that reads nothing is only tried, ever more rarely.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from _thread import start_new_thread
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from leeward._collector.lanes import RETRY, Lane
from leeward._collector.streams import BATCH, Stream
from leeward._core import journal, syslog
from leeward._sys.posix import memfd
from leeward._sys.ring import Intent

if TYPE_CHECKING:
    from leeward._core.sinks import Spec
    from leeward._sys.ring import Record, RingReader

#: Messages of a lane's turn, and seconds of one that has to wait for room.
_AT_ONCE, _TURN = 256, 0.002
#: Seconds until a socket that had no room is tried again, at first and at most.
_FIRST, _LAST = 0.001, 0.02
#: Seconds without a message taken after which a daemon counts as one that reads nothing.
_STUCK = 2.0
#: Octets below which a message is not cut: RFC 5424, section 6.1, has receivers take 2048.
_LEAST = 2048
#: Octets of UDP's longest datagram.
_UDP = 65507
#: What says that the daemon of before is gone, and not that there is none.
_GONE = (errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE, errno.EDESTADDRREQ)


class Socket(Stream):
    """Where messages go.  One for all rings.

    say:  called with (level, text) of what the operator must know.
    """

    def __init__(self, spec: Spec, say: Callable[[str, str], None]) -> None:
        super().__init__(-1)
        self.spec = spec
        self._say = say
        self.journal = spec.kind == "journal"
        self.udp = not spec.path.startswith("/")
        #: Octets of the longest message that it is known not to refuse.
        self.longest = _UDP if self.udp else 1 << 30
        self._socket: socket.socket | None = None
        self._identity = (0, 0)
        self._told = 0
        self._resolving: _Resolving | None = None

    @property
    def name(self) -> str:
        return f"{self.spec.kind}:{self.spec.path}"

    def begin_batch(self) -> None:
        """See whether another daemon has the name now: one stat(2).  Raises OSError."""
        if self._socket is not None and not self.udp:
            with contextlib.suppress(FileNotFoundError):  # whoever has it may read on
                it = os.stat(self.spec.path)
                if (it.st_dev, it.st_ino) != self._identity:
                    self.close()
        if self._socket is None:
            self._connect()

    def send(self, message: bytes) -> None:
        """Have it taken.  Raises BlockingIOError when there is no room, and OSError.

        One that is too long raises OSError of EMSGSIZE, but for the journal.
        """
        try:
            self._send(message)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno == errno.EMSGSIZE and self.journal:
                self._send_by_memfd(message)
                return
            if error.errno not in _GONE:
                raise
            if self.udp:
                raise  # it goes on as soon as somebody listens
            self.close()
            self._connect()  # to the successor, if there is one already
            self._send(message)

    def _send(self, message: bytes) -> None:
        assert self._socket is not None
        self._socket.send(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        if self.udp and (told := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            # On this machine "nobody listens" comes back before send(2) does, and is of
            # this very message.
            raise OSError(told, os.strerror(told))

    def wait(self, seconds: float) -> bool:
        """Is there room by then?"""
        if self._socket is None:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def _send_by_memfd(self, message: bytes) -> None:
        """As sd_journal_sendv does: journald reads a sealed file."""
        assert self._socket is not None
        fd = memfd("leeward-entry", message)
        try:
            flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
            socket.send_fds(self._socket, [], [fd], flags)
        finally:
            os.close(fd)

    def too_long(self, octets: int) -> bool:
        """It was too long.  Is there a shorter one that may be taken?"""
        if self.longest <= _LEAST:
            return False
        self.longest = max(_LEAST, min(self.longest, octets) * 3 // 4)
        return True

    def was_cut(self) -> None:
        """Say it, once for each length."""
        if self.longest != self._told:
            self._told = self.longest
            text = f"{self.name}: messages are cut to {self.longest} octets, no more are taken"
            self._say("warning", text)

    # --- connecting ------------------------------------------------------------------------

    def _connect(self) -> None:
        if self.udp:
            family, address = self._resolve()
        else:
            family, address = int(socket.AF_UNIX), self.spec.path
            it = os.stat(self.spec.path)
            self._identity = (it.st_dev, it.st_ino)
        made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            made.connect(address)
        except BaseException:
            made.close()
            raise
        self._socket = made

    def _resolve(self) -> tuple[int, Any]:
        """A name may take the resolver seconds: a thread asks, and lines wait."""
        if self._resolving is None:
            self._resolving = _Resolving(*syslog.address(self.spec.path))
        found = self._resolving.answer
        if found is None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if isinstance(found, OSError) and time.monotonic() < self._resolving.again:
            raise found
        self._resolving = None
        if isinstance(found, OSError):
            raise found
        return found

    def reopen(self) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # an error of before, told at last
                self._socket.close()
            self._socket = None


class _Resolving:
    """One question to the resolver, which nobody waits for.

    answer:  family and address, or what the resolver said; None: nothing yet.
    again:   when a question that failed may be asked again.
    """

    def __init__(self, host: str, port: int) -> None:
        self.answer: tuple[int, Any] | OSError | None = None
        self.again = time.monotonic() + 1.0
        try:
            start_new_thread(self._ask, (host, port))
        except RuntimeError as error:  # no process is left to be had: not the log's fault
            self.answer = OSError(errno.EAGAIN, f"{host}: {error}")

    def _ask(self, host: str, port: int) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            code = error.errno if isinstance(error, OSError) else None
            text = getattr(error, "strerror", None) or str(error)
            self.answer = OSError(code or errno.EHOSTUNREACH, f"{host}: {text}")
        else:
            self.answer = found[0][0], found[0][4]


class Messages:
    """Lines on their way to a `Socket`, each as a message.  spec:  whose they are."""

    def __init__(self, stream: Socket, spec: Spec) -> None:
        self._socket = stream
        self._spec = spec
        self._who = syslog.who(spec.who)
        self._stamps = _Stamps()

    def post(self, data: bytes, level: int, sequence: int) -> None:
        """Raises as `Socket.send`.  sequence:  of the line in its ring; -1: it was in none."""
        message = whole = self._message(data, level, sequence)
        if len(whole) > self._socket.longest and not self._socket.journal:
            message = syslog.cut(whole, self._socket.longest)
        while True:
            try:
                self._socket.send(message)
            except OSError as error:
                if error.errno != errno.EMSGSIZE or not self._socket.too_long(len(message)):
                    raise
                message = syslog.cut(whole, self._socket.longest)
            else:
                break
        if message is not whole:
            self._socket.was_cut()

    def _message(self, data: bytes, level: int, sequence: int) -> bytes:
        spec, who = self._spec, self._who
        line = syslog.read(data, level)
        if self._socket.journal:
            stamp = self._stamps.of(line)
            return journal.of_line(spec.facility, line, spec.name, who, stamp, sequence)
        if self._socket.udp:
            stamp, host = self._stamps.of(line), self._stamps.host
            return syslog.protocol(spec.facility, line, spec.name, who, host, stamp, sequence)
        local = tuple(time.localtime())
        return syslog.local(spec.facility, line, spec.name, who.pid, local)


class Printed(Stream):
    """What one worker prints, each line a message.  level:  of its lines."""

    def __init__(self, stream: Socket, spec: Spec, level: int) -> None:
        super().__init__(-1)
        self.regular = True  # nothing tells when it has room
        self._socket = stream
        self._messages = Messages(stream, spec)
        self._level = level
        self._stuck_since = 0.0

    @property
    def name(self) -> str:
        return self._socket.name

    def room(self) -> int:
        return BATCH

    def begin(self, octets: int) -> Intent:
        self._socket.begin_batch()
        return Intent(0, 0, 0, 0, octets)

    def append(self, data: bytes, place: Intent) -> int:
        """Octets of the lines that were taken.  Raises OSError: none was.

        One of a daemon that has taken nothing for `_STUCK` seconds is EAGAIN; before, it
        counts as one that is slow, for which whoever prints waits.
        """
        sent, now = 0, time.monotonic()
        deadline = now + _TURN
        while sent < len(data):
            end = data.find(b"\n", sent) + 1 or len(data)
            try:
                self._messages.post(data[sent:end], self._level, -1)
                sent = end
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0.0 or not self._socket.wait(left):
                    break
            except OSError as error:
                if sent:
                    break
                if error.errno not in _GONE:
                    raise
                # Whichever it is: unlike a pipe's reader, a daemon comes back.
                raise ConnectionRefusedError(errno.ECONNREFUSED, error.strerror) from None
        if sent:
            self._stuck_since = 0.0
            return sent
        self._stuck_since = self._stuck_since or now
        if now - self._stuck_since > _STUCK:
            raise BlockingIOError(errno.EAGAIN, "nobody reads there")
        return 0


class MessageLane(Lane):
    """The way of one ring's lines to a `Socket`, one by one."""

    def __init__(
        self,
        reader: RingReader,
        sink: int,
        stream: Socket,
        spec: Spec,
        tap: Callable[[list[Record]], None],
    ) -> None:
        super().__init__(reader, sink, stream, tap)
        self._socket = stream
        self._messages = Messages(stream, spec)
        self._pause = _FIRST

    def recover(self) -> None:
        """The cursor says it all."""

    def flush(self, now: float) -> bool:
        if now < self.held_until or not self._queue:
            return False
        done: list[Record] = []
        try:
            self._socket.begin_batch()
            self._post_all(done)
            self._pause, self.error = _FIRST, None
        except BlockingIOError:
            self._pause = _FIRST if done else min(self._pause * 2, _LAST)
            self.error, self.held_until = None, now + self._pause
        except OSError as error:
            self.error, self.held_until = error, now + RETRY
        return bool(done)

    def _post_all(self, done: list[Record]) -> None:
        """What a turn has time for, into `done`.  Raises as `Socket.send`."""
        deadline = 0.0
        while self._queue and len(done) < _AT_ONCE:
            try:
                first = self._queue[0]
                self._messages.post(first.line, first.level, first.sequence)
            except BlockingIOError:
                deadline = deadline or time.monotonic() + _TURN
                left = deadline - time.monotonic()
                if not done or left <= 0.0 or not self._socket.wait(left):
                    raise
                continue
            done.append(self._queue.popleft())
            self._tap(done[-1:])
            self._reader.taken(self._sink, done[-1].end)


class _Stamps:
    """Times as RFC 3339 has them, made once a second."""

    def __init__(self) -> None:
        self.host = socket.gethostname()
        self._of = ("", "")
        self._zone = ""

    def of(self, line: syslog.Line) -> str:
        """When it was logged; now, if it does not say."""
        if not line.clock:
            now = time.time()
            return time.strftime(f"%Y-%m-%dT%H:%M:%S.{int(now % 1 * 1000):03d}Z", time.gmtime(now))
        if line.utc:
            return f"{line.day}T{line.clock}.{line.millis}Z"
        if (line.day, line.clock) != self._of:
            self._of = (line.day, line.clock)
            year, month, day = map(int, line.day.split("-"))
            hour, minute, second = map(int, line.clock.split(":"))
            when = time.mktime((year, month, day, hour, minute, second, 0, 0, -1))
            minutes = time.localtime(when).tm_gmtoff // 60
            sign = "-" if minutes < 0 else "+"
            self._zone = f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
        return f"{line.day}T{line.clock}.{line.millis}{self._zone}"
