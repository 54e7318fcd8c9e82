"""A line of the access log: what it says, and that nothing which a client sent leaves its field."""

from __future__ import annotations

import datetime
import json
import locale
import logging
import os
import time
from types import SimpleNamespace

import pytest
from tornado.httputil import HTTPHeaders
from worker.combined import COMBINED

from leeward._sys.lines import Look
from leeward._worker.access import formats
from leeward._worker.logs import Log, Printer

IDENTITY = {"worker": 2, "gen": 5, "pid": 4711}
NOW = 1_700_000_000.25

EVERY_OCTET = "".join(map(chr, range(256)))
HOSTILE = [
    EVERY_OCTET,
    '/" 200 12 "-" "-"\n127.0.0.1 - - [x] "GET /forged HTTP/1.1" 200 1 "-" "-"',
    "\\",
    '\\"',
    '\\\\"\\n',
    '","status":500,"x":"',
    "\x1b]0;owned\x07\x1b[2J",
    "\r\n\r\n",
    "\u2028\u2029\x85\x9b31m",
    "caf\xc3\xa9",
    "\udce9\ud800 \U0001f600 \u202e",
    "",
]


def request(uri="/x?y=1", **changed):
    headers = HTTPHeaders()
    for name in ("Referer", "User-Agent"):
        key = name.lower().replace("-", "_")
        if key in changed:  # as the application might see it: Tornado's own check is passed by
            headers._as_list[name] = [changed[key]]
            # What is looked up has another name in 6.4.
            vars(headers).get("_combined_cache", vars(headers).get("_dict"))[name] = changed[key]
    return SimpleNamespace(
        method=changed.get("method", "GET"),
        uri=uri,
        version="HTTP/1.1",
        remote_ip=changed.get("remote_ip", "10.0.0.7"),
        headers=headers,
    )


def line(form, asked, *, level="info", status=200, seconds=0.0015, size=12, now=NOW):
    made = formats.make(form, Look("pretty", -1), IDENTITY)
    return made(now, level, status, asked, seconds, size)


@pytest.fixture
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# --- pretty --------------------------------------------------------------------------------------


@pytest.mark.parametrize("uri", [*HOSTILE, "/plain", "/tab\there", "/nbsp\xa0soft\xad"])
@pytest.mark.parametrize(
    ("level", "status"), [("info", 200), ("warning", 404), ("error", 500), ("info", 101)]
)
def test_pretty_is_the_line_that_logging_would_have_printed(uri, level, status):
    """The same characters as the handler on the root logger makes of Tornado's record."""
    log = Log(2, 5, "info", "pretty", -1)
    printed = []
    log.write = lambda text, level: printed.append(text)
    number = logging.getLevelNamesMapping()[level.upper()]
    words = ("%d %s %.2fms", (status, f"GET {uri} (10.0.0.7)", 1.5))
    record = logging.LogRecord("tornado.access", number, __file__, 1, *words, None)
    record.created = NOW
    Printer(log).emit(record)
    made = formats.make("auto", log.look, log.identity())
    assert [made(NOW, level, status, request(uri), 0.0015, 0)] == printed


