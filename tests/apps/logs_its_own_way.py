"""Configures logging itself, in the way and at the moment that HOW names; says two things."""

import logging
import logging.config
import os
import sys

import tornado.log
import tornado.options
import tornado.web

HOW = os.environ.get("HOW", "")
log = logging.getLogger("shop")


def configure() -> None:
    if HOW.startswith("basicConfig"):
        logging.basicConfig(format="OWN %(levelname)s %(message)s", level=logging.INFO)
    elif HOW.startswith("dictConfig"):
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"own": {"format": "OWN %(levelname)s %(message)s"}},
                "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own"}},
                "root": {"level": "INFO", "handlers": ["own"]},
            }
        )
    elif HOW.startswith("one-logger"):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("OWN %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
    elif HOW.startswith("tornado"):
        logging.getLogger().setLevel(logging.INFO)
        tornado.log.enable_pretty_logging()
    elif HOW.startswith("options"):
        tornado.options.parse_command_line()


class Say(tornado.web.RequestHandler):
    def get(self) -> None:
        for level in ("debug", "info", "warning", "error"):
            getattr(log, level)("said at %s", level)
        try:
            {}["nothing"]
        except KeyError:
            log.exception("it raised")
        print("printed", file=sys.stderr, flush=True)
        log.warning("two\nlines \x1b[31mred")
        self.write(str(os.getpid()))


class Missing(tornado.web.RequestHandler):
    def get(self) -> None:
        raise tornado.web.HTTPError(404)


def make_app() -> tornado.web.Application:
    if HOW.endswith("factory"):
        configure()
    return tornado.web.Application([("/", Say), ("/missing", Missing)])


if HOW.endswith("import"):
    configure()
