"""Failure 1, a wrong start: the event loop is made before the fork.

    python examples/failures/wrong_start.py

Starts plain Tornado the way many programs do, `listen()` and then `start(2)`, asks
it ten times for a page and counts the answers.  `listen()` registers the socket with
the loop, and so makes the loop and its epoll set, before `start()` forks.  On Python
3.12 and newer nobody is answered: the children run a loop that knows nothing of the
socket (tornadoweb/tornado#3401).  On 3.11 they answer, from one epoll set that they
share: one that unregisters the socket in order to stop makes all of them deaf.

Leeward makes each worker's loop after the fork; the application is the same:

    leeward serve examples/failures/wrong_start.py:make_app -w 2
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request

from tornado import httpserver, ioloop, web

REQUESTS = 10
SECONDS = 0.5


class Hello(web.RequestHandler):
    def get(self) -> None:
        self.write(f"hello from process {os.getpid()}\n")


def make_app() -> web.Application:
    return web.Application([("/", Hello)])


def start_wrongly(port: int) -> None:
    """The program as it is found in the wild."""
    server = httpserver.HTTPServer(make_app())
    server.listen(port, "127.0.0.1")
    print("listening", flush=True)
    server.start(2)
    ioloop.IOLoop.current().start()


def answers(port: int) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    answered = 0
    for _ in range(REQUESTS):
        try:
            with opener.open(f"http://127.0.0.1:{port}/", timeout=SECONDS) as answer:
                answered += answer.status == 200
        except OSError:
            continue  # refused or timed out: what is counted here
    return answered


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, __file__, "--start-wrongly", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as program:
        assert program.stdout is not None
        try:
            program.stdout.readline()
            answered = answers(port)
        finally:
            os.killpg(program.pid, signal.SIGKILL)
    version = ".".join(map(str, sys.version_info[:2]))
    print(f"Python {version}: listen() + start(2) answered {answered} of {REQUESTS} requests")


if __name__ == "__main__":
    if "--start-wrongly" in sys.argv:
        start_wrongly(int(sys.argv[2]))
    else:
        main()
