"""Messages between two processes, over a unix SOCK_SEQPACKET socket.

One packet is one message, so there is no framing and a half-written message
does not exist.  Descriptors travel beside it by SCM_RIGHTS.  Nothing blocks but
`wait`: what the kernel does not take stays in a bounded outbox, so that a stopped
worker costs the supervisor at most 1 MiB and no time.

On the wire a message is its JSON, or, above 60 KiB, ``@`` and the size in
decimal, with the JSON in a sealed memfd as the first descriptor.

A peer may be anybody who can reach the control socket: whatever comes is at most
64 KiB and 253 descriptors, becomes a `Message` or a `BadMessage`, and every
descriptor ends in the message or closed.
"""

from __future__ import annotations

import array
import errno
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Iterable

from leeward._core.messages import BadMessage, Message, decode, encode
from leeward._sys.posix import LONGEST_WAIT, MEMFD_LIMIT, memfd, read_memfd
from leeward.errors import ChannelClosed, LeewardError

#: Above this many bytes the JSON goes into a memfd.
INLINE = 60 * 1024
_PACKET = 64 * 1024
#: Descriptors in one message: the kernel's own bound (SCM_MAX_FD).  Fewer were too few for a
#: service with 62 listeners.
DESCRIPTORS = 253
#: recvmsg's sizes of data and ancillary data, and flags.
_RECEIVE = (_PACKET, socket.CMSG_SPACE(DESCRIPTORS * 4), socket.MSG_CMSG_CLOEXEC)
#: One `receive` returns at most this many messages, and stops after this many
#: bytes, so that a flooding peer can neither starve the loop nor fill the memory.
BATCH = 64
BATCH_BYTES = 1024 * 1024
OUTBOX_MESSAGES = 64
OUTBOX_BYTES = 1024 * 1024

_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ESHUTDOWN})
#: The kernel is short of something.  ETOOMANYREFS: this user (not root) has more
#: descriptors in flight than RLIMIT_NOFILE.
_SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ETOOMANYREFS})


class ChannelFull(LeewardError):
    """The message was not sent and not queued: the outbox, or the kernel, is full."""


class _Packet:
    """Bytes and the descriptors beside them; owns the descriptors in `owned`."""

    __slots__ = ("data", "descriptors", "owned", "size")

    def __init__(self, data: bytes, descriptors: list[int]) -> None:
        self.size = len(data)
        self.data = data
        self.descriptors = descriptors
        self.owned: list[int] = []

    def move_to_memfd(self) -> None:
        fd = memfd("leeward-message", self.data)
        self.owned.append(fd)
        self.data = b"@%d" % self.size
        self.descriptors = [fd, *self.descriptors]

    def own(self) -> None:
        """Duplicate what is not ours: the caller may close it while we wait."""
        for place, fd in enumerate(self.descriptors):
            if fd not in self.owned:
                self.descriptors[place] = os.dup(fd)
                self.owned.append(self.descriptors[place])

    def close(self) -> None:
        while self.owned:
            os.close(self.owned.pop())


