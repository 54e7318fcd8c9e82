"""Whose it is to write a request's line: ours only where it would have been nobody else's."""

from __future__ import annotations

import logging
import os
import threading
from types import SimpleNamespace

import pytest
import tornado.log
from tornado import web
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from leeward._worker import logs
from leeward._worker.access import formats, hook
from leeward._worker.access.hook import AccessLog

ACCESS = logging.getLogger("tornado.access")


class Connection:
    context = SimpleNamespace(remote_ip="10.0.0.7", protocol="http")

    def set_close_callback(self, callback):
        pass


class Kept(logging.Handler):
    """Keeps records."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)

    def messages(self):
        return [record.getMessage() for record in self.records]


class Scene:
    """A worker's logging, without the worker.  lines: of the access log.  printed: all others."""

    def __init__(self, wanted=True):
        self.log = logs.Log(2, 5, "info", "pretty", -1)
        self.printed = []
        self.log.write = lambda text, level: self.printed.append(text)
        self.printer = logs.install(self.log, wanted)
        self.lines = []
        form = formats.make("auto", self.log.look, self.log.identity())
        sink = SimpleNamespace(put=self.lines.append) if wanted else None
        self.access = AccessLog(self.printer, form, sink)
        assert self.access.install()

    def look_again(self):
        """A second has passed."""
        self.access._look_at = float("-inf")

    def told(self):
        """How often each way has told of a request since the last call."""
        found = len(self.lines), len(self.printed)
        self.lines.clear()
        self.printed.clear()
        return found


OURS, TORNADOS = (1, 0), (0, 1)


def pytests(handler):
    return type(handler).__module__.startswith("_pytest.")


@pytest.fixture
def bare():
    """Loggers as Python makes them; put back afterwards.

    pytest adds its own handlers to the root at each phase of a test: they are kept out.
    """
    root, *_ = loggers = (logging.getLogger(), logging.getLogger("tornado"), ACCESS)
    names = ("handlers", "filters", "level", "propagate", "disabled")
    before = [{name: getattr(it, name) for name in names} for it in loggers]
    before[0]["handlers"] = [it for it in root.handlers if not pytests(it)]
    add = root.addHandler
    for it in loggers:
        it.handlers, it.filters = [], []
        it.propagate, it.disabled = True, False
        it.setLevel(logging.WARNING if it is root else logging.NOTSET)
    root.addHandler = lambda it: None if pytests(it) else add(it)
    yield
    for it, values in zip(loggers, before, strict=True):
        it.setLevel(values["level"])
        vars(it).update(values)
    del root.addHandler
    logging.disable(logging.NOTSET)


@pytest.fixture
def scene(bare):
    made = Scene()
    yield made
    made.access.remove()


def handler(application=None, status=200, method="GET", kind=web.RequestHandler, uri="/x"):
    asked = HTTPServerRequest(
        connection=Connection(),
        start_line=RequestStartLine(method, uri, "HTTP/1.1"),
        headers=HTTPHeaders({"Host": "x"}),
    )
    made = kind(application or web.Application(), asked)
    made.set_status(status)
    return made


def answered(*args, **keywords):
    made = handler(*args, **keywords)
    made._log()


# --- as it is by default -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "level"),
    [(101, "info"), (200, "info"), (399, "info"), (404, "warning"), (500, "error"), (599, "error")],
)
def test_one_line_by_the_level_that_tornado_has(scene, status, level):
    made = handler(status=200)
    made._status_code = status
    made._log()
    [line] = scene.lines
    assert f" {level:<8} worker=2 gen=5 pid={os.getpid()} tornado.access: {status} GET /x" in line
    assert scene.told() == OURS


def test_the_place_is_given_back(bare):
    before = web.Application.log_request
    one = Scene()
    assert web.Application.log_request is not before
    assert web.Application.log_request.__doc__ == before.__doc__
    one.access.remove()
    assert web.Application.log_request is before


def test_what_the_application_has_put_there_stays(bare, monkeypatch):
    called = []
    monkeypatch.setattr(web.Application, "log_request", lambda self, it: called.append(it))
    log = logs.Log(2, 5, "info", "pretty", -1)
    access = AccessLog(logs.install(log), formats.Combined(), None)
    assert not access.install()
    answered()
    assert len(called) == 1
    access.remove()


# --- the application logs requests itself --------------------------------------------------------


def test_log_function_is_called_and_nothing_else_happens(scene):
    called = []
    application = web.Application(log_function=called.append)
    made = handler(application)
    made._log()
    assert called == [made]
    assert scene.told() == (0, 0)


def test_log_function_may_come_and_go_while_it_serves(scene):
    application = web.Application()
    answered(application)
    application.settings["log_function"] = lambda it: None
    answered(application)
    del application.settings["log_function"]
    answered(application)
    assert scene.told() == (2, 0)


def test_what_log_function_raises_is_raised(scene):
    def log_function(it):
        raise LookupError("the application's own")

    with pytest.raises(LookupError):
        answered(web.Application(log_function=log_function))
    assert scene.told() == (0, 0)


