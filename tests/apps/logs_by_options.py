"""A program whose log file is Tornado's: --log_file_prefix, which is a RotatingFileHandler."""

import logging
import os
import signal

import tornado.ioloop
import tornado.options
import tornado.web


class Say(tornado.web.RequestHandler):
    def get(self, number: str) -> None:
        logging.warning("said %s.", number)
        if self.get_argument("die", ""):
            os.kill(os.getpid(), signal.SIGKILL)
        self.write(str(os.getpid()))


if __name__ == "__main__":
    tornado.options.parse_command_line()
    tornado.web.Application([(r"/(\d+)", Say)]).listen(8888)
    tornado.ioloop.IOLoop.current().start()
