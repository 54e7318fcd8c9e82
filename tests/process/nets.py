"""A network of a test's own, in which clients can be swallowed by a black hole.

One network namespace, held by a descriptor: nothing to clean up, whatever happens to the
test.  The service is at `Net.SERVER`; each client has an address of its own.  When a client
is swallowed its address is routed into one end of a cable, and nobody at the other end
takes the packets: no reset, no ICMP, as if its machine had been unplugged.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from process.support import PATIENCE, wrapped

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Net:
    SERVER = "10.9.0.1"

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._clients = 1
        self.ip("link set lo up")
        self.ip(f"addr add {self.SERVER}/32 dev lo")
        self.ip("link add near type veth peer name far")
        self.ip("link set near up")
        self.ip("link set far up")

    def command(self, *words: str) -> list[str]:
        """`words` run in this network."""
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self._fd}", *words]

    def ip(self, words: str) -> None:
        done = subprocess.run(
            self.command("ip", *words.split()), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"ip {words}: {done.stderr}"

    def python(self, directory: Path) -> str:
        """An interpreter in this network: hand it to `serve(python=...)`."""
        return wrapped(directory, f'exec {" ".join(self.command())} "$python" "$@"')

    def client(self) -> str:
        """The address of a new client."""
        self._clients += 1
        address = f"10.9.0.{self._clients}"
        self.ip(f"addr add {address}/32 dev lo")
        return address

    def swallow(self, address: str) -> None:
        """From now on nothing reaches this client, and nothing comes from it."""
        self.ip(f"addr del {address}/32 dev lo")
        self.ip(f"route add {address}/32 dev near src {self.SERVER}")
        # Known for good, so that nobody has to answer an ARP request.
        self.ip(f"neigh replace {address} lladdr 02:00:00:00:00:99 dev near nud permanent")

    def inside(self, call: Callable[[], T]) -> T:
        """What `call` returns; sockets that it makes belong to this network."""
        found: list[T] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                if _libc.setns(self._fd, _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
                found.append(call())
            except BaseException as error:
                failed.append(error)

        # A namespace is a thread's own: this one ends with it.
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(PATIENCE)
        if failed:
            raise failed[0]
        return found[0]


@contextlib.contextmanager
def network() -> Iterator[Net]:
    """A network without a way out, or skips the test."""
    for tool in ("ip", "nsenter"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here: apt-get install iproute2 util-linux")
    made: list[int] = []
    refused: list[str] = []

    def make() -> None:
        if _libc.unshare(_CLONE_NEWNET):
            refused.append(os.strerror(ctypes.get_errno()))
            return
        made.append(os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if not made:
        pytest.skip(f"no network namespaces here: {refused[0]}")
    try:
        yield Net(made[0])
    finally:
        os.close(made[0])
