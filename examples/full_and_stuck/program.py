"""The third failure: full of descriptors, stuck, and deaf to Ctrl-C.

    python examples/full_and_stuck/program.py PORT       bare: see what happens
    leeward serve examples/full_and_stuck/program.py -- PORT

An ordinary program, and right as far as it goes.  What it meets is not:

* Clients that connect and say nothing.  Nothing ends them; when the descriptors are used
  up, accept() fails, the listener stays readable, and the loop tries again for ever.
* A handler that computes for seconds without a break.  Nobody is told which one.
* A job in a thread that does not come back.  The interpreter waits for it at its end, so
  Ctrl-C ends the loop and not the program.
"""

import sys
import time

from tornado import httpserver, ioloop, web

STUCK = 1.5  # seconds without a turn of the loop
THREAD = 3600.0  # seconds that a thread is busy


class Hello(web.RequestHandler):
    def get(self):
        self.write("hello\n")


class Report(web.RequestHandler):
    def get(self):
        time.sleep(STUCK)  # a computation, as far as the loop can tell
        self.write("done\n")


class Job(web.RequestHandler):
    def post(self):
        ioloop.IOLoop.current().run_in_executor(None, time.sleep, THREAD)
        self.write("started\n")


def main():
    application = web.Application([("/", Hello), ("/report", Report), ("/job", Job)])
    httpserver.HTTPServer(application).listen(int(sys.argv[1]), "127.0.0.1")
    print("listening", flush=True)
    ioloop.IOLoop.current().start()


if __name__ == "__main__":
    main()