def test_pretty_is_coloured_as_the_other_lines_are(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, theirs = os.openpty()
    look = Look("auto", theirs)
    assert look.colour
    made = formats.make("pretty", look, IDENTITY)
    assert "\x1b[33mwarning " in made(NOW, "warning", 404, request(), 0.1, 0)
    assert "\x1b" not in made(NOW, "info", 200, request("/\x1b[31m"), 0.1, 0)
    os.close(ours)
    os.close(theirs)


def test_pretty_is_not_stamped_for_the_journal(monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    assert line("pretty", request()).startswith("info     worker=2 gen=5 pid=4711 tornado.access: ")


# --- json ----------------------------------------------------------------------------------------


def test_json_has_each_part_as_a_field():
    asked = request("/x", referer="https://a.example/", user_agent="curl/8")
    assert json.loads(line("json", asked, level="warning", status=404)) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "worker": 2,
        "gen": 5,
        "pid": 4711,
        "logger": "tornado.access",
        "message": "404 GET /x (10.0.0.7) 1.50ms",
        "status": 404,
        "method": "GET",
        "uri": "/x",
        "version": "HTTP/1.1",
        "remote_ip": "10.0.0.7",
        "duration_ms": 1.5,
        "bytes": 12,
        "referer": "https://a.example/",
        "user_agent": "curl/8",
    }


def test_json_says_null_for_what_is_not_there():
    record = json.loads(line("json", request(), size=formats.UNKNOWN))
    assert (record["bytes"], record["referer"], record["user_agent"]) == (None, None, None)
    assert json.loads(line("json", request(user_agent="", referer="")))["user_agent"] == ""


@pytest.mark.parametrize("text", HOSTILE)
def test_json_gives_back_what_was_sent(text):
    made = line("json", request(text, referer=text, user_agent=text, method=text, remote_ip=text))
    record = json.loads(made)
    for name in ("uri", "referer", "user_agent", "method", "remote_ip"):
        assert record[name] == text
    assert record["message"] == f"200 {text} {text} ({text}) 1.50ms"
    assert made.isascii() and made[:-1].isprintable() and made[-1] == "\n"


@pytest.mark.parametrize("form", ["pretty", "json"])
def test_each_second_has_its_own_stamp(form):
    look = Look("pretty", -1)
    made = formats.make(form, look, IDENTITY)
    for now in (NOW, NOW + 1, NOW + 60, NOW):
        fresh = formats.make(form, look, IDENTITY)
        again = made(now, "info", 200, request(), 0.1, 1)
        assert again == fresh(now, "info", 200, request(), 0.1, 1)


def test_auto_is_as_the_other_lines_are():
    assert isinstance(formats.make("auto", Look("json", -1), IDENTITY), formats.Json)
    assert isinstance(formats.make("auto", Look("auto", -1), IDENTITY), formats.Pretty)
    assert isinstance(formats.make("pretty", Look("json", -1), IDENTITY), formats.Pretty)
    assert isinstance(formats.make("combined", Look("json", -1), IDENTITY), formats.Combined)


# --- combined ------------------------------------------------------------------------------------


def test_combined_is_apaches(berlin):
    """Its own example, but for the name of the user; the time is that of the request."""
    asked = request(
        "/apache_pb.gif",
        referer="http://www.example.com/start.html",
        user_agent="Mozilla/4.08 [en] (Win98; I ;Nav)",
        remote_ip="127.0.0.1",
    )
    assert line("combined", asked, size=2326, seconds=3.0, now=971_211_339.5) == (
        '127.0.0.1 - - [10/Oct/2000:22:55:36 +0200] "GET /apache_pb.gif HTTP/1.1" 200 2326 '
        '"http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)"\n'
    )


def test_combined_has_an_address_without_spaces():
    """One that an application made up."""
    assert line("combined", request(remote_ip="10.0.0.7, 10.0.0.8")).startswith(
        "10.0.0.7,\\x2010.0.0.8 - - ["
    )


@pytest.mark.parametrize("size", [0, formats.UNKNOWN])
def test_combined_has_a_dash_for_no_body_and_no_header(size):
    found = COMBINED.fullmatch(line("combined", request(), size=size))
    assert found is not None
    assert (found["size"], found["referer"], found["agent"]) == ("-", "-", "-")


def test_combined_stamps_each_second_on_its_own(berlin):
    """Also across the change of the clocks, and for more seconds than are kept."""
    made = formats.Combined()
    change = 1_698_541_200  # 2023-10-29 03:00 +0200 becomes 02:00 +0100
    for second in (*range(change - 150, change + 150), change - 1, change):
        text = COMBINED.fullmatch(made(second + 0.1, "info", 200, request(), 0.0, 1))["time"]
        then = datetime.datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z")
        assert then.timestamp() == second
        assert text.endswith("+0200" if second < change else "+0100")


@pytest.mark.parametrize(("zone", "written"), [("IST-5:30", "+0530"), ("NST3:30", "-0330")])
def test_combined_knows_zones_of_half_an_hour(monkeypatch, zone, written):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert f" {written}] " in line("combined", request())
    finally:
        monkeypatch.undo()
        time.tzset()


def test_combined_keeps_to_english_months():
    made = formats.Combined()
    before = locale.setlocale(locale.LC_TIME)
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8"):
        try:
            locale.setlocale(locale.LC_TIME, name)
        except locale.Error:
            continue
        break
    try:
        assert "/May/2023:" in made(1_684_000_000.0, "info", 200, request(), 0.0, 1)
    finally:
        locale.setlocale(locale.LC_TIME, before)


@pytest.mark.parametrize("text", HOSTILE)
def test_combined_keeps_each_field_to_itself(text):
    asked = request(text, referer=text, user_agent=text, remote_ip=text or "-")
    made = line("combined", asked)
    assert made.isascii() and made[:-1].isprintable()
    found = COMBINED.fullmatch(made)
    assert found is not None, made
    assert found["asked"].startswith("GET ") and found["asked"].endswith(" HTTP/1.1")
    assert (found["status"], found["size"]) == ("200", "12")


def test_combined_escapes_octets_as_apache_does():
    found = COMBINED.fullmatch(line("combined", request(EVERY_OCTET)))
    assert found is not None
    uri = found["asked"].removeprefix("GET ").removesuffix(" HTTP/1.1")
    assert uri.startswith(r"\x00\x01\x02\x03\x04\x05\x06\x07\b\t\n\v\x0c\r\x0e")
    assert r"!\"#" in uri and r"[\\]" in uri and r"~\x7f\x80\x81" in uri and uri.endswith(r"\xff")
    back = uri.encode().decode("unicode_escape")
    assert back == EVERY_OCTET
