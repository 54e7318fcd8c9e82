"""What does a gigabyte cost that is sent up or down, and does memory stay flat?

One client sends the body of a PUT, or reads the answer of a GET, as fast as the server
lets it; the handler takes pieces as they come (`stream_request_body`), or writes pieces of
64 KiB and awaits each `flush()`.  With and without TLS.  Told are megabytes per second, the
server's CPU seconds per gigabyte, and by how much its memory has grown at its highest.

The client must not be what is measured.  In plain it has the kernel throw away what comes
(MSG_TRUNC, tcp(7)); by TLS it reads into one place.  (sendfile(2) from memory is slower than
`sendall`: 2.5 GB/s and not 4.9.)
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import http1
from common import contenders as c
from common import telling
from common.measure import MIB, cpu_seconds, descendants, median, pin

from leeward._sys import procfs

GIB = 1024 * MIB
_PIECE = bytes(MIB)
PATIENCE = 60.0


@dataclass(frozen=True)
class Found:
    rate: float  # bytes per second
    cpu: float  # seconds
    growth: int  # bytes


def certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed one, of an elliptic curve: the handshake is not the question."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    words = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    where = ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(["openssl", "req", "-x509", *words, *where], check=True, capture_output=True)
    return cert, key


@contextlib.contextmanager
def connection(port: int, tls: bool) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        if not tls:
            yield sock
            return
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(sock) as wrapped:
            yield wrapped


def wait(port: int, tls: bool) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            with connection(port, tls):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def upload(sock: socket.socket, size: int) -> None:
    """Raises ValueError if not every byte came."""
    sock.sendall(b"PUT /upload HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n" % size)
    for _ in range(size // len(_PIECE)):
        sock.sendall(_PIECE)
    if int(http1_body(sock)) != size:
        raise ValueError("bytes were lost")


def http1_body(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data or not data.partition(b"\r\n\r\n")[2]:
        part = sock.recv(65536)
        if not part:
            raise ValueError(f"closed after {data[:80]!r}")
        data += part
    return data.partition(b"\r\n\r\n")[2]


def download(sock: socket.socket, size: int) -> None:
    """Raises ValueError if not every byte came."""
    sock.sendall(b"GET /download/%d HTTP/1.1\r\nHost: bench\r\n\r\n" % size)
    came = len(http1_body(sock))
    room = bytearray(1 << 20)
    flags = 0 if isinstance(sock, ssl.SSLSocket) else socket.MSG_TRUNC
    while came < size:
        part = sock.recv_into(room, len(room), flags)
        if not part:
            raise ValueError(f"{size - came} bytes are missing")
        came += part


def peak(pid: int) -> int:
    """Bytes that the process had in memory at most since `forget_peak`."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def forget_peak(pid: int) -> None:
    """proc(5), clear_refs: 5 resets the peak."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def measure(server: c.Server, tls: bool, size: int, way: str) -> Found:
    move = upload if way == "up" else download
    with connection(server.port, tls) as sock:
        move(sock, len(_PIECE))  # warm, and with its memory in place
        pids = [server.pid, *descendants(server.pid)]
        for pid in pids:
            forget_peak(pid)
        before = {pid: peak(pid) for pid in pids}
        used, began = cpu_seconds(pids), time.monotonic()
        move(sock, size)
        took = time.monotonic() - began
        growth = max(peak(pid) - before[pid] for pid in pids if procfs.state_of(pid))
        return Found(size / took, cpu_seconds(pids) - used, growth)


def main() -> None:
    parser = telling.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gib", type=float, default=1.0)
    options = parser.parse_args()
    size = int(options.gib * GIB) // len(_PIECE) * len(_PIECE)
    _, cpus = pin()
    names = ("tornado", "tornado uvloop", "leeward uvloop", "leeward asyncio")
    possible = [it for it in http1.CONTENDERS if it.name in names]
    contenders = telling.chosen(possible, options.only)
    ways = [(way, tls) for tls in (False, True) for way in ("up", "down")]
    found: dict[tuple[str, str, bool], list[Found]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        cert, key = certificate(Path(name))
        for _ in range(options.rounds):
            for way, tls in ways:
                for it in contenders:
                    ours = "leeward" in it.name
                    flags = ("--ssl-certfile", str(cert), "--ssl-keyfile", str(key))
                    env = {"BENCH_TLS": f"{cert}:{key}"} if tls and not ours else {}
                    more = flags if tls and ours else ()
                    with c.run(it, "speed", 1, cpus, env=env, flags=more) as server:
                        wait(server.port, tls)
                        found[it.name, way, tls].append(measure(server, tls, size, way))
    tell(found, [it.name for it in contenders], ways, size, options)


def tell(
    found: dict[tuple[str, str, bool], list[Found]],
    names: list[str],
    ways: list[tuple[str, bool]],
    size: int,
    options: object,
) -> None:
    rounds, keep = options.rounds, options.keep  # type: ignore[attr-defined]
    report = telling.Report(
        "What does a gigabyte cost that is sent up or down?", {"GiB": size / GIB, "rounds": rounds}
    )
    for name in names:
        row: dict[str, object] = {"": name}
        for way, tls in ways:
            them, what = found[name, way, tls], f"{'TLS ' if tls else ''}{way}"
            row[f"{what} MB/s"] = median(it.rate for it in them) / 1e6
            row["CPU s/GB"] = median(it.cpu for it in them) / size * 1e9
            row["growth MiB"] = max(it.growth for it in them) / MIB
            report.rows.append({"": f"{name}, {what}", **{k: row[k] for k in list(row)[-3:]}})
            row = {"": name}
    for way, tls in ways:
        what = f"{'TLS ' if tls else ''}{way}"
        base = found.get(("tornado", way, tls), [])
        for name in names:
            if name != "tornado" and base:
                ours = [it.rate for it in found[name, way, tls]]
                report.ratio(f"{what}, rate: {name} / tornado", [it.rate for it in base], ours)
        cost = {name: median(it.cpu for it in found[name, way, tls]) for name in names}
        if base and cost.get("leeward uvloop"):
            part = cost["leeward uvloop"] / cost["tornado"]
            contract = telling.Contract(f"{what}, share of Tornado's CPU", part, 1.0, "×")
            report.contracts.append(contract)
        share = report.ratios.get(f"{what}, rate: leeward uvloop / tornado")
        if share:
            contract = telling.Contract(
                f"{what}, share of Tornado's rate", share["median"], 1.0, "×", at_least=True
            )
            report.contracts.append(contract)
    telling.finish(report, "stream", keep)


if __name__ == "__main__":
    main()
