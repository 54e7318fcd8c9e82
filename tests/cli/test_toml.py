"""leeward.cli.toml: the line of every key, whatever stands around it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeward.cli.toml import key_lines

DOCUMENT = '''\
# workers = 1
title = """
workers = 2
[tool.leeward]
"""
[tool.other]
workers = 3 # [tool.leeward]
list = [ "a]", # workers = 4
  'b', {workers = 5},
]

[tool . "leeward"]
text = "a \\" # \\\\"
literal = 'c:\\'
multi = \'\'\'
workers = 6
it''s "quoted"\'\'\'\'
"bind" = [
  "127.0.0.1:8000",
]
'uds-mode' = "660"
log.level = "info"
inline = { a = 1, "b c" = { d = [1, 2] } }
workers = 7
[[things]]
x = 1
[[things]]
y = 1'''


def test_a_key_is_found_where_it_stands_and_not_in_strings_comments_or_other_tables() -> None:
    tomllib.loads(DOCUMENT)
    lines = key_lines(DOCUMENT)
    for path, words in {
        ("tool", "leeward", "workers"): "workers = 7",
        ("tool", "other", "workers"): "workers = 3 ",
        ("tool", "leeward", "bind"): '"bind" = [',
        ("tool", "leeward", "uds-mode"): "'uds-mode'",
        ("tool", "leeward", "log", "level"): "log.level",
        ("tool", "leeward", "inline", "b c", "d"): "inline =",
        ("title",): 'title = """',
        ("things", "y"): "y = 1",
    }.items():
        assert DOCUMENT.split("\n")[lines[path] - 1].startswith(words), path


@pytest.mark.parametrize("text", ["", "\n", "# only", "a=1", "a = 1\r\nb = 2\r\n", "[t]", "[t]\n"])
def test_small_documents_are_walked_to_their_end(text: str) -> None:
    tomllib.loads(text)
    key_lines(text)


def test_windows_line_ends_count_once() -> None:
    assert key_lines("a = 1\r\n\r\nb = 2\r\n") == {("a",): 1, ("b",): 3}


KEYS = st.from_regex(r"[A-Za-z0-9_-]{1,5}", fullmatch=True)
VALUES = st.sampled_from(
    [
        "1",
        "0x1F",
        "-1.5e3",
        "true",
        "1979-05-27 07:32:00",
        '"#]}"',
        "'\\'",
        '"""\n]"#\n"""',
        '""""two quotes"""""',
        "'''\n'#\n''''",
        "[]",
        "[ [1], # ]\n [2] ]",
        "{ }",
        '{ a.b = [1, "}"], c = 2 }',
        '"\\\\"',
    ]
)


@given(st.lists(st.tuples(KEYS, VALUES, st.sampled_from(["", " # c = 1", "\n\n# [t]"]))))
def test_every_key_of_any_valid_document_has_its_line(entries: list[tuple[str, str, str]]) -> None:
    lines: list[str] = []
    where: dict[str, int] = {}
    for key, value, after in entries:
        if key not in where:
            where[key] = "\n".join([*lines, ""]).count("\n") + 1 if lines else 1
            lines.append(f"{key} = {value}{after}")
    text = "\n".join(lines)
    document: dict[str, Any] = tomllib.loads(text)
    found = key_lines(text)
    assert {path[0]: line for path, line in found.items() if len(path) == 1} == where
    assert set(document) == set(where)
