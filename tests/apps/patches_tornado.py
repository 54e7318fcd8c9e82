"""Patches Tornado when it is asked to, as a switch for tracing would; answers with what is where."""

import json

from tornado.web import Application, RequestHandler

found = []


class Where(RequestHandler):
    def get(self) -> None:
        self.write(
            json.dumps(
                {
                    "finish": RequestHandler.finish.__module__,
                    "connection": type(self.request.connection).__module__,
                    "request": type(self.request).__module__,
                    "found": len(found),
                }
            )
        )


class Patch(RequestHandler):
    def get(self) -> None:
        original = Application.find_handler

        def find_handler(self: Application, request: object, **kwargs: object) -> object:
            found.append(request)
            return original(self, request, **kwargs)

        Application.find_handler = find_handler
        self.write({})


app = Application([("/", Where), ("/patch", Patch)])