class Channel:
    """One end.  Owns its socket, which it makes non-blocking and close-on-exec."""

    def __init__(self, end: int | socket.socket) -> None:
        sock = end if isinstance(end, socket.socket) else socket.socket(fileno=end)
        if (sock.family, sock.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
            if sock is not end:
                sock.detach()
            raise ValueError(f"no channel but a socket of {sock.family!r}, {sock.type!r}")
        sock.setblocking(False)
        sock.set_inheritable(False)
        self._socket = sock
        #: Bytes of the largest message that is read.
        self.largest = MEMFD_LIMIT
        self._outbox: deque[_Packet] = deque()
        self._outbox_bytes = 0
        self._rubbish: BadMessage | None = None

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Two connected ends.  Raises OSError (EMFILE, ENFILE)."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def fileno(self) -> int:
        return self._socket.fileno()

    def peer(self) -> tuple[int, int, int]:
        """(pid, uid, gid) of who made the other end, as it was at that time (SO_PEERCRED)."""
        data = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, gid = struct.unpack("3i", data)
        return pid, uid, gid

    # --- sending -----------------------------------------------------------------------

    @property
    def wants_write(self) -> bool:
        """Whether to watch for writability and then call `flush`."""
        return bool(self._outbox)

    def send(self, message: Message) -> None:
        """Send, or queue, and return at once.  Descriptors stay the caller's.

        Raises ChannelClosed if the peer has gone; ChannelFull if neither the
        kernel nor the outbox takes it; BadMessage if it is larger than any
        receiver accepts; OSError if a descriptor in it is not open (EBADF).
        """
        data, descriptors = encode(message)
        if len(data) > MEMFD_LIMIT or len(descriptors) >= DESCRIPTORS:
            kind = type(message).__name__
            raise BadMessage(f"{kind} of {len(data)} bytes, {len(descriptors)} descriptors")
        packet = _Packet(data, descriptors)
        try:
            if len(data) > INLINE:
                packet.move_to_memfd()
            if self._outbox or not self._sent(packet):
                self._queue(packet)
        except OSError as error:
            packet.close()
            if error.errno in _SHORT:
                raise ChannelFull(f"cannot send: {error.strerror}") from error
            raise
        except BaseException:
            packet.close()
            raise

    def _queue(self, packet: _Packet) -> None:
        # One message, however large, always fits an empty outbox.
        if self._outbox and (
            len(self._outbox) >= OUTBOX_MESSAGES or self._outbox_bytes + packet.size > OUTBOX_BYTES
        ):
            raise ChannelFull(
                f"the peer does not read: {len(self._outbox)} messages of "
                f"{self._outbox_bytes} bytes are waiting for it"
            )
        packet.own()
        self._outbox.append(packet)
        self._outbox_bytes += packet.size

    def _sent(self, packet: _Packet) -> bool:
        """Whether the kernel took it now; then what it owned is closed."""
        while True:
            rights = array.array("i", packet.descriptors)
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
            try:
                self._socket.sendmsg([packet.data], ancillary, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            except OSError as error:
                if self._socket.fileno() < 0 or error.errno in _GONE:
                    raise ChannelClosed("the process at the other end has gone") from None
                if error.errno == errno.EMSGSIZE and not packet.data.startswith(b"@"):
                    packet.move_to_memfd()  # net.core.wmem_default is tiny here
                    continue
                raise
            packet.close()
            return True

    def flush(self) -> None:
        """Send what the kernel takes now.

        If the peer has gone, what was queued is dropped without a word: `receive`
        tells, after the peer's last words, which an error from here would hide.
        """
        while self._outbox:
            packet = self._outbox[0]
            try:
                if not self._sent(packet):
                    return
            except ChannelClosed:
                self._drop()
                return
            except OSError as error:
                if error.errno in _SHORT:
                    return  # tried again at the next wake
                raise
            self._outbox.popleft()
            self._outbox_bytes -= packet.size

    # --- receiving ---------------------------------------------------------------------

    def receive(self) -> list[Message]:
        """All that is there now, up to `BATCH`, [] if nothing.  Never blocks.

        Raises ChannelClosed at the end, once all before it was delivered, and
        BadMessage for rubbish, its descriptors closed; the channel stays usable.
        Rubbish behind good messages is raised by the next call.
        """
        messages: list[Message] = []
        size = 0
        while len(messages) < BATCH and size < BATCH_BYTES:
            try:
                found = self._next()
            except BadMessage as rubbish:
                if not messages:
                    raise
                self._rubbish = rubbish
                break
            except ChannelClosed:
                if not messages:
                    raise
                break  # the end stays readable: the next call meets it again
            if found is None:
                break
            messages.append(found[0])
            size += found[1]
        return messages

    def wait(self, timeout: float | None) -> Message | None:
        """The next message, None after `timeout` seconds without one.

        Sends what is queued meanwhile.  Raises as `receive` does.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        poll = select.poll()
        while (found := self._next()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            events = select.POLLIN | (select.POLLOUT if self._outbox else 0)
            poll.register(self._socket, events)
            # Rounded up: 0.4 ms rounded down to 0 would spin until the deadline.
            wait = None if left is None else int(min(left, LONGEST_WAIT) * 1000) + 1
            for _, event in poll.poll(wait):
                if event & select.POLLOUT:
                    self.flush()
        return found[0]

    def _next(self) -> tuple[Message, int] | None:
        """One message and its size in bytes, None if there is none now."""
        if self._rubbish is not None:
            rubbish, self._rubbish = self._rubbish, None
            raise rubbish
        try:
            data, descriptors, flags = self._read()
        except BlockingIOError:
            return None
        taken = False
        try:
            if flags & socket.MSG_CTRUNC:
                # Not resource.getrlimit: without a descriptor that module cannot be imported.
                limit = f"open file limit (ulimit -n) is {os.sysconf('SC_OPEN_MAX')}"
                raise BadMessage(f"the message's descriptors do not fit: {limit}")
            if flags & socket.MSG_TRUNC:
                raise BadMessage(f"a packet of more than {_PACKET} bytes")
            found = _message(data, descriptors, self.largest)
            taken = True
            return found
        finally:
            if not taken:
                for fd in descriptors:
                    os.close(fd)

    def _read(self) -> tuple[bytes, list[int], int]:
        """One packet.  Raises ChannelClosed at the end, BlockingIOError if there is none."""
        try:
            try:
                data, ancillary, flags, _ = self._socket.recvmsg(*_RECEIVE)
            except ConnectionResetError:
                # A peer that leaves without having read all we sent leaves ECONNRESET
                # in *front* of what it said last (its traceback).  Told once.
                data, ancillary, flags, _ = self._socket.recvmsg(*_RECEIVE)
        except OSError as error:
            if self._socket.fileno() < 0 or error.errno in _GONE:
                raise ChannelClosed("the process at the other end has gone") from None
            raise
        descriptors: list[int] = []
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                rights = array.array("i")
                rights.frombytes(content[: len(content) - len(content) % rights.itemsize])
                descriptors.extend(rights)
        if not data and not descriptors and not flags & socket.MSG_CTRUNC and self._hung_up():
            raise ChannelClosed("the process at the other end has gone")
        return data, descriptors, flags

    def _hung_up(self) -> bool:
        """Whether an empty read was the end, and not a peer's empty packet."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        return bool(poll.poll(0))

    # --- the end -----------------------------------------------------------------------

    def detach(self) -> int:
        """The descriptor, which belongs to the caller now.  What was queued is dropped."""
        self._drop()
        return self._socket.detach()

    def close(self) -> None:
        """Close the socket and every descriptor that was queued.  May be repeated."""
        self._drop()
        self._socket.close()

    def _drop(self) -> None:
        while self._outbox:
            self._outbox.popleft().close()
        self._outbox_bytes = 0


def discard(messages: Iterable[Message]) -> None:
    """Closes the descriptors in what nobody takes: they would stay open for ever."""
    for message in messages:
        for fd in encode(message)[1]:
            os.close(fd)


def _message(data: bytes, descriptors: list[int], largest: int) -> tuple[Message, int]:
    """The message and its size; each descriptor is in it once, a large one's memfd closed."""
    rest = descriptors
    if data.startswith(b"@"):
        if not descriptors:
            raise BadMessage("a large message without its memfd")
        try:
            data = read_memfd(descriptors[0], largest)
        except ValueError as error:
            raise BadMessage(f"a large message: {error}") from None
        rest = descriptors[1:]
    message = decode(data, rest)
    if rest is not descriptors:
        os.close(descriptors[0])
    return message, len(data)
