"""Writers, a collector, and what the supervisor does for them, as real processes.

They are forked from the test, so that one can be killed and replaced within milliseconds.
"""

from __future__ import annotations

import contextlib
import gzip
import mmap
import os
import re
import select
import signal
import time
import warnings
import zlib
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from leeward._collector.main import run
from leeward._core import collector_messages as c
from leeward._core import messages as m
from leeward._core.config import Config
from leeward._core.reached import Reached, from_text
from leeward._core.sinks import Spec
from leeward._sys import rings
from leeward._sys.bell import Bell
from leeward._sys.channel import Channel
from leeward._sys.ring import RingReader, RingWriter
from leeward._sys.rings import HEAD, TAIL
from leeward.errors import ChannelClosed

#: Lines of one writer at most.
MOST = 1 << 18
#: What is known of a line: nothing, it is being written, it was accepted, it was refused.
UNTRIED, TRIED, ACCEPTED, REFUSED = range(4)

LINE = re.compile(rb"<(\d+) (\d+) (\d+) ([0-9a-f]{8}) (x*)>\n")


def fork(body: Callable[[], object]) -> int:
    """A process that runs `body` and ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        body()
        status = 0
    except SystemExit:
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def line_of(writer: int, number: int, octets: int) -> bytes:
    """One that says itself whether it is whole."""
    padding = b"x" * max(0, octets - 30)
    head = b"%d %d %d" % (writer, number, len(padding))
    return b"<%s %08x %s>\n" % (head, zlib.crc32(head + padding), padding)


def _let_empty(writer: RingWriter, octets: int) -> None:
    """Wait until the collector has left no more than so many octets, for 0.1 s at most."""
    deadline = time.monotonic() + 0.1
    while writer.words[HEAD] - writer.words[TAIL] > octets and time.monotonic() < deadline:
        time.sleep(0.0005)


class Follower:
    """`leeward logs -f`: asks each collector for what comes after what it has seen."""

    def __init__(self) -> None:
        self.reached = Reached()
        self.text = ""
        self.errors: list[str] = []
        self._channel: Channel | None = None

    def ask(self, scene: Scene) -> None:
        """Beforehand all that came from the collector before is read."""
        self.read_all()
        self._channel, theirs = Channel.pair()
        asker = m.Descriptor(theirs.fileno())
        scene.tell(c.Tail(-1, True, -1, 0, asker, self.reached.to_text()))
        theirs.close()

    def read(self, timeout: float = 20.0) -> None:
        """One piece.  Raises ChannelClosed when the collector has let us go, or died."""
        assert self._channel is not None
        piece = self._channel.wait(timeout)
        assert isinstance(piece, m.Piece), "nothing came"
        self.text += piece.text
        self.errors += [piece.error] if piece.error else []
        self.reached.advance(from_text(piece.reached))

    def read_all(self) -> None:
        """Until the collector is dead."""
        if self._channel is not None:
            with contextlib.suppress(ChannelClosed):
                while True:
                    self.read()
            self._channel.close()
            self._channel = None


class Died(Exception):
    """The collector has ended."""


@dataclass
class Writer:
    number: int
    pid: int
    ring: int
    known: mmap.mmap
    reader: RingReader
    alive: bool = True
    drained: bool = False

    def states(self) -> bytes:
        return bytes(self.known[:]).rstrip(b"\0")


@dataclass
class Scene:
    """spec: where all write to.  lines: sizes to choose from."""

    spec: Spec
    rng: Random
    sizes: tuple[int, ...] = (30, 60, 120, 400, 2000)
    size: int = 1 << 20
    level: int = 20
    wait: float = 0.0
    #: Writers write in bursts, and let the ring be emptied between them; else they never pause.
    bursts: bool = False
    #: One whom each collector tells what it writes.
    follower: Follower | None = None
    #: Run in the collector before it begins.
    first: Callable[[], object] = lambda: None
    #: Rings that it is promised, and never gets.
    missing: int = 0
    writers: list[Writer] = field(default_factory=list)
    kills: int = 0

    def __post_init__(self) -> None:
        self.bell = Bell()
        self.channel: Channel | None = None
        self.collector = 0
        self.complaints: list[str] = []
        #: Numbers of the lines that files held, by their writer.
        self.found: defaultdict[int, array[int]] = defaultdict(lambda: array("I"))

    # --- writers ---------------------------------------------------------------------------

    def write(self, most: int = MOST, here: bool = False) -> Writer:
        """A process that writes as fast as it can, at most so many lines.

        here:  this one, for a few.
        """
        number = len(self.writers)
        fd = rings.create(self.size)
        known = mmap.mmap(-1, MOST)
        seed = self.rng.getrandbits(32)
        if here:
            self._write(number, fd, known, Random(seed), most)
        write = self._write
        pid = 0 if here else fork(lambda: write(number, fd, known, Random(seed), most))
        it = Writer(number, pid, fd, known, RingReader(fd), alive=not here)
        self.writers.append(it)
        if self.channel is not None:
            self.tell(c.Ring(number, number, 1, m.Descriptor(fd)))
        return it

    def _write(self, number: int, fd: int, known: mmap.mmap, rng: Random, most: int) -> None:
        writer = RingWriter(fd, self.bell.fd)
        sink = writer.sink(self.spec.to_json())
        left = 0
        for n in range(most):
            line = line_of(number, n, rng.choice(self.sizes))
            if self.bursts and left <= 0:
                # At full rate: now and then more than there is room for, as a rule less.
                left = int(writer.size * 1.2 * rng.random())
                _let_empty(writer, writer.size // 4)
            left -= len(line)
            known[n] = TRIED
            known[n] = ACCEPTED if writer.write(sink, self.level, line, self.wait) else REFUSED
            if known[n] == REFUSED:
                os.sched_yield()
        writer.close()

    def kill(self, writer: Writer) -> None:
        os.kill(writer.pid, signal.SIGKILL)
        self.end(writer)

    def end(self, writer: Writer) -> None:
        """It has ended, or does so by itself."""
        os.waitpid(writer.pid, 0)
        writer.alive = False
        self.tell_ended(writer)

    def tell_ended(self, writer: Writer) -> None:
        if self.channel is not None:
            self.tell(c.RingEnds(writer.number))

    # --- the collector ---------------------------------------------------------------------

    def collect(self) -> None:
        """Start one, which takes over from its predecessor."""
        ours, theirs = Channel.pair()

        def body() -> None:
            self.first()
            fd = os.dup(theirs.fileno())
            ours.close()
            run(fd)

        self.collector = fork(body)
        theirs.close()
        self.channel = ours
        held = [it for it in self.writers if not it.drained]
        config = Config("nothing").to_json()
        bell = m.Descriptor(self.bell.fd)
        many = len(held) + self.missing
        self.tell(c.Collect(config, bell, many))
        if self.follower is not None:
            self.follower.ask(self)
        for it in held:
            self.tell(c.Ring(it.number, it.number, 1, m.Descriptor(it.ring), not it.alive))

    def kill_collector(self) -> None:
        os.kill(self.collector, signal.SIGKILL)
        os.waitpid(self.collector, 0)
        self.hear()
        assert self.channel is not None
        self.channel.close()
        self.channel = None
        self.kills += 1

    def tell(self, message: m.Message) -> None:
        assert self.channel is not None
        with contextlib.suppress(ChannelClosed):  # it was killed
            self.channel.send(message)

    def hear(self) -> None:
        """What the collector has said so far."""
        assert self.channel is not None
        with contextlib.suppress(ChannelClosed):
            while messages := self.channel.receive():
                for message in messages:
                    self._heard(message)

    def _heard(self, message: m.Message) -> None:
        if isinstance(message, c.RingDrained):
            self.writers[message.worker].drained = True
        elif isinstance(message, c.Complaint):
            self.complaints.append(message.text)

    def wait_complaint(self, words: str, timeout: float = 20.0) -> str:
        deadline = time.monotonic() + timeout
        while not (found := [it for it in self.complaints if words in it]):
            self._wait_word(deadline, f"no word of {words!r} in {self.complaints}")
        return found[-1]

    def _wait_word(self, deadline: float, what: str) -> None:
        assert self.channel is not None
        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN)
        events = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        assert events, what
        self.hear()
        if events[0][1] & select.POLLHUP:
            raise Died(self.collector)

    def wait_drained(self, timeout: float = 60.0, only: list[Writer] | None = None) -> None:
        """Until everything of all writers, or of these, who have ended, is written."""
        deadline = time.monotonic() + timeout
        while any(not it.drained for it in only or self.writers):
            self._wait_word(deadline, f"not drained: {self.complaints}")

    def finish(self, timeout: float = 20.0) -> None:
        assert self.channel is not None
        self.tell(c.Finish(timeout))
        assert os.waitpid(self.collector, 0)[1] == 0
        self.hear()

    def close(self) -> None:
        for it in self.writers:
            if it.alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(it.pid, signal.SIGKILL)
                os.waitpid(it.pid, 0)
            it.reader.close()
            it.known.close()
            os.close(it.ring)
        if self.channel is not None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.collector, signal.SIGKILL)
                os.waitpid(self.collector, 0)
            self.channel.close()
        self.bell.close()

    # --- the reckoning -----------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Look at the lines of a file: each whole, and of each writer in order, none twice."""
        for writer, number in numbers(data):
            mine = self.found[writer]
            assert not mine or number > mine[-1], f"writer {writer}: doubled, or out of order"
            mine.append(number)

    def take_oldest(self, keep: int) -> None:
        """Look at all old files but the `keep` youngest, and remove them.

        While there is no collector: nobody renames them meanwhile.
        """
        assert self.channel is None
        for it in old_files(Path(self.spec.path))[:-keep]:
            self.take(_read(it))
            it.unlink()

    def check(
        self, came: Iterable[bytes] | None = None, twice: int = 0, gone: int = 0
    ) -> tuple[int, int]:
        """Accepted is written, once, whole and in order; what was refused was counted.

        came:   instead of what is in files.
        twice, gone:  of these at most so many lines of each writer came twice in a row, or
                      were lost by whoever took them.
        Returns how many lines were accepted and refused.
        """
        if came is None:
            for data in contents(Path(self.spec.path)):
                self.take(data)
        found = self.found
        for data in came or ():
            for writer, number in numbers(data):
                found[writer].append(number)
        accepted = refused = 0
        for it in self.writers:
            states = it.states()
            lines = list(found[it.number])
            if twice:
                once = [n for n, before in zip(lines, [-1, *lines], strict=False) if n != before]
                assert len(lines) - len(once) <= twice
                lines = once
            assert lines == sorted(set(lines)), f"writer {it.number}: doubled, or out of order"
            want = [n for n, state in enumerate(states) if state == ACCEPTED]
            doubt = [n for n, state in enumerate(states) if state == TRIED]
            assert len(doubt) <= 1
            lost = set(want) - set(lines)
            text = f"writer {it.number}: {len(lost)} lost: {sorted(lost)[:5]}"
            assert len(lost) <= gone, text
            assert set(lines) - set(want) <= set(doubt), f"writer {it.number}: out of nowhere"
            counted = sum(it.reader.refused())
            told = states.count(REFUSED)
            assert told <= counted <= told + len(set(doubt) - set(lines))
            accepted += len(want)
            refused += told
        return accepted, refused


