"""leeward.engine.routes: a path leads where Tornado would lead it, whatever is added when."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.routing import HostMatches, Matcher, PathMatches, Rule
from tornado.web import Application, RequestHandler, url

from leeward.engine.routes import Routes


class Handler(RequestHandler):
    pass


class Second(RequestHandler):
    pass


def request(path: str, host: str = "a") -> HTTPServerRequest:
    line = RequestStartLine("GET", path, "HTTP/1.1")
    return HTTPServerRequest(start_line=line, headers=HTTPHeaders({"Host": host}))


def learnt(routes: Routes, path: str) -> bool:
    for _ in range(2):  # what comes once is not remembered
        routes.learn(request(path))
    return routes.known(path) is not None


def same(application: Application, routes: Routes, path: str) -> bool:
    """Does what is remembered lead where Tornado leads?"""
    route = routes.known(path)
    found: Any = application.find_handler(request(path))
    if route is None:
        return False
    assert route.rule.target is found.handler_class
    assert (route.rule.target_kwargs or {}) == found.handler_kwargs
    assert list(route.args) == found.path_args
    assert dict(route.kwargs) == found.path_kwargs
    return True


def test_every_kind_of_path_matcher_leads_where_tornado_leads() -> None:
    application = Application(
        [
            ("/", Handler),
            url(r"/a/(\d+)/(x)?", Handler, {"b": 1}),
            (r"/n/(?P<name>[^/]+)", Second),
            Rule(PathMatches(re.compile("/loose")), Second),
            (r"/.*\.txt", Handler),
        ]
    )
    routes = Routes(application)
    paths = ["/", "/a/1/", "/a/12/x", "/n/%C3%A9", "/loose", "/looser", "/q.txt"]
    for path in paths:
        assert learnt(routes, path), path
    for path in random.sample(paths, len(paths)):
        assert same(application, routes, path)
    assert not learnt(routes, "/nowhere")


def test_rules_that_are_added_or_changed_count_from_the_next_request() -> None:
    application = Application([("/(.*)", Handler)])
    routes = Routes(application)
    assert learnt(routes, "/x")
    application.wildcard_router.rules.insert(0, Rule(PathMatches("/x"), Second))
    assert routes.known("/x") is None
    assert learnt(routes, "/x") and same(application, routes, "/x")
    application.wildcard_router.rules[0] = Rule(PathMatches("/x"), Handler)
    assert routes.known("/x") is None
    assert learnt(routes, "/x") and same(application, routes, "/x")


def test_where_more_than_the_path_counts_nothing_is_remembered() -> None:
    class Mood(Matcher):
        def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
            return None

    by_host = Application([("/x", Handler)])
    routes = Routes(by_host)
    assert learnt(routes, "/x")
    by_host.add_handlers("b", [("/x", Second)])
    assert routes.known("/x") is None
    assert not learnt(routes, "/x")
    for rules in (
        [Rule(Mood(), Handler), ("/x", Second)],
        [Rule(HostMatches("b"), [("/x", Handler)]), ("/x", Second)],
        [("/x", Application([("/x", Handler)]))],
        [("/x", [("/x", Handler)])],
        [("/x", lambda request: None)],
    ):
        assert not learnt(Routes(Application(rules)), "/x")  # type: ignore[arg-type]
    # A matcher that comes behind does not matter for what is found before it.
    behind = Routes(Application([("/x", Handler), Rule(Mood(), Second)]))
    assert learnt(behind, "/x")


def test_paths_that_clients_think_up_do_not_fill_the_memory() -> None:
    routes = Routes(Application([("/.*", Handler)]))
    for number in range(3000):
        learnt(routes, f"/{number}")
    assert len(routes._seen.entries) <= 1024
    assert not learnt(routes, "/" + "x" * 1000)


@pytest.mark.parametrize("path", ["/x"])
def test_one_request_leaves_nothing(path: str) -> None:
    routes = Routes(Application([("/x", Handler)]))
    routes.learn(request(path))
    assert routes.known(path) is None
