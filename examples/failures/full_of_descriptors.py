"""Failure 3, full of descriptors: the listener stays readable, the loop spins and shouts.

    python examples/failures/full_of_descriptors.py

Plain Tornado may open 64 files, 100 clients connect and keep silent.  accept() fails
with EMFILE, the listening socket stays readable, so the loop tries again at once, for
ever: a whole core, and a traceback each time.

Under leeward the worker stops asking the listener when descriptors run out, says so
once a second and goes on serving the clients that it has:

    (ulimit -n 64; leeward serve examples/failures/full_of_descriptors.py:make_app)
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time

from tornado import httpserver, ioloop, web

FILES, CLIENTS, SECONDS = 64, 100, 2.0


class Hello(web.RequestHandler):
    def get(self) -> None:
        self.write("hello\n")


def make_app() -> web.Application:
    return web.Application([("/", Hello)])


def serve(port: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    httpserver.HTTPServer(make_app()).listen(port, "127.0.0.1")
    print("listening", flush=True)
    ioloop.IOLoop.current().start()


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, __file__, "--serve", str(port)]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as program,
    ):
        assert program.stdout is not None
        try:
            program.stdout.readline()
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(CLIENTS)]
            before, started = cpu_seconds(program.pid), time.monotonic()
            size = os.fstat(log.fileno()).st_size
            time.sleep(SECONDS)
            passed = time.monotonic() - started
            busy = (cpu_seconds(program.pid) - before) / passed
            written = (os.fstat(log.fileno()).st_size - size) / passed / 1e6
        finally:
            program.kill()
    for client in clients:
        client.close()
    print(
        f"{CLIENTS} silent clients, {FILES} files: plain Tornado uses {busy:.0%} of a core "
        f"and writes {written:.1f} MB of tracebacks a second"
    )


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve(int(sys.argv[2]))
    else:
        main()
