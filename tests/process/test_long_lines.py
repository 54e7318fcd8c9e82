"""Lines longer than PIPE_BUF into a pipe that several workers share: whole, and in order."""

from __future__ import annotations

import os
import re
import threading
import zlib
from collections import Counter
from pathlib import Path

import pytest
from process.clients import Http, address_of
from process.support import APPS

from leeward.testing import Service, serve

LINE = re.compile(r"<((\d+) (\d+) ü*) ([0-9a-f]{8})>")


def ask(service: Service, path: str, many: int) -> list[int]:
    """Several at once; who has answered."""
    at = address_of(service)
    clients = [Http(at) for _ in range(many)]
    threads = []
    answers: list[int] = []

    def get(client: Http) -> None:
        answers.append(int(client.get(path).body or b"0"))

    for it in clients:
        threads.append(threading.Thread(target=get, args=(it,)))
        threads[-1].start()
    for it in threads:
        it.join(30)
    for it in clients:
        it.close()
    return answers


def check(lines: list[str], answers: list[int], each: int) -> None:
    """All that was logged is there, whole, once, in the order in which it was logged."""
    numbers: dict[int, list[int]] = {}
    for line in lines:
        if "<" not in line and "üüü" not in line:
            continue
        found = LINE.search(line)
        assert found and int(found[4], 16) == zlib.crc32(found[1].encode()), line[:200]
        numbers.setdefault(int(found[2]), []).append(int(found[3]))
    assert {pid: len(it) for pid, it in numbers.items()} == {
        pid: each * many for pid, many in Counter(answers).items()
    }
    assert all(it == sorted(it) for it in numbers.values())


@pytest.mark.parametrize("how", ["own", "basic"])
def test_stderr(how: str) -> None:
    """By leeward's own lines, and by the application's handler, while threads print to it."""
    env = {"HOW": how, "MUTTER": "1"}
    with serve("logs_long_lines:make_app", "-w", "4", cwd=APPS, env=env) as service:
        service.wait_ready(4)
        answers = ask(service, "/30", 8)
        assert service.stop() == 0
    check(service.lines, answers, 30)
    muttered = [it for it in service.lines if "mutter" in it]
    assert len(muttered) == 300 * 8 and set(muttered) == {"muttering"}


def test_a_fifo(tmp_path: Path) -> None:
    """That a FileHandler has opened by its name."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    got: list[bytes] = []

    def read() -> None:
        with open(path, "rb") as fifo:
            got.append(fifo.read())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    held = os.open(path, os.O_WRONLY)  # it has not ended before we say so
    env = {"HOW": str(path)}
    try:
        with serve("logs_long_lines:make_app", "-w", "3", cwd=APPS, env=env) as service:
            service.wait_ready(3)
            answers = ask(service, "/30", 6)
            assert service.stop() == 0
    finally:
        os.close(held)
        reader.join(20)
    check(got[0].decode().splitlines(), answers, 30)


def test_a_traceback() -> None:
    """Of 20 kB from each of several workers: no line of another comes in between."""
    with serve("logs_long_lines:make_app", "-w", "3", cwd=APPS, env={"HOW": "own"}) as service:
        service.wait_ready(3)
        ask(service, "/raises", 9)
        assert service.stop() == 0
    begins = [n for n, line in enumerate(service.lines) if "long: failed yyy" in line]
    assert len(begins) == 9
    for n in begins:
        who = re.search(r"pid=\d+", service.lines[n])
        assert who
        end = next(m for m in range(n, n + 600) if "| ValueError: xxx" in service.lines[m])
        lines = service.lines[n : end + 1]
        assert end - n > 5 and all(f"{who[0]} | " in it for it in lines[1:])
        assert service.lines[n].endswith("y" * 9000) and lines[-1].endswith("x" * 500)


def test_left_as_it_is() -> None:
    """--log-files as-is: the application's handlers are nobody's but its own."""
    env = {"HOW": "basic"}
    flags = ("--log-files", "as-is")
    with serve("logs_long_lines:make_app", *flags, cwd=APPS, env=env) as service:
        answers = ask(service, "/3", 1)
        client = Http(address_of(service))
        assert client.get("/stderr").body == b"FileIO"
        client.close()
        assert service.stop() == 0
    check(service.lines, answers, 3)
