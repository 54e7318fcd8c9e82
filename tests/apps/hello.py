"""The smallest honest application: answers who it is."""

import json
import os

import tornado.process
import tornado.web


class Hello(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(
            json.dumps(
                {
                    "pid": os.getpid(),
                    "slot": os.environ["LEEWARD_SLOT"],
                    "generation": os.environ["LEEWARD_GENERATION"],
                    "task_id": tornado.process.task_id(),
                    "release": os.environ.get("RELEASE", ""),
                }
            )
        )


def make_app() -> tornado.web.Application:
    return tornado.web.Application([("/", Hello)], log_function=lambda handler: None)


app = make_app()
