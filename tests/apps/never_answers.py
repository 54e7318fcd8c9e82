"""Requests that nobody answers, logged as Tornado does."""

import asyncio
import sys

from tornado import web, wsgi


class Never(web.RequestHandler):
    async def post(self):
        print("POST waits", file=sys.stderr, flush=True)
        await asyncio.sleep(1000)

    def on_connection_close(self):
        print("POST left", file=sys.stderr, flush=True)


class Contained(web.FallbackHandler):
    """Tornado gives no answer for a callable that raises."""

    def on_connection_close(self):
        print("GET left", file=sys.stderr, flush=True)


def raises(environ, start_response):
    print("GET waits", file=sys.stderr, flush=True)
    raise ValueError("no such table")


def make_app():
    contained = {"fallback": wsgi.WSGIContainer(raises)}
    return web.Application([("/", Never), ("/wsgi", Contained, contained)])
