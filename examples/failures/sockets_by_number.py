"""Failure 4, sockets given to a pool of processes by number.

    python examples/failures/sockets_by_number.py

A server accepts, and hands `connection.fileno()` to a `multiprocessing.Pool` that is
to answer.  A number means nothing in another process: the pool was forked before the
connection came.  Each request fails, or worse, goes to whatever has that number there.

The right way is to send the descriptor itself (SCM_RIGHTS, `socket.send_fds`) to
workers that live long, which is how leeward's own processes talk; handing over
connections of the application comes later (docs/design.md, "Kinds").
"""

from __future__ import annotations

import contextlib
import multiprocessing
import socket

REQUESTS = 20


def answer(fd: int) -> str:
    """Runs in the pool: answers on a descriptor that it knows by number only."""
    try:
        with socket.socket(fileno=fd) as connection:
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    except OSError as error:
        return error.strerror or str(error)
    return "answered"


def main() -> None:
    answered, words = 0, ""
    with (
        multiprocessing.get_context("fork").Pool(2) as pool,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        for _ in range(REQUESTS):
            with socket.create_connection(listener.getsockname()) as client:
                client.settimeout(0.2)
                connection, _ = listener.accept()
                words = pool.apply(answer, (connection.fileno(),))
                with contextlib.suppress(TimeoutError):  # nobody answered: not counted
                    answered += bool(client.recv(100))
                connection.close()
    print(f"fileno() to a process pool: {answered} of {REQUESTS} requests answered ({words})")


if __name__ == "__main__":
    main()
