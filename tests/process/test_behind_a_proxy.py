"""Behind a proxy: who the client is, what may come, by the flags of `serve`."""

from __future__ import annotations

import socket

import pytest
from process.clients import Address, address_of
from process.support import APPS, PATIENCE

from leeward.testing import Service, serve

FORWARDED = "X-Forwarded-For: 203.0.113.1, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 5 80\r\n"

every_engine = pytest.mark.parametrize("engine", ["leeward", "tornado"])


def ask(
    address: Address, before: bytes = b"", headers: str = "", body: bytes = b"", size: int = 0
) -> str:
    """What the application says; "" if it was closed, the status if it was refused.

    size:  of a body that is announced and not sent: Tornado's close would reset us for it.
    """
    lines = f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}"
    with socket.create_connection(address, PATIENCE) as sock:
        sock.sendall(before + f"{lines}Content-Length: {size or len(body)}\r\n\r\n".encode() + body)
        answer = b""
        try:
            while part := sock.recv(65536):
                answer += part
        except ConnectionResetError:
            return ""
    status, _, text = answer.decode().partition("\r\n\r\n")
    return text if " 200 " in status else status.partition(" ")[2][:3]


def ready(service: Service) -> Address:
    service.wait_ready()
    return address_of(service)


@every_engine
def test_a_proxy_is_believed_if_it_is_said_so(engine: str) -> None:
    """By nothing, its header is the client's to write; by its network, it is the proxy's."""
    with serve("tells_its_client", "--engine", engine, cwd=APPS) as service:
        assert ask(ready(service), headers=FORWARDED) == "127.0.0.1 http 0"
    flags = ("--engine", engine, "--forwarded-allow-ips", "10.0.0.0/8,127.0.0.0/8")
    with serve("tells_its_client", *flags, cwd=APPS) as service:
        assert ask(ready(service), headers=FORWARDED) == "192.0.2.1 https 0"
        assert ask(ready(service)) == "127.0.0.1 http 0"


@every_engine
@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_the_proxy_protocol(engine: str, start: str) -> None:
    """The address that was told; whoever tells none is closed, and one line says why."""
    flags = ("--engine", engine, "--start", start, "--proxy-protocol", "v1", "--probe", "/")
    with serve("tells_its_client", *flags, cwd=APPS) as service:
        address = ready(service)
        assert ask(address, V1) == "192.0.2.7 http 0"
        assert ask(address) == ""
        service.wait_line(r"warning .*closed a connection of 127\.0\.0\.1: no PROXY header")
        assert ask(address, V1, FORWARDED) == "192.0.2.7 http 0"
        assert not [line for line in service.lines if "warm" in line]


@every_engine
def test_a_programs_arguments_and_the_flags(engine: str) -> None:
    """Its own `xheaders` and `max_body_size`, until a flag says something else."""
    base = ("--kind", "script", "--engine", engine)
    how = {"args": ("0",), "bind": None, "cwd": APPS}
    with serve("tells_its_client.py", *base, **how) as service:
        address = ready(service)
        assert ask(address, headers=FORWARDED, body=b"a" * 10) == "192.0.2.1 https 10"
        assert ask(address, size=11) == "400"
    flags = (*base, "--forwarded-allow-ips", "192.0.2.0/24", "--max-body", "1K")
    with serve("tells_its_client.py", *flags, **how) as service:
        address = ready(service)
        assert ask(address, headers=FORWARDED, body=b"a" * 1024) == "127.0.0.1 http 1024"
        assert ask(address, size=1025) == "400"
