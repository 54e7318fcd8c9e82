"""What does a client cost that is connected and silent?

Many keep-alive connections that have had one answer, and many WebSockets that have had
one echo; then nothing.  Counted is by how much the private memory (USS) of the server's
processes has grown, per connection: sockets in the kernel are not in it, and cost every
server the same.  A first, smaller crowd has come and gone before, so that caches and
free lists are warm.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections import defaultdict

import http1
from common import contenders as c
from common import telling
from common.echo import ECHOED, FRAME, HANDSHAKE
from common.measure import median, pin, tree_memory

#: Seconds: what a server frees late, it has freed by then.
QUIET = 1.0
FIRST = 200
_GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

KEEP_ALIVE, WEBSOCKET = "keep-alive", "WebSocket"


def read_head(sock: socket.socket, status: bytes) -> bytes:
    """What comes behind the head of an answer.  Raises ValueError if it is not `status`."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(4096)
        if not part:
            raise ValueError(f"closed after {data!r}")
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    if status not in head.split(b"\r\n")[0]:
        raise ValueError(f"answered {head[:80]!r}")
    return rest


def connect(kind: str, port: int) -> socket.socket:
    """A client that has had its answer and falls silent."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    if kind == KEEP_ALIVE:
        sock.sendall(_GET)
        read_head(sock, b" 200 ")
        return sock
    sock.sendall(HANDSHAKE.format(port=port).encode())
    rest = read_head(sock, b" 101 ")
    sock.sendall(FRAME)
    while len(rest) < len(ECHOED):
        rest += sock.recv(4096)
    return sock


def grown(server: c.Server, kind: str, crowd: int) -> float:
    """Bytes of private memory per silent client."""
    with contextlib.ExitStack() as stack:
        for _ in range(FIRST):
            stack.enter_context(connect(kind, server.port))
    time.sleep(QUIET)
    before = tree_memory(server.pid).uss
    with contextlib.ExitStack() as stack:
        for _ in range(crowd):
            stack.enter_context(connect(kind, server.port))
        time.sleep(QUIET)
        return (tree_memory(server.pid).uss - before) / crowd


def main() -> None:
    parser = telling.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--crowd", type=int, default=2000, help="silent clients")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * options.crowd), hard))
    _, cpus = pin()
    plain = [it for it in http1.CONTENDERS if "plain" not in it.name and it.name != "floor"]
    contenders = telling.chosen(plain, options.only)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for it in contenders:
            for kind in (KEEP_ALIVE, WEBSOCKET):
                with c.run(it, "speed", 1, cpus) as server:
                    http1.wait(server)
                    found[it.name, kind].append(grown(server, kind, options.crowd))
    report = telling.Report(
        "What does a client cost that is connected and silent?  Bytes of private memory",
        {"clients": options.crowd, "rounds": options.rounds},
    )
    for it in contenders:
        row = {kind: median(found[it.name, kind]) for kind in (KEEP_ALIVE, WEBSOCKET)}
        report.rows.append({"": it.name, **row})
    ours = http1.FAST.name
    for it in contenders:
        if it.name != ours:
            for kind in (KEEP_ALIVE, WEBSOCKET):
                theirs, own = found[it.name, kind], found[ours, kind]
                report.ratio(f"{kind}: {ours} / {it.name}", theirs, own)
    if (ours, KEEP_ALIVE) in found:
        kept = median(found[ours, KEEP_ALIVE]) / 1024
        report.contracts.append(telling.Contract("idle keep-alive", kept, 3.5, "KiB"))
    share = report.ratios.get(f"{WEBSOCKET}: {ours} / {http1.TORNADO.name}")
    if share is not None:
        what = "idle WebSocket, share of Tornado's"
        report.contracts.append(telling.Contract(what, share["median"], 1.0, "×"))
    telling.finish(report, "memory_idle", options.keep)


if __name__ == "__main__":
    main()
