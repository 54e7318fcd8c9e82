"""Bodies that are larger than memory should be: whole, and never all here at once."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import zlib
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest
from certificates import OPENSSL, Authority
from process.support import APPS, PATIENCE

from leeward.testing import Service, serve

#: MiB of each body; the issue of flat memory is the same with 1024.
SIZE = int(os.environ.get("LEEWARDTEST_STREAM", "48"))
MIB = 1024 * 1024

loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
tls = pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])


@contextlib.contextmanager
def streaming(
    tmp_path: Path, loop: str, encrypted: bool
) -> Iterator[tuple[Service, HTTPConnection]]:
    if loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    if encrypted and not OPENSSL:
        pytest.skip("makes certificates by the openssl command")
    flags, context = ["--loop", loop], None
    if encrypted:
        authority = Authority(tmp_path / "ca")
        authority.make(tmp_path / "cert.pem", tmp_path / "key.pem")
        flags += ["--ssl-certfile", str(tmp_path / "cert.pem")]
        flags += ["--ssl-keyfile", str(tmp_path / "key.pem")]
        context = authority.client()
    with serve("streams", *flags, cwd=APPS) as service:
        service.wait_ready(1)
        port = int(service.wait_line(r"^  at +https?://[\d.]+:(\d+)")[1])
        connection = (
            HTTPSConnection("localhost", port, timeout=PATIENCE, context=context)
            if context
            else HTTPConnection("localhost", port, timeout=PATIENCE)
        )
        with contextlib.closing(connection):
            yield service, connection


def peak(service: Service) -> int:
    """MiB that the worker has had in memory at its highest (proc(5), VmHWM)."""
    (worker,) = service.ps()["workers"]
    status = Path(f"/proc/{worker['pid']}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def up(connection: HTTPConnection, mib: int) -> None:
    """PUT so much in chunks of no even size; raises AssertionError if a byte is another."""
    print("seed", seed := random.randrange(10**9))
    piece = random.Random(seed).randbytes(MIB - 77)
    connection.request("PUT", "/", (piece for _ in range(mib)), encode_chunked=True)
    answer = connection.getresponse()
    sum = 0
    for _ in range(mib):
        sum = zlib.crc32(piece, sum)
    assert json.loads(answer.read()) == {"bytes": mib * len(piece), "crc32": sum}


def down(connection: HTTPConnection, mib: int) -> None:
    connection.request("GET", f"/?pieces={mib * 16}")
    answer = connection.getresponse()
    came, found = 0, 0
    while part := answer.read(MIB):
        came, found = came + len(part), zlib.crc32(part, found)
    piece, wanted = random.Random(7).randbytes(64 * 1024), 0
    for _ in range(mib * 16):
        wanted = zlib.crc32(piece, wanted)
    assert (came, found) == (mib * MIB, wanted)


@loops
@tls
def test_bodies_are_whole_and_memory_is_flat(tmp_path: Path, loop: str, encrypted: bool) -> None:
    """Up and down on one connection: each byte, and no more of them here than a few MiB."""
    with streaming(tmp_path, loop, encrypted) as (service, connection):
        up(connection, 2)
        down(connection, 2)
        before = peak(service)
        up(connection, SIZE)
        down(connection, SIZE)
        assert peak(service) - before < 12


@loops
@tls
def test_a_reader_that_waits_makes_the_writer_wait(
    tmp_path: Path, loop: str, encrypted: bool
) -> None:
    """`await flush()` comes back when the bytes are gone: what nobody reads is not written."""
    with streaming(tmp_path, loop, encrypted) as (service, connection):
        down(connection, 1)
        before = peak(service)
        connection.request("GET", f"/?pieces={SIZE * 16}")
        answer = connection.getresponse()
        assert len(answer.read(MIB)) == MIB
        other = type(connection)(
            "localhost",
            connection.port,
            timeout=PATIENCE,
            **({"context": connection._context} if encrypted else {}),  # type: ignore[attr-defined]
        )
        with contextlib.closing(other):
            down(other, 4)  # a whole body for somebody else meanwhile
        assert peak(service) - before < 12
        rest = 0
        while part := answer.read(MIB):
            rest += len(part)
        assert rest == (SIZE - 1) * MIB


@loops
@tls
def test_many_answers_on_one_connection(tmp_path: Path, loop: str, encrypted: bool) -> None:
    """Small ones and such of several pieces, one after the other, none of them waited for."""
    with streaming(tmp_path, loop, encrypted) as (_, connection):
        for turn in range(30):
            connection.request("GET", f"/?pieces={turn % 4}")
            assert len(connection.getresponse().read()) == turn % 4 * 64 * 1024
            connection.request("PUT", "/", b"x" * turn)
            assert json.loads(connection.getresponse().read())["bytes"] == turn
