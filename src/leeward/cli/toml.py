"""Reads a TOML file: what it means, and which line of it a key stands on.

Whatever is wrong with the file is a `UsageError` with the file, and with the line where
there is one.

`tomllib` says what a document means and not where; an error without a line
sends a person searching.  `key_lines` walks over a document that `tomllib` has
already accepted, so it may trust the syntax and needs to know only four things:
strings (four kinds), comments, brackets, and dotted or quoted keys.

Searching for the key by regular expression does not work: the same words stand
in comments, in multi-line strings and in other tables.
"""

from __future__ import annotations

import re
import sys
import tomllib
from typing import Any

from leeward.cli import regular
from leeward.errors import UsageError

Path = tuple[str, ...]

#: Parts of a path of which each gets its line, those of tool.leeward.KEY: of a key with 20,000
#: parts all paths would take 1.6 GB.
_NOTED = 3

#: Bytes.  A file with every setting and its manual has 40 KiB; `tomllib` takes a second for
#: 1 MiB, and a reload waits for it.
MOST = 1024 * 1024

#: What brackets and digits stand in that mean nothing; brackets; and numbers.
_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|\#[^\n]*'''
    r"|(?P<opens>[\[{])|(?P<closes>[\]}])|(?P<digits>[0-9][0-9_]*)",
    re.DOTALL,
)


def text_of(path: str, shown: str) -> str:
    """The text of the file at `path`; `shown` is its name in messages."""
    try:
        data = regular.read(path, MOST)
    except OSError as error:
        raise UsageError(f"{shown}: {error.strerror}") from None
    if len(data) > MOST:
        raise UsageError(f"{shown}: more than {MOST >> 20} MiB, no file of settings is")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{shown}:{line}: not UTF-8 ({error.reason})") from None
    # An end of line is one character from here on, however it is written.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def document_of(text: str, shown: str) -> dict[str, Any]:
    """What `text` means."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"(.*) \(at line (\d+), column (\d+)\)", str(error))
        if match is None:  # "at end of document"
            last = text.removesuffix("\n").count("\n") + 1
            raise UsageError(f"{shown}:{last}: not TOML: {error}") from None
        raise UsageError(f"{shown}:{match[2]}: not TOML: {match[1]} (column {match[3]})") from None
    except RecursionError:
        line = _deepest(text)
        raise UsageError(f"{shown}:{line}: brackets within brackets, more than are read") from None
    except ValueError:  # int() reads 4300 digits, and tomllib leaves its complaint as it is
        line = _longest(text)
        raise UsageError(
            f"{shown}:{line}: expected a whole number that 64 bits hold, found one of more than "
            f"{sys.get_int_max_str_digits()} digits"
        ) from None


def _deepest(text: str) -> int:
    """The line on which most brackets are open."""
    depth = most = place = 0
    for token in _TOKEN.finditer(text):
        depth += (token["opens"] is not None) - (token["closes"] is not None)
        if depth > most:
            most, place = depth, token.start()
    return text.count("\n", 0, place) + 1


def _longest(text: str) -> int:
    """The line of the number with most digits."""
    digits = (token for token in _TOKEN.finditer(text) if token["digits"])
    longest = max(digits, key=lambda token: len(token["digits"]), default=None)
    return text.count("\n", 0, longest.start()) + 1 if longest else 1


def key_lines(text: str) -> dict[Path, int]:
    """1-based line of each key and table header, by its full dotted path.

    Keys of inline tables are found too.  `text` must be valid TOML.
    """
    # As tomllib reads it: CRLF is one line's end.
    walk = _Walk(text.replace("\r\n", "\n"))
    walk.document()
    return walk.lines


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        #: The line of `counted`; keys are met from the top, so no line is counted twice.
        self.line = 1
        self.counted = 0
        self.lines: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        while self.skip_blank():
            if self.text[self.at] == "[":
                while self.text[self.at] == "[":
                    self.at += 1
                table = self.key(())
                while self.text.startswith("]", self.at):
                    self.at += 1
            else:
                self.pair(table)

    def pair(self, table: Path) -> None:
        path = self.key(table)
        self.at += 1  # "="
        self.value(path)

    def key(self, table: Path) -> Path:
        """Reads a dotted key up to "=" or "]" and notes its line."""
        self.skip_blank()
        # From the top each time, 80,000 keys took 10 s.
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        line = self.line
        parts = list(table)
        while True:
            self.skip_blank()
            start = self.at
            if self.text[self.at] in "\"'":
                self.string()
                parts.append(tomllib.loads(f"k={self.text[start : self.at]}")["k"])
            else:
                while self.text[self.at] not in " \t.=]":
                    self.at += 1
                parts.append(self.text[start : self.at])
            self.skip_blank()
            if self.text[self.at] != ".":
                break
            self.at += 1
        # In a.b.c = 1 stands a as well.
        for depth in range(len(table) + 1, min(len(parts), _NOTED + 1)):
            self.lines.setdefault(tuple(parts[:depth]), line)
        path = tuple(parts)
        self.lines.setdefault(path, line)
        return path

    def value(self, path: Path) -> None:
        self.skip_blank()
        first = self.text[self.at]
        if first in "\"'":
            self.string()
        elif first in "[{":
            self.at += 1
            while self.skip_blank() and self.text[self.at] not in "]}":
                if self.text[self.at] == ",":
                    self.at += 1
                elif first == "{":
                    self.pair(path)
                else:
                    self.value(path)
            self.at += 1
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}\n#":
                self.at += 1

    def string(self) -> None:
        quote = self.text[self.at]
        end = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(end)
        while not self.text.startswith(end, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(end)
        # Up to two quotes may stand directly before the closing three.
        while len(end) == 3 and self.text.startswith(quote, self.at):
            self.at += 1

    def skip_blank(self) -> bool:
        """Moves over white space and comments; False at the end of the document."""
        while self.at < len(self.text):
            if self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif self.text[self.at] in " \t\r\n":
                self.at += 1
            else:
                return True
        return False
