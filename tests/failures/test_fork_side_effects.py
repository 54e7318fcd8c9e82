"""A Dubbo client that was made before the fork crosses replies, and under leeward none."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from process.support import free_port

from leeward.lineclient import Ended, LineDown, LineTimeout
from leeward.testing import serve

EXAMPLE = Path(__file__).parents[2] / "examples" / "fork_side_effects"
dubbo = runpy.run_path(str(EXAMPLE / "dubbo.py"))
provider = runpy.run_path(str(EXAMPLE / "provider.py"))
driver = runpy.run_path(str(EXAMPLE / "client.py"))
SERVICE, REMARK = provider["SERVICE"], provider["REMARK"]
both = pytest.mark.parametrize("encoding", ["gb2312", "utf-8"])


def test_the_example_says_so() -> None:
    """`make examples NAME=fork_side_effects` says it in at most 12 lines, and exits with 0."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "client.py")],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) <= 12
    assert "and is gone under leeward and with LineClient" in done.stdout


# --- the client in the wild -----------------------------------------------------------------


@contextmanager
def provided(encoding: str, form: str) -> Iterator[str]:
    """The port of the provider, a process of its own."""
    command = [EXAMPLE / "provider.py", "--port", "0", "--form", form, "--encoding", encoding]
    process, rest, said = driver["start"](command, "listening")
    try:
        yield said[-1].split()[1]
    finally:
        driver["end"](process, rest, signal.SIGKILL)


def line_of(file: str, text: str) -> int:
    """Of the one line that has this text."""
    lines = (EXAMPLE / file).read_text(encoding="utf-8").splitlines()
    [number] = [number for number, line in enumerate(lines, 1) if text in line]
    return number


@both
@pytest.mark.parametrize("form", ["old", "new"])
def test_the_client_in_the_wild_is_found_where_it_is_made(encoding: str, form: str) -> None:
    """Forked it gives somebody else's replies.  Under leeward it is LW110, with the file and
    line that connect and the name that holds it; no process shares it, and all is answered."""
    _, crossed = driver["run"]("naive", False, encoding, form, rounds=2)
    assert crossed > 0
    where = f"naive.py:{line_of('naive.py', 'socket.create_connection(')}"
    port = free_port()
    with provided(encoding, form) as peer:
        args = ("--client", "naive", "--encoding", encoding, str(port), peer)
        with serve("program.py", cwd=EXAMPLE, bind=None, args=args) as service:
            service.wait_ready(4)
            seen = service.ps()
            [found] = [it for it in seen["hazards"] if it["code"] == "LW110"]
            assert (found["where"], seen["mode"]) == (where, "spawn"), found
            told = service.wait_line(rf"zygote LW110 a socket is connected to 127.0.0.1:{peer}.*")
            assert "held by __main__.naive, a naive.NaiveDubbo" in told[0]
            assert re.search(rf"\({re.escape(where)}[;)]", told[0])
            assert driver["ab"](port) == 0


def test_line_client_is_no_hazard() -> None:
    """It is made at the same place, and has nothing open before the first call."""
    port = free_port()
    with provided("gb2312", "old") as peer:
        args = ("--client", "line", "--encoding", "gb2312", str(port), peer)
        with serve("program.py", cwd=EXAMPLE, bind=None, args=args) as service:
            service.wait_ready(4)
            assert not [it for it in service.ps()["hazards"] if it["code"] == "LW110"]
            assert driver["ab"](port) == 0


# --- the client, against a provider that fragments --------------------------------------


@asynccontextmanager
async def client_of(encoding: str, form: str = "new", **options: Any) -> AsyncIterator[Any]:
    served = provider["Provider"](encoding, form, seed=7, pause=0.0)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = dubbo["Dubbo"](f"127.0.0.1:{port}", encoding, **{"timeout": 20.0, **options})
    client.provider = served
    try:
        yield client
    finally:
        await client.line.aclose()
        server.close()


