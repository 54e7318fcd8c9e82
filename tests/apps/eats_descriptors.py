"""Opens files and keeps them: told "eat" by a WebSocket it takes all there are, "give" gives back."""

import os

import tornado.web
import tornado.websocket

eaten: list[int] = []


class Eater(tornado.websocket.WebSocketHandler):
    def on_message(self, message) -> None:
        why = ""
        if message == "eat":
            try:
                while True:
                    eaten.append(os.open(os.devnull, os.O_RDONLY))
            except OSError as error:
                why = str(error.strerror)
        while message == "give" and eaten:
            os.close(eaten.pop())
        self.write_message(why or f"{len(eaten)} left")


class Hello(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write("hello")


def make_app() -> tornado.web.Application:
    return tornado.web.Application(
        [("/", Hello), ("/ws", Eater)], log_function=lambda handler: None
    )
