"""The look of a line: the same for everybody, and safe for a terminal."""

import json
import os
import pty

import pytest

from leeward._sys.lines import OURS, Look, clean

WHO = {"worker": 2, "gen": 5, "pid": 4711}
WHEN = 1_800_000_000.25


@pytest.fixture
def terminal():
    master, slave = pty.openpty()
    yield slave
    os.close(master)
    os.close(slave)


def test_ours_are_said_without_a_name_and_others_with_theirs(tmp_path):
    """Identity, then the logger's name where it tells something."""
    fd = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)
    look = Look("pretty", fd)
    os.close(fd)
    ours = look.render(WHEN, "info", WHO, OURS, "ready")
    theirs = look.render(WHEN, "info", WHO, "tornado.access", "200 GET /")
    assert ours.endswith(".250 info     worker=2 gen=5 pid=4711 ready\n")
    assert theirs.endswith("worker=2 gen=5 pid=4711 tornado.access: 200 GET /\n")


def test_json_has_the_same_in_fields():
    """With the time in UTC, and what belongs to the record beside it."""
    line = Look("json", 2).render(WHEN, "error", WHO, OURS, "died\x1b[2J", "why\n  here")
    assert json.loads(line) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "error",
        **WHO,
        "logger": "leeward",
        "message": "died\x1b[2J",
        "detail": "why\n  here",
    }
    assert "\x1b" not in line


def test_colours_are_for_terminals_that_want_them(terminal, monkeypatch):
    """Never in a file or pipe, and not with NO_COLOR."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31m" in Look("auto", terminal).render(WHEN, "error", {}, OURS, "no")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in Look("auto", terminal).render(WHEN, "error", {}, OURS, "no")
    assert not Look("json", terminal).colour
    assert not Look("auto", 1_000_000).colour  # closed


def test_the_journal_stamps_its_lines_itself(tmp_path, terminal, monkeypatch):
    """JOURNAL_STREAM: no second time stamp; a terminal is never the journal."""
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    fd = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)
    assert Look("auto", fd).render(WHEN, "info", {}, OURS, "up") == "info     up\n"
    assert Look("auto", terminal).stamped
    os.close(fd)


@pytest.mark.parametrize("code", [*range(0x20), 0x7F, *range(0x80, 0xA0), 0x2028, 0x2029])
def test_nothing_steers_a_terminal_or_ends_a_line(code):
    """C0, DEL, C1 and the Unicode line ends are escaped; a tab is a tab."""
    text = clean(f"a{chr(code)}b")
    assert text == "a\tb" if code == 0x09 else chr(code) not in text and text[0] + text[-1] == "ab"
