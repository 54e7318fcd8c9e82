"""The access log of a real worker: one line a request, on every engine, to the last one."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import threading

import pytest
from worker.combined import COMBINED
from worker.conftest import EVERY_ENGINE

BOTH_ENGINES = pytest.mark.parametrize(
    "served_by", [{"engine": "leeward"}, {"engine": "tornado"}], ids=str, indirect=True
)

REQUESTS = re.compile(r"tornado\.access: (\d+) GET (\S+) \(127\.0\.0\.1\) \d+\.\d\dms$", re.M)


def told(one):
    """(status, URI) of each line."""
    return [(int(status), uri) for status, uri in REQUESTS.findall(one.log())]


def ended(one, code=0):
    """Its log is complete."""
    one.drain()
    assert one.ended() == code
    return one


@EVERY_ENGINE
def test_one_request_is_one_line(serving):
    one = serving()
    client = one.connect()
    asked = ["/", "/nothing", "/slow?s=0", "/slow?s=0&early=1", "/slow", "/?" + "x" * 5000]
    statuses = [client.get(path)[0] for path in asked]
    assert statuses == [200, 404, 200, 200, 400, 200]
    one.connect().upgrade()
    assert told(ended(one)) == [*zip(statuses, asked, strict=True), (101, "/ws")]
    for line in one.log().splitlines():
        if "websocket closed" not in line:  # the application's own
            assert f"worker=2 gen=5 pid={one.pid} " in line
    assert re.search(r" warning  worker=2 gen=5 pid=\d+ tornado.access: 404 GET ", one.log())


def test_it_is_no_acceleration(serving):
    """--no-accelerate leaves format and sizes as they are."""
    one = serving(accelerate=False, access_log_format="combined")
    one.connect().get("/")
    one.connect().get("/slow?s=0&early=1")
    found = [it for it in map(COMBINED.fullmatch, ended(one).log().splitlines(True)) if it]
    assert [it["size"] for it in found] == ["12", "14"]


@BOTH_ENGINES
def test_pipelined_requests_are_told_in_order(serving):
    one = serving()
    client = one.connect()
    paths = [f"/?{n}" for n in range(300)]
    client.sock.sendall(b"".join(f"GET {it} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for it in paths))
    for _ in paths:
        assert client.answer()[0] == 200
    assert told(ended(one)) == [(200, it) for it in paths]


@BOTH_ENGINES
def test_combined_as_it_comes_over_the_wire(serving):
    one = serving(access_log_format="combined")
    client = one.connect()
    agent = 'a "quoted" \\ agent'
    client.get("/", Referer="http://x/?a=b", User_Agent=agent)
    client.sock.sendall(
        b"GET /\xff\xe9\xc2\x80 HTTP/1.1\r\nHost: x\r\nUser-Agent: \x80\x9b31m\xff\t.\r\n\r\n"
    )
    client.answer()
    client.send("/", version="1.0")
    client.answer()
    client.sock.close()
    lines = ended(one).log().splitlines(keepends=True)
    found = [it for it in map(COMBINED.fullmatch, lines) if it]
    assert [(it["host"], it["status"], it["size"]) for it in found] == [
        ("127.0.0.1", "200", "12"),
        ("127.0.0.1", "404", found[1]["size"]),
        ("127.0.0.1", "200", "12"),
    ]
    assert found[0]["referer"] == "http://x/?a=b"
    assert found[0]["agent"] == r"a \"quoted\" \\ agent"
    assert found[1]["asked"] == r"GET /\xff\xe9\xc2\x80 HTTP/1.1"
    assert found[1]["agent"] == r"\x80\x9b31m\xff\t."
    assert found[2]["asked"] == "GET / HTTP/1.0" and found[2]["agent"] == "-"


@BOTH_ENGINES
def test_json_as_it_comes_over_the_wire(serving):
    one = serving(access_log_format="json")
    one.connect().get('/?a="\\', User_Agent="curl/8")
    [record] = [json.loads(line) for line in ended(one).log().splitlines() if line[0] == "{"]
    assert record["uri"] == '/?a="\\' and record["user_agent"] == "curl/8"
    assert (record["worker"], record["gen"], record["pid"]) == (2, 5, one.pid)
    assert (record["status"], record["bytes"]) == (200, len("hello from 2"))


def test_the_engine_counts_what_is_sent_in_pieces(serving):
    one = serving(access_log_format="json")
    one.connect().get("/slow?s=0&early=1")
    [record] = [json.loads(line) for line in ended(one).log().splitlines() if line[0] == "{"]
    assert record["bytes"] == len("part one, slow")


# --- whose it is ---------------------------------------------------------------------------------


@BOTH_ENGINES
@pytest.mark.parametrize("factory", ["logs_requests_itself", "overrides_log_request"])
def test_the_application_s_own_way_is_the_only_one(serving, factory):
    one = serving(factory)
    client = one.connect()
    client.get("/")
    client.get("/nothing")
    log = ended(one).log()
    assert re.findall(r"^mine: .*$", log, re.M) == ["mine: 200 /", "mine: 404 /nothing"]
    assert "tornado.access" not in log


def test_an_override_decides_which_are_told(serving):
    one = serving("hides_one_path")
    client = one.connect()
    for path in ("/loop", "/", "/loop"):
        client.get(path)
    assert told(ended(one)) == [(200, "/")]


@pytest.mark.parametrize("form", ["auto", "combined"])
def test_an_application_that_configures_logging_wins(serving, form):
    one = serving("logs_by_itself", access_log_format=form)
    one.connect().get("/")
    log = ended(one).log()
    assert re.findall(r"^mine: 200 GET / \(127.0.0.1\) .*$", log, re.M)
    assert log.count("200 GET /") == 1
    assert "tornado.access" not in log and '"GET /' not in log


def test_none_is_written_where_none_is_wanted(serving):
    one = serving(access_log=False)
    one.connect().get("/nothing")
    one.connect().get("/log?what=here")
    log = ended(one).log()
    assert "tornado.access" not in log and "app.sub: from here" in log


def test_the_level_hides_what_is_below_it(serving):
    one = serving(log_level="warning")
    client = one.connect()
    client.get("/")
    client.get("/nothing")
    assert told(ended(one)) == [(404, "/nothing")]


# --- the end -------------------------------------------------------------------------------------


@EVERY_ENGINE
def test_what_is_answered_before_sys_exit_is_told(serving):
    one = serving()
    client = one.connect()
    client.get("/")
    client.send("/last")
    one.channel.wait(15.0)
    assert one.ended() == 3
    assert told(one) == [(200, "/"), (200, "/last")]


@EVERY_ENGINE
def test_what_is_answered_before_the_loop_stops_is_told(serving):
    one = serving()
    one.connect().get("/stop")
    assert one.ended() == 0
    assert told(one) == [(200, "/stop")]


def test_requests_stand_before_what_is_logged_after_them(serving):
    one = serving()
    client = one.connect()
    client.sock.sendall(
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /log?what=here HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    client.answer()
    client.answer()
    lines = re.findall(r"200 GET /\S*|from here", ended(one).log())
    assert lines == ["200 GET /", "from here", "200 GET /log?what=here"]


def test_a_forked_child_writes_nothing_of_its_worker_s(serving):
    """It is forked while a line waits for the end of the turn."""
    one = serving()
    client = one.connect()
    for _ in range(5):
        client.sock.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /fork?how=fork HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        client.answer()
        client.answer()
    assert told(ended(one)) == [(200, "/"), (200, "/fork?how=fork")] * 5


# --- nobody reads --------------------------------------------------------------------------------


@pytest.fixture
def into():
    """`into(fd)`: have a worker's stderr be `fd`."""
    return lambda fd: lambda: os.dup2(fd, 2)


