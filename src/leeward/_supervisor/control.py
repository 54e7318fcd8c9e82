"""The control socket: who may ask, what was asked, and answering it in the end.

One connection asks one thing and gets one `Answer`, with `Progress` before it.
A client that says nothing, reads nothing or vanishes is dropped by a deadline,
or sooner if its place is needed; what it asked for goes on.  One that waits for an
outcome has a place of another kind: those keep nobody out who asks for a stop.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from leeward._core.messages import Answer, BadMessage, Message, Progress
from leeward._supervisor.guard import told
from leeward._supervisor.loop import Loop
from leeward._sys.channel import Channel, ChannelFull, discard
from leeward.errors import ChannelClosed

#: Clients at a time, without those that wait for an outcome, and seconds to say what one wants
#: or to read the answer.
_CLIENTS = 32
_PATIENCE = 10.0
#: Clients at a time that wait for an outcome; and this part of our descriptors at most, the
#: rest is for our own work.
_WAITING = 256
_PART = 4
#: Seconds for which nobody is accepted when there is no descriptor for him: he stays in the
#: queue, and would wake us for ever.
_FULL = 1.0


class Client:
    """Somebody at the control socket.  `deadline`: when it is dropped, None while we work."""

    def __init__(self, channel: Channel, deadline: float) -> None:
        self.channel = channel
        self.deadline: float | None = deadline
        self.asked = False
        self.answered = False
        #: It is closed as soon as our answer is on its way.
        self.leaves = False

    @property
    def waits(self) -> bool:
        """For the outcome of what it asked for."""
        return self.asked and not self.answered


class Control:
    """Accepts clients and hands their requests to `on_request(client, message)`."""

    def __init__(
        self,
        sock: socket.socket,
        loop: Loop,
        on_request: Callable[[Client, Message], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._sock = sock
        self._loop = loop
        self._on_request = on_request
        self._monotonic = monotonic
        self._clients: dict[int, Client] = {}
        #: When clients are accepted again; None while they are.
        self._accepts_at: float | None = None
        sock.setblocking(False)
        loop.watch(sock.fileno(), self._accept)

    def next_deadline(self) -> float | None:
        times = [it.deadline for it in self._clients.values()]
        return min((it for it in (*times, self._accepts_at) if it is not None), default=None)

    def expire(self, now: float) -> None:
        if self._accepts_at is not None and now >= self._accepts_at:
            self._accepts_at = None
            self._loop.watch(self._sock.fileno(), self._accept)
        for client in list(self._clients.values()):
            if client.deadline is not None and now >= client.deadline:
                self._drop(client)

    def progress(self, client: Client, text: str) -> None:
        self._send(client, Progress(text))

    def answer(self, client: Client, answer: Answer) -> None:
        """The last word; the connection closes once it has been read."""
        if client.answered:
            return  # it did not wait for this
        client.answered = True
        client.deadline = self._monotonic() + _PATIENCE
        self._send(client, answer)

    def hand_on(self, client: Client, answer: Answer) -> None:
        """Our last word; whoever has a copy of the socket goes on.

        Ours is closed at once: else the client would not see that the other has died.
        """
        client.leaves = True
        self.answer(client, answer)

    def close(self) -> None:
        """Closes everything; answers that the kernel has taken still arrive."""
        for client in list(self._clients.values()):
            self._drop(client)
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()

    def _accept(self, events: int) -> None:
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # gone again
        except OSError:
            # No descriptor left for it: whoever serves needs ours more than it does.
            self._loop.unwatch(self._sock.fileno())
            self._accepts_at = self._monotonic() + _FULL
            return
        channel = Channel(sock)
        _, uid, _ = channel.peer()
        if uid not in (0, os.geteuid()):
            channel.close()
            return
        self._make_room()
        client = Client(channel, self._monotonic() + _PATIENCE)
        self._clients[channel.fileno()] = client
        self._loop.watch(channel.fileno(), lambda events: self._serve(client))

    def _make_room(self) -> None:
        """For one more.  Who has its answer gives up its place, else who has asked nothing yet.

        Else whoever connects and keeps silent (a scanner, a script that hangs)
        would keep `leeward ps` out for as long as it likes.
        """
        held = [it for it in self._clients.values() if not it.waits]
        if len(held) < _CLIENTS:
            return
        told = [it for it in held if it.answered and not it.channel.wants_write]
        silent = [it for it in held if not it.asked]
        leaving = (told or silent or held)[0]
        self._dismiss(leaving, "too many others are asking\nAsk again")
        self._drop(leaving)

    def _keep_waiting(self, client: Client) -> None:
        """Until the outcome, if not too many do.  What it asked for goes on without it."""
        waiting = sum(it.waits for it in self._clients.values())
        limit = os.sysconf("SC_OPEN_MAX")
        most = _WAITING if limit < 0 else min(_WAITING, limit // _PART)
        if waiting > most:
            text = f"{most} others wait already; what was asked for goes on"
            self._dismiss(client, f"{text}\nleeward ps  shows how far it is")

    def _dismiss(self, client: Client, text: str) -> None:
        client.leaves = True
        self.answer(client, Answer(1, text))

    def _serve(self, client: Client) -> None:
        try:
            client.channel.flush()
            messages = client.channel.receive()
        except ChannelClosed:
            self._drop(client)
            return
        except BadMessage as error:
            messages, client.asked = [], True
            self.answer(client, Answer(2, f"not understood: {error}"))
        request = [] if client.asked else messages[:1]
        more = messages[len(request) :]
        discard(more)
        for message in request:
            self._take(client, message)
        if more:
            self._drop(client)
        else:
            self._watch(client)

    def _take(self, client: Client, request: Message) -> None:
        client.asked, client.deadline = True, None
        try:
            self._on_request(client, request)
        except Exception as error:
            if not client.answered:
                self.answer(client, Answer(1, f"it failed inside leeward: {told(error)}"))
            raise  # to be told in the log too
        if client.waits:
            self._keep_waiting(client)

    def _send(self, client: Client, message: Message) -> None:
        if self._clients.get(client.channel.fileno()) is not client:
            return  # it left; what it asked for goes on
        try:
            client.channel.send(message)
        except (ChannelClosed, ChannelFull):
            self._drop(client)
            return
        self._watch(client)

    def _watch(self, client: Client) -> None:
        fd = client.channel.fileno()
        write = client.channel.wants_write
        if client.leaves and not write:
            self._drop(client)
        elif self._clients.get(fd) is client:
            self._loop.watch(fd, lambda events: self._serve(client), write=write)

    def _drop(self, client: Client) -> None:
        fd = client.channel.fileno()
        if self._clients.get(fd) is client:
            del self._clients[fd]
            self._loop.unwatch(fd)
            client.channel.close()
