"""Hands leeward the application itself."""

import leeward
import tornado.web


def make_app() -> tornado.web.Application:
    return tornado.web.Application()


leeward.run(make_app)
