"""Answers with the options of the socket that the client is at; as a program it listens by itself.

tells_its_socket.py PORT [HOST]
"""

import socket
import sys

from tornado import ioloop, web

OPTIONS = {
    "keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "idle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    "interval": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    "count": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    "user_timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    "nodelay": (socket.IPPROTO_TCP, socket.TCP_NODELAY),
}


class Socket(web.RequestHandler):
    def get(self) -> None:
        sock = self.request.connection.stream.socket
        if sock.family == socket.AF_UNIX:
            self.write({"keepalive": sock.getsockopt(*OPTIONS["keepalive"])})
            return
        self.write({name: sock.getsockopt(*option) for name, option in OPTIONS.items()})


def make_app() -> web.Application:
    return web.Application([("/", Socket)], log_function=lambda handler: None)


if __name__ == "__main__":
    make_app().listen(int(sys.argv[1]), *sys.argv[2:])
    ioloop.IOLoop.current().start()
