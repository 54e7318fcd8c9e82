"""Every line carries the identity, nothing is printed twice, nothing breaks a request."""

from __future__ import annotations

import contextlib
import json
import logging
import os

import pytest

from leeward._worker import logs


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue


@contextlib.contextmanager
def bare_root():
    """The root logger as an application finds it, without pytest's handlers."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    root.setLevel(logging.WARNING)
    try:
        yield root
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def test_the_applications_records_carry_the_identity(serving):
    one = serving()
    one.connect().get("/log?what=here")
    one.expect(rf"warning  worker=2 gen=5 pid={one.pid} app.sub: from here$")


def test_an_application_that_configures_logging_wins(serving):
    one = serving("logs_by_itself")
    one.connect().get("/log?what=here")
    one.expect("^mine: from here$")
    assert one.log().count("from here") == 1


def test_nothing_is_printed_twice(serving):
    one = serving("logs_below_the_root")
    one.connect().get("/log?what=here")
    one.expect("^below: from here$")
    one.expect("tornado.access: 200 GET /log")
    assert one.log().count(" from here") == 1


def test_json_is_one_object_a_line(serving):
    one = serving(log_format="json")
    one.connect().get("/log?what=a%0Ab")
    one.expect("a.nb")
    for line in one.log().strip().split("\n"):
        record = json.loads(line)
        assert (record["worker"], record["gen"], record["pid"]) == (2, 5, one.pid)
    assert {"time", "level", "logger", "message"} <= set(record)


def test_a_level_hides_what_is_below_it(serving):
    one = serving(log_level="error")
    client = one.connect()
    client.get("/log?what=here")
    one.drain()
    assert one.ended() == 0
    assert one.log() == ""


def test_control_characters_are_escaped(pipe):
    log = logs.Log(0, 1, "info", "pretty", pipe[1])
    log.say("info", "a\nb\x1b[31m\x07\x85\u2028c\td")
    assert os.read(pipe[0], 999).decode().endswith("a\\nb\\e[31m\\x07\\x85\\u2028c\td\n")


def test_a_traceback_has_the_identity_in_each_line(pipe):
    with bare_root():
        assert logs.install(logs.Log(0, 1, "info", "pretty", pipe[1]))
        try:
            raise ValueError("forged\nline")
        except ValueError:
            logging.getLogger("app").exception("it broke")
        lines = os.read(pipe[0], 9999).decode().strip().split("\n")
        assert len(lines) >= 4
        assert all(f"worker=0 gen=1 pid={os.getpid()}" in line for line in lines)


def test_json_carries_the_traceback(pipe):
    with bare_root():
        logs.install(logs.Log(0, 1, "info", "json", pipe[1]))
        try:
            raise ValueError("deep")
        except ValueError:
            logging.getLogger("app").exception("it broke", stack_info=True)
        record = json.loads(os.read(pipe[0], 9999))
        assert record["level"] == "error" and "ValueError: deep" in record["detail"]
        assert "Stack (most recent call last)" in record["detail"]


def test_a_handler_on_the_root_is_left_alone(pipe):
    with bare_root() as root:
        root.addHandler(logging.NullHandler())
        assert not logs.install(logs.Log(0, 1, "info", "pretty", pipe[1]))


def test_a_level_of_the_application_is_left_alone(pipe):
    with bare_root() as root:
        root.setLevel(logging.CRITICAL)
        assert logs.install(logs.Log(0, 1, "debug", "pretty", pipe[1]))
        assert root.level == logging.CRITICAL


def test_a_library_s_null_handler_does_not_silence_it(pipe):
    with bare_root():
        logs.install(logs.Log(0, 1, "info", "pretty", pipe[1]))
        library = logging.getLogger("leeward_test_library")
        library.addHandler(logging.NullHandler())
        library.warning("heard")
        assert b"heard" in os.read(pipe[0], 999)


class Textless(Exception):
    """As one whose detail is missing; and one that raises as it is asked for its text."""

    def __str__(self):
        return self.args[0]()


def _raises():
    raise RuntimeError("expired")


@pytest.mark.parametrize(
    ("message", "arguments", "told"),
    [
        ("%d", ("x",), "'%d' with 1 arguments"),
        (Textless(lambda: None), (), "a Textless, whose text raises TypeError"),
        (Textless(_raises), (), "a Textless, whose text raises RuntimeError"),
        ("%s", (Textless(_raises),), "'%s' with 1 arguments"),
    ],
)
def test_a_record_that_cannot_be_formatted_is_told_with_its_origin(pipe, message, arguments, told):
    with bare_root():
        logs.install(logs.Log(0, 1, "info", "pretty", pipe[1]))
        logging.getLogger("app").warning(message, *arguments)
        line = os.read(pipe[0], 999).decode()
        assert "cannot format a log record of" in line and "test_logs.py" in line
        assert told in line


@pytest.mark.parametrize("how", ["closed", "full", "nobody"])
def test_a_stderr_that_takes_nothing_is_no_error(pipe, how):
    with bare_root():
        reader, writer = pipe
        if how == "closed":
            os.close(writer)
        elif how == "nobody":
            os.close(reader)
        else:
            os.close(writer)
            writer = os.open("/dev/full", os.O_WRONLY)
        log = logs.Log(0, 1, "info", "auto", writer)
        logs.install(log)
        log.say("error", "unheard")
        logging.getLogger("app").error("unheard")


def test_another_level_while_it_runs(pipe):
    """Of the application's records too, if the application left that to us."""
    log = logs.Log(0, 1, "warning", "auto", pipe[1])
    with bare_root() as root:
        assert logs.install(log)
        logs.tune(log, "debug")
        assert root.level == log.level == logging.DEBUG
        root.setLevel(logging.ERROR)  # the application's own
        logs.tune(log, "info")
        assert (root.level, log.level) == (logging.ERROR, logging.INFO)


def test_who_configures_logging_keeps_its_level(pipe):
    log = logs.Log(0, 1, "info", "auto", pipe[1])
    with bare_root() as root:
        root.addHandler(logging.StreamHandler())
        root.setLevel(logging.INFO)
        assert not logs.install(log)
        logs.tune(log, "debug")
        assert (root.level, log.level) == (logging.INFO, logging.DEBUG)