@pytest.mark.parametrize("how", ["full pipe", "closed pipe", "full socket", "full disk"])
def test_a_stderr_that_takes_nothing_costs_no_request(serving, into, how):
    """800 requests, 400 kB of lines: more than a pipe or a socket holds."""
    if how == "full socket":
        ours, theirs = (it.detach() for it in socket.socketpair())
    elif how == "full disk":
        ours, theirs = os.open(os.devnull, os.O_RDONLY), os.open("/dev/full", os.O_WRONLY)
    else:
        ours, theirs = os.pipe()
    one = serving(limit=into(theirs))
    if how == "closed pipe":
        os.close(ours)
    client = one.connect()
    for _ in range(800):
        assert client.get("/?" + "x" * 500)[0] == 200
    if not how.startswith("closed"):
        os.close(ours)
    os.close(theirs)
    ended(one)


def test_a_reader_that_comes_back_hears_of_what_was_lost(serving, into):
    ours, theirs = os.pipe()
    one = serving(limit=into(theirs))
    client = one.connect()
    # A line of 60 kB each: 4 MB, where 2 MB wait.
    for _ in range(64):
        assert client.get("/?" + "x" * 60_000)[0] == 200
    text = ""
    while not re.search(r"\d+ log lines lost \(nobody reads\): \d+ of requests\n", text):
        assert select.select([ours], [], [], 15.0)[0], text[-500:]
        text += os.read(ours, 65536).decode()
    lost = int(re.search(r"(\d+) log lines lost", text)[1])
    assert lost + len(re.findall(r"tornado\.access: 200 GET /\?x{60000} ", text)) == 64
    assert f"warning  worker=2 gen=5 pid={one.pid} {lost} log lines lost" in text
    os.close(theirs)
    ended(one)
    os.close(ours)


@EVERY_ENGINE
def test_lines_that_wait_at_a_stop_are_waited_for(serving, into):
    """300 kB, where a pipe holds 64, and a reader that comes as late as it can."""
    ours, theirs = os.pipe()
    one = serving(limit=into(theirs))
    os.close(theirs)
    client = one.connect()
    for n in range(300):
        client.get(f"/?{n}-{'x' * 1000}")
    client.sock.close()
    got = []
    reader = threading.Thread(
        target=lambda: got.extend(iter(lambda: os.read(ours, 1 << 20), b"")), daemon=True
    )
    one.drain()
    reader.start()
    assert one.ended() == 0
    reader.join(15.0)
    os.close(ours)
    told = re.findall(r"tornado\.access: 200 GET /\?(\d+)-x{1000} ", b"".join(got).decode())
    assert told == [str(n) for n in range(300)]
