"""The failure that started it all, as it was found in production.

    python examples/wrong_start/program.py PORT       bare: see what happens
    leeward serve examples/wrong_start/program.py -- PORT

Three things are wrong with it:

* `listen()` registers the socket with the event loop, and so makes the loop and its
  epoll set, before `start(2)` forks.  On Python 3.12 and newer the children run a loop
  that knows nothing of the socket: nobody is answered (tornadoweb/tornado#3401).  On
  3.11 both children poll one epoll set: when a client of one leaves while that one
  blocks, the other spins at 99 % CPU on a descriptor that it does not even have.
* The handler blocks its process for 30 s: `gen.coroutine` makes nothing asynchronous.
* It works on for a client that has gone.

The first is what leeward takes away, with the program as it stands.  For the others
see handlers.py.
"""

import os
import sys
import time

from tornado import gen, httpserver, ioloop, web

STEPS, PAUSE = 300, 0.1


class Report(web.RequestHandler):
    @gen.coroutine
    def post(self):
        for _ in range(STEPS):
            time.sleep(PAUSE)
        self.write("done\n")


class Hello(web.RequestHandler):
    def get(self):
        self.write(f"hello from process {os.getpid()}\n")


def main():
    application = web.Application([("/", Hello), ("/report", Report)])
    server = httpserver.HTTPServer(application)
    server.listen(int(sys.argv[1]), "127.0.0.1")
    print("listening", flush=True)
    server.start(2)
    ioloop.IOLoop.current().start()


if __name__ == "__main__":
    main()
