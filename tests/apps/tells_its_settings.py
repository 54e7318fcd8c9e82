"""Says by which of the settings that may change its worker serves."""

import json

import tornado.web

from leeward._core.config import TUNABLE
from leeward._worker import here


class Settings(tornado.web.RequestHandler):
    def get(self):
        config = here._serves[0].config
        self.write(json.dumps({key: getattr(config, key) for key in TUNABLE}))


def make_app():
    return tornado.web.Application([(r"/", Settings)])
