"""Failure 2, things shared by a fork: one connection, four processes, crossed replies.

    python examples/failures/shared_client.py

A client for a line protocol without correlation ids (memcached, Redis, Dubbo's telnet
are of this kind) is made while the module is imported, as many programs do, and then
the process forks.  All children write to one connection and read from it: whoever
reads first gets the reply.  No exception is raised; the caller has somebody else's data.

Leeward looks at what is open before the first fork and finds the connection:

    leeward check examples/failures/shared_client.py:make_app

says that each worker will import for itself ("spawn"), and names the socket's peer.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import socketserver
import threading
from collections import Counter

from tornado import web

PROCESSES, CALLS = 4, 250


class Echo(socketserver.StreamRequestHandler):
    """The service: answers each line with "reply to" that line."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(b"reply to " + line)


class Client:
    """A client as it is found in the wild: one connection, no idea of processes."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=2)
        self.replies = self.socket.makefile("rb")

    def call(self, word: str) -> str:
        self.socket.sendall(f"{word}\n".encode())
        return self.replies.readline().decode().strip()


def serve_echo() -> tuple[str, int]:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host, port = server.server_address[:2]
    return str(host), int(port)


def worker(client: Client, results: multiprocessing.SimpleQueue[Counter[str]]) -> None:
    """Calls with words of its own and looks at whose reply comes back."""
    found: Counter[str] = Counter()
    for number in range(CALLS):
        word = f"{os.getpid()}/{number}"
        try:
            reply = client.call(word)
        except OSError:
            found["lost"] += 1
            continue
        kind = "somebody else's" if reply.startswith("reply to ") else "mangled"
        found["right" if reply == f"reply to {word}" else kind] += 1
    results.put(found)


def make_app() -> web.Application:
    return web.Application([])


def main() -> None:
    context = multiprocessing.get_context("fork")
    client = Client(serve_echo())
    results: multiprocessing.SimpleQueue[Counter[str]] = context.SimpleQueue()
    processes = [context.Process(target=worker, args=(client, results)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    total: Counter[str] = Counter()
    for _ in processes:
        total += results.get()
    for process in processes:
        process.join()
    words = ", ".join(f"{count} {kind}" for kind, count in total.most_common())
    print(f"{PROCESSES} processes, one client made before the fork: {words}, 0 exceptions")


if __name__ == "__main__":
    main()
else:
    # What the audit finds: a connection that is open before anybody has forked.
    CLIENT = Client(serve_echo())