@pytest.mark.parametrize("place", ["class", "instance"])
def test_an_application_s_log_request_is_called_instead(scene, place):
    called = []

    class Own(web.Application):
        def log_request(self, it):
            called.append(it)

    application = Own() if place == "class" else web.Application()
    if place == "instance":
        application.log_request = called.append
    answered(application)
    assert len(called) == 1
    assert scene.told() == (0, 0)


def test_a_log_request_that_asks_for_tornado_s_gets_one_line(scene):
    class Own(web.Application):
        def log_request(self, it):
            if it.get_status() >= 400:
                super().log_request(it)

    application = Own()
    answered(application)
    answered(application, status=404)
    assert scene.told() == OURS


def test_a_copy_of_tornado_s_log_request_logs_as_it_says(scene):
    """Many are; they look for `log_function`, which must not be there."""

    class Own(web.Application):
        def log_request(self, it):
            if "log_function" in self.settings:
                self.settings["log_function"](it)
                return
            tornado.log.access_log.info("own %d", it.get_status())

    answered(Own())
    assert scene.printed[0].endswith("tornado.access: own 200\n")
    assert scene.told() == TORNADOS


def test_a_handler_s_own_log_is_called_instead(scene):
    class Silent(web.RequestHandler):
        def _log(self):
            pass

    answered(kind=Silent)
    assert scene.told() == (0, 0)


def test_a_handler_s_own_summary_is_told(scene):
    class Brief(web.RequestHandler):
        def _request_summary(self):
            return "brief"

    answered(kind=Brief)
    assert "tornado.access: 200 brief " in scene.printed[0]
    assert scene.told() == TORNADOS
    made = handler()
    made._request_summary = lambda: "briefer"
    made._log()
    assert "tornado.access: 200 briefer " in scene.printed[0]


# --- levels --------------------------------------------------------------------------------------


def levels():
    """Ways to be quiet below `error`, and back."""
    root = logging.getLogger()
    yield lambda: ACCESS.setLevel(logging.ERROR), lambda: ACCESS.setLevel(logging.NOTSET)
    yield lambda: root.setLevel(logging.ERROR), lambda: root.setLevel(logging.INFO)
    yield lambda: logging.disable(logging.WARNING), lambda: logging.disable(logging.NOTSET)


@pytest.mark.parametrize(("quiet", "loud"), list(levels()))
def test_levels_are_asked_for_each_request(scene, quiet, loud):
    answered()
    assert scene.told() == OURS
    quiet()
    answered()
    answered(status=404)
    assert scene.told() == (0, 0)
    answered(status=500)
    assert scene.told() == OURS
    loud()
    answered()
    assert scene.told() == OURS


def test_a_logger_that_is_disabled_costs_next_to_nothing(scene, monkeypatch):
    ACCESS.disabled = True
    made = handler(status=500)
    monkeypatch.setattr(made.request, "request_time", None)
    monkeypatch.setattr(scene.access, "_form", None)
    made._log()
    assert scene.told() == (0, 0)


# --- the application has configured logging ------------------------------------------------------


def arrangements():
    """What an application may have done; the way back."""
    root, above = logging.getLogger(), logging.getLogger("tornado")
    kept = Kept()
    for logger in (root, above, ACCESS):
        name = f"a handler on {logger.name}"
        yield (
            name,
            lambda it=logger: it.addHandler(kept),
            lambda it=logger: it.removeHandler(kept),
        )

    def passes(record):
        return True

    yield "a filter", lambda: ACCESS.addFilter(passes), lambda: ACCESS.removeFilter(passes)
    for logger in (above, ACCESS):
        yield (
            f"{logger.name} does not propagate",
            lambda it=logger: setattr(it, "propagate", False),
            lambda it=logger: setattr(it, "propagate", True),
        )


@pytest.mark.parametrize(
    ("do", "undo"), [it[1:] for it in arrangements()], ids=[it[0] for it in arrangements()]
)
def test_from_the_next_request_on_it_is_tornado_s_to_tell(scene, do, undo):
    records = []
    plain = ACCESS.handle
    answered()
    assert scene.told() == OURS
    do()
    assert not scene.access.ours()
    ACCESS.handle = lambda record: (records.append(record), plain(record))
    answered()
    del ACCESS.handle
    assert [record.getMessage()[:11] for record in records] == ["200 GET /x "]
    assert scene.lines == []
    undo()
    scene.told()
    scene.look_again()  # of what we have just put on the logger for this test
    answered()
    assert scene.told() == OURS


def test_a_filter_on_our_own_handler_sees_records(scene):
    seen = []
    scene.printer.addFilter(lambda record: not seen.append(record))
    answered()
    assert len(seen) == 1
    assert scene.told() == TORNADOS


def test_a_level_on_our_own_handler_is_kept_to(scene):
    scene.printer.setLevel(logging.ERROR)
    answered()
    assert scene.told() == (0, 0)
    answered(status=500)
    assert scene.told() == TORNADOS