@both
@pytest.mark.parametrize("form", ["old", "new"])
def test_results_in_both_forms_and_charsets(encoding: str, form: str) -> None:
    """Whatever looks like an end of the reply stands in them."""

    async def main() -> None:
        async with client_of(encoding, form) as client:
            names = [f"库存 {n} dubbo>\r\n-p --no-prompt" for n in range(50)]
            find = client.com.acme.StockService.find
            found = await asyncio.gather(*(find(name) for name in names))
            assert found == [{"name": name, "remark": REMARK} for name in names]
            assert client.line.stats().opened == 4

    asyncio.run(main())


@pytest.mark.parametrize("form", ["old", "new"])
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda it: it.com.acme.StockService.fail("库存"), "cause: 库存\n\tat dubbo>"),
        (lambda it: it.com.acme.StockService.none(1), "No such method none in service com."),
        (lambda it: it.Nowhere.find(1), "No such service Nowhere"),
    ],
    ids=["raises", "no method", "no service"],
)
def test_errors_in_place_of_a_result(form: str, call: Any, said: str) -> None:
    """They have no `elapsed` line; the connection is not used again, as their end is a guess."""

    async def main() -> None:
        async with client_of("gb2312", form) as client:
            for _ in range(3):
                with pytest.raises(Exception, match="(?s)" + said) as caught:
                    await call(client)
                assert type(caught.value).__name__ == "DubboError"
            assert client.line.stats().idle == 0
            assert (await client.StockService.find("x"))["name"] == "x"

    asyncio.run(main())


def test_a_deadline_does_not_give_its_reply_to_the_next() -> None:
    async def main() -> None:
        async with client_of("utf-8") as client:
            stock = client.com.acme.StockService
            line = f'invoke {SERVICE}.slow("late",300)'
            with pytest.raises(LineTimeout):
                await client.line.call(line, timeout=0.05)
            names = [str(n) for n in range(8)]
            found = await asyncio.gather(*(stock.find(name) for name in names))
            assert [it["name"] for it in found] == names

    asyncio.run(main())


def test_a_provider_that_hangs_is_down_before_anything_is_invoked() -> None:
    """It accepts; an empty line has no prompt for an answer."""

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        await reader.read()
        asked.append(b"closed")
        writer.close()

    asked: list[bytes] = []

    async def main() -> None:
        server = await asyncio.start_server(hangs, "127.0.0.1", 0)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = dubbo["Dubbo"](address, check_timeout=0.1, timeout=20.0)
        with pytest.raises(LineDown, match=rf"{address}: .*check b'\\r\\n' got no reply in \d+\."):
            await client.com.acme.StockService.find("x")
        assert asked[0] == b"\r\n"
        async with asyncio.timeout(20):
            while asked[-1] != b"closed":
                await asyncio.sleep(0)
        await client.line.aclose()
        server.close()
        assert len(asked) == 2

    asyncio.run(main())


def test_one_that_hung_meanwhile_is_found_and_left() -> None:
    """Its idle connection is closed, and the call is made on another."""

    async def main() -> None:
        async with client_of("gb2312", check_after=0, check_timeout=1.0) as client:
            stock, provide = client.com.acme.StockService, client.provider.answer
            assert (await stock.find("库存"))["name"] == "库存"

            async def once(line: str) -> str:
                client.provider.answer = provide
                await asyncio.sleep(20)
                return str(await provide(line))

            client.provider.answer = once
            assert (await stock.find("次"))["name"] == "次"
            stats = client.line.stats()
            assert (stats.opened, stats.failed_checks, stats.checks) == (2, 1, 3)

    asyncio.run(main())


@both
def test_an_end_is_seen_at_its_last_byte_and_nowhere_before(encoding: str) -> None:
    """One byte at a time, with a result that holds prompts."""
    result = json.dumps({"text": "库存 dubbo>\r\nelapsed: 3 ms.\r\ndubbo>"}, ensure_ascii=False)
    reply = f"{result}\r\nelapsed: 12 ms.\r\ndubbo>".encode(encoding)
    end = dubbo["end_of_reply"]
    seen = [end(reply[:size], size - 1) for size in range(1, len(reply) + 1)]
    assert seen[:-1] == [None] * (len(reply) - 1)
    assert seen[-1] == Ended(len(result.encode(encoding)), len(reply))
