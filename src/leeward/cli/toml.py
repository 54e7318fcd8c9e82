"""Which line of a TOML document a key stands on.

`tomllib` says what a document means and not where; an error without a line
sends a person searching.  `key_lines` walks over a document that `tomllib` has
already accepted, so it may trust the syntax and needs to know only four things:
strings (four kinds), comments, brackets, and dotted or quoted keys.

Searching for the key by regular expression does not work: the same words stand
in comments, in multi-line strings and in other tables.
"""

from __future__ import annotations

import tomllib

Path = tuple[str, ...]


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
        line = self.text.count("\n", 0, self.at) + 1
        path = table
        while True:
            self.skip_blank()
            start = self.at
            if self.text[self.at] in "\"'":
                self.string()
                path += (tomllib.loads(f"k={self.text[start : self.at]}")["k"],)
            else:
                while self.text[self.at] not in " \t.=]":
                    self.at += 1
                path += (self.text[start : self.at],)
            self.skip_blank()
            if self.text[self.at] != ".":
                break
            self.at += 1
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