def test_a_root_that_was_cleared_is_python_s_own_affair(scene, capsys):
    logging.getLogger().handlers.clear()
    answered(status=500)
    assert scene.told() == (0, 0)
    assert capsys.readouterr().err.startswith("500 GET /x ")  # logging.lastResort


def test_an_application_with_handlers_of_its_own_wins(bare):
    kept = Kept()
    logging.getLogger().addHandler(kept)
    ACCESS.setLevel(logging.INFO)
    one = Scene()
    assert one.printer is None
    assert not one.access.ours()
    answered()
    one.access.remove()
    assert one.told() == (0, 0)
    assert len(kept.records) == 1
    assert kept.records[0].funcName == "log_request" and "web.py" in kept.records[0].pathname


@pytest.mark.parametrize(
    ("holder", "attribute"),
    [
        (logging.Logger, "callHandlers"),  # Sentry
        (logging.Logger, "handle"),
        (logging.Logger, "info"),
        (logging.Logger, "makeRecord"),
        (logging.Filterer, "filter"),
        (logging.Handler, "handle"),
    ],
)
def test_what_instruments_logging_sees_the_records(scene, monkeypatch, holder, attribute):
    plain, seen = getattr(holder, attribute), []

    def patched(self, *args, **keywords):
        seen.append(self)
        return plain(self, *args, **keywords)

    monkeypatch.setattr(holder, attribute, patched)
    scene.look_again()
    assert not scene.access.ours()
    answered()
    assert seen
    assert scene.told() == TORNADOS
    monkeypatch.undo()
    scene.look_again()
    answered()
    assert scene.told() == OURS


@pytest.mark.parametrize("place", ["the logger", "its class"])
def test_what_is_put_on_the_logger_alone_is_called(scene, monkeypatch, place):
    seen = []
    if place == "the logger":
        monkeypatch.setattr(ACCESS, "info", lambda *args: seen.append(args))
    else:
        own = lambda self, record: not seen.append(record)  # noqa: E731
        monkeypatch.setattr(logging.Logger, "filter", own, raising=False)
    scene.look_again()
    answered()
    assert len(seen) == 1
    assert scene.lines == []


def test_a_record_factory_sees_the_records(scene):
    """OpenTelemetry has one, that puts the trace into each."""
    seen = []

    def factory(*args, **keywords):
        seen.append(args)
        return logging.LogRecord(*args, **keywords)

    logging.setLogRecordFactory(factory)
    try:
        answered()
    finally:
        logging.setLogRecordFactory(logging.LogRecord)
    assert len(seen) == 1
    assert scene.told() == TORNADOS


def test_another_logger_in_its_place_is_asked(scene, monkeypatch):
    kept = Kept()
    other = logging.Logger("other")
    other.addHandler(kept)
    monkeypatch.setattr(web, "access_log", other)
    ACCESS.setLevel(logging.CRITICAL)
    scene.look_again()
    answered()
    assert len(kept.records) == 1
    assert scene.told() == (0, 0)


def test_a_null_handler_is_passed_over(scene):
    """Libraries put one on their loggers to keep silent."""
    ACCESS.addHandler(logging.NullHandler())
    answered()
    assert scene.told() == OURS


# --- odd ones ------------------------------------------------------------------------------------


def test_another_thread_goes_through_logging(scene):
    """The batch belongs to the loop's thread."""
    made = handler()
    other = threading.Thread(target=made._log)
    other.start()
    other.join()
    assert scene.told() == TORNADOS


def test_what_is_no_request_is_left_to_tornado(scene):
    made = handler()
    made.request.headers = None
    scene.access._form = formats.Combined()
    made._log()
    assert scene.told() == TORNADOS


def test_without_an_access_log_nobody_tells(bare):
    one = Scene(wanted=False)
    answered()
    answered(status=500)
    ACCESS.warning("as WSGIContainer does")
    one.access.remove()
    assert one.told() == (0, 0)
    logging.getLogger("app").warning("heard")
    assert len(one.printed) == 1


def test_without_an_access_log_the_application_s_handlers_still_hear(bare):
    kept = Kept()
    one = Scene(wanted=False)
    ACCESS.addHandler(kept)
    answered()
    one.access.remove()
    assert len(kept.records) == 1
    assert one.told() == (0, 0)


# --- bytes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "status", "length", "counted", "size"),
    [
        ("GET", 200, "12", None, 12),
        ("GET", 200, "12", 99, 12),
        ("HEAD", 200, "12", None, 0),
        ("GET", 304, "12", None, 0),
        ("GET", 204, None, 0, 0),
        ("GET", 101, None, None, 0),
        ("GET", 200, None, 345, 345),
        ("GET", 200, None, None, formats.UNKNOWN),
        ("GET", 200, "-1", None, formats.UNKNOWN),
        ("GET", 200, "many", None, formats.UNKNOWN),
    ],
)
def test_bytes_are_those_of_the_body(bare, method, status, length, counted, size):
    made = handler(method=method)
    if length is not None:
        made.set_header("Content-Length", length)
    if counted is not None:
        made.request.connection.body_sent = counted
    assert hook._size(made, status) == size