def numbers(data: bytes) -> Iterator[tuple[int, int]]:
    """Writer and number of each line, which must be whole."""
    for line in data.splitlines(keepends=True):
        match = LINE.fullmatch(line)
        assert match, f"torn: {line[:200]!r}"
        head = b" ".join(match.group(1, 2, 3))
        assert int(match[4], 16) == zlib.crc32(head + match[5]), f"mangled: {line[:200]!r}"
        yield int(match[1]), int(match[2])


def old_files(path: Path) -> list[Path]:
    """Those that `path` was rotated to, the oldest first.

    One that a collector had just compressed when it was killed is there twice: it is left away.
    """
    found = {it.name: it for it in _beside(path)}
    old = [it for name, it in found.items() if it.suffix != ".part" and f"{name}.gz" not in found]
    return sorted(old, key=lambda it: _age(path, it.name))


def _beside(path: Path) -> list[Path]:
    return [
        it for it in path.parent.iterdir() if it.name.startswith(path.stem + ".") and it != path
    ]


def _age(path: Path, name: str) -> tuple[int, str]:
    """.2 is older than .1, and a file that was begun sooner is, too."""
    number = re.match(r"\.(\d+)", name.removeprefix(path.name))
    return (-int(number[1]) if number else 0), name


def _read(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def contents(path: Path) -> Iterator[bytes]:
    """The file and those that it was rotated to, the oldest first; no others are beside it."""
    old = old_files(path)
    assert sorted(_beside(path)) == sorted(old)
    yield from map(_read, old)
    if path.exists():
        yield path.read_bytes()
