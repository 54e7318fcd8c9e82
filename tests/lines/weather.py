"""A Dubbo-like provider with moods, and processes that call it, fork, and check each reply."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import runpy
import socket
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from leeward import LineClient
from leeward.lineclient import LineError

DUBBO = runpy.run_path(
    str(Path(__file__).parents[2] / "examples" / "fork_side_effects" / "dubbo.py")
)
#: Seconds: for a call; for one whose reply is late, and how late that is.  With 0.4 s for
#: all, a machine that was busy elsewhere for that long had every call time out.
DEADLINE, IMPATIENT, LATE = 20.0, 0.05, (0.1, 0.6)
AT_ONCE = 24
BAIT = "dubbo> elapsed: 3 ms.\r\ndubbo>"


class Provider(asyncio.Protocol):
    """Answers with what it was asked; now and then late, in pieces, or not to its end."""

    def __init__(self, weather: random.Random, encoding: str) -> None:
        self.weather, self.encoding = weather, encoding
        self.came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.came += data
        while b"\r\n" in self.came:
            line, _, self.came = self.came.partition(b"\r\n")
            self.answer(line.decode(self.encoding))

    def answer(self, line: str) -> None:
        if not line:  # a check
            self.transport.write(b"dubbo>")
            return
        mood = self.weather.random()
        if mood < 0.01:
            reply = f"No such service {line}, dubbo> or not\r\ndubbo>"
        else:
            name = json.loads(line.partition("(")[2].rpartition(")")[0])
            result = json.dumps({"name": name, "remark": BAIT}, ensure_ascii=False)
            reply = f"Use default service S.\r\nresult: {result}\r\nelapsed: 1 ms.\r\ndubbo>"
        data = reply.encode(self.encoding)
        if line.startswith("invoke S.late"):
            asyncio.get_running_loop().call_later(self.weather.uniform(*LATE), self.send, data)
        elif mood > 0.995:
            self.transport.write(data[: self.weather.randrange(len(data))])
            self.transport.close()
        elif mood > 0.8:
            cut = self.weather.randrange(len(data))
            self.transport.write(data[:cut])
            asyncio.get_running_loop().call_soon(self.send, data[cut:])
        else:
            self.transport.write(data)

    def send(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)


def provide(listener: socket.socket, seed: int, encoding: str) -> None:
    async def main() -> None:
        weather = random.Random(seed)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Provider(weather, encoding), sock=listener)
        await server.serve_forever()

    asyncio.run(main())


class Caller:
    """One process of those that share a client which was made before they were forked."""

    def __init__(self, client: LineClient, parse: Callable[[str], Any], seed: int) -> None:
        self.client, self.parse = client, parse
        self.random = random.Random(seed)
        self.found: Counter[str] = Counter()

    async def call(self, number: int) -> None:
        name = f"库存 {os.getpid()} {number}"
        method, timeout, mood = "find", DEADLINE, self.random.random()
        if mood < 0.005:
            method, timeout = "late", IMPATIENT
        elif mood < 0.015:  # a deadline may pass at any moment of a reply
            timeout = self.random.random() * 0.01 + 1e-4
        try:
            reply = await self.client.call(f'invoke S.{method}("{name}")', timeout)
        except LineError as error:
            self.found[type(error).__name__] += 1
            return
        if reply.startswith("No such service"):
            right = name in reply
        else:
            right = self.parse(reply)["name"] == name
        self.found["right" if right else "wrong"] += 1

    async def calls(self, count: int) -> None:
        numbers = iter(range(count))

        async def some() -> None:
            for number in numbers:
                await self.call(number)

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))


async def with_forks(caller: Caller, count: int, forks: int) -> None:
    """`count` calls, a part of them by children that are forked while calls are in flight."""
    share = count // (forks + 1)
    calling = asyncio.ensure_future(caller.calls(count - share * forks))
    for _ in range(forks):
        await asyncio.sleep(0.01)  # calls are in flight now, whichever
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reading)
            in_child(caller, share, writing)
        os.close(writing)
        caller.found += await asyncio.to_thread(gather, pid, reading)
    await calling
    await caller.client.aclose()


def in_child(caller: Caller, count: int, writing: int) -> None:
    code = 1
    try:
        asyncio.events._set_running_loop(None)
        caller.found, caller.random = Counter(), random.Random(os.getpid())

        async def main() -> None:
            await caller.calls(count)
            await caller.client.aclose()

        asyncio.run(main())
        with os.fdopen(writing, "w") as out:
            json.dump(caller.found, out)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def gather(pid: int, reading: int) -> Counter[str]:
    with os.fdopen(reading) as answer:
        said = answer.read()
    assert os.waitpid(pid, 0)[1] == 0
    return Counter(json.loads(said))


def process(client: LineClient, seed: int, count: int, forks: int, results: Any) -> None:
    caller = Caller(client, DUBBO["parse"], seed)
    main: Coroutine[Any, Any, None] = with_forks(caller, count, forks)
    asyncio.run(main)
    results.put(caller.found)


def storm(count: int, seed: int, encoding: str, check_after: float) -> Counter[str]:
    """How `count` calls ended, of four processes that fork three times each."""
    processes, forks = 4, 3
    fork = multiprocessing.get_context("fork")
    results: Any = fork.SimpleQueue()
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        client = LineClient(
            address,
            end=DUBBO["end_of_reply"],
            encoding=encoding,
            connections=8,
            first_pause=0.01,
            check_after=check_after,
            **DUBBO["CHECK"],
        )
        provider = fork.Process(target=provide, args=(listener, seed, encoding), daemon=True)
        provider.start()
        callers = [
            fork.Process(
                target=process, args=(client, seed + n, count // processes, forks, results)
            )
            for n in range(processes)
        ]
        for caller in callers:
            caller.start()
        total: Counter[str] = Counter()
        for _ in callers:
            total += results.get()
        for caller in callers:
            caller.join(20)
            assert caller.exitcode == 0
        provider.terminate()
        provider.join(20)
    return total
