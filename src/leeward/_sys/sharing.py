"""What a log handler has in place of a file that it must not write to by itself.

    in a worker      each flush is one record for the collector, by the ring
    without a ring   one append to the file: in the zygote, in what a worker's application
                     forks, where the kernel had no memory for a ring

`logging` writes a record and flushes, and so does whatever derives from it.
"""

from __future__ import annotations

import codecs
import contextlib
import sys

from leeward._sys import funnel
from leeward._sys.appending import Appender, StandardError
from leeward._sys.ring import TableFull

#: Of a record whose level nobody told, as `logging` numbers it.
_INFO = 20
#: Of levels that have room in a record of the ring: applications make their own.
_HIGHEST = (1 << 16) - 1
#: Each record is encoded by itself: by these it would begin with a mark of the byte order.
_WITHOUT_MARK = {
    "utf-8-sig": "utf-8",
    "utf-16": f"utf-16-{sys.byteorder[0]}e",
    "utf-32": f"utf-32-{sys.byteorder[0]}e",
}
#: Characters that are not kept for a flush that does not come.
_MOST = 1 << 16


class SharedStream:
    """A text stream that ends in a file which other processes write to as well.

    path:   of the file; "" for stderr.
    spec:   of the sink, for the collector; b"": the ring is not used.
    level:  of the record that is being written, to be set before it is.
    """

    mode = "a"
    newlines = None
    closed = False

    def __init__(self, path: str, spec: bytes, encoding: str | None, errors: str | None) -> None:
        self.name = path
        self.spec = spec
        self.encoding = encoding if encoding not in (None, "locale") else _locale()
        self.errors = errors or "strict"
        self._octets_as = _WITHOUT_MARK.get(codecs.lookup(self.encoding).name, self.encoding)
        self.level = _INFO
        self._parts: list[str] = []
        self._size = 0
        self._appender = Appender(path) if path else StandardError()
        self._sink = -1
        self._funnel: funnel.Funnel | None = None

    def write(self, text: str) -> int:
        self._parts.append(text)
        self._size += len(text)
        if self._size > _MOST:
            self.flush()
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        """Have it leave.  Raises OSError where it goes to the file, and UnicodeError."""
        if parts := self._parts:
            # A signal's handler may write meanwhile: to the new list, and flush that.
            self._parts, self._size = [], 0
            self._put("".join(parts).encode(self._octets_as, self.errors))

    def _put(self, data: bytes) -> None:
        way = funnel.current()
        if way is None or not self.spec:
            self._appender.write(data)
            return
        if len(data) > way.longest:
            try:
                self._appender.write(data)
            except OSError:  # said by the collector, whose file it is
                way.unwritten()
            return
        if way is not self._funnel:
            try:
                self._sink, self._funnel = way.sink(self.spec), way
            except TableFull:
                self.spec = b""  # the file is appended to, and nobody rotates it
                self._appender.write(data)
                return
            self._appender.close()
        way.put(
            self._sink, min(max(self.level, 0), _HIGHEST), data
        )  # what is refused the ring has counted

    def close(self) -> None:
        self.flush()
        self._appender.close()

    def abandon(self) -> None:
        """In a forked process: what was not flushed is the parent's."""
        self._parts, self._size = [], 0
        self._appender.close()

    def fileno(self) -> int:
        """Of the file itself, for what writes to a descriptor: it appends too."""
        return self._appender.fileno()

    def isatty(self) -> bool:
        return False

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0) -> int:
        """For the handlers of Python 3.11 and 3.12, which go to the end before they look."""
        return self.tell()

    def tell(self) -> int:
        """So little that no record makes it too much: not the handler rotates this file."""
        return -sys.maxsize


def _locale() -> str:
    import locale

    return locale.getencoding()


def reachable(path: str) -> None:
    """Make the file, as opening it would.  Raises OSError."""
    appender = Appender(path)
    appender.fileno()
    with contextlib.suppress(OSError):
        appender.close()
