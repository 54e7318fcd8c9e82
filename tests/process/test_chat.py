"""The example chat as its users meet it: several workers, one room, two browser tabs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from process.support import free_port
from tornado.websocket import WebSocketClientConnection, websocket_connect

ROOT = Path(__file__).resolve().parents[2]
CHAT = ROOT / "examples/chat/chat.py"
SECONDS = 20.0
#: Loopback is reached directly whatever the environment says.  Made once: with it all the
#: certificates of this machine are read, 21 ms of CPU.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
Start = Callable[..., "Server"]


class Server:
    """A process that prints the URL that it serves; all that it prints is kept in `log`."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | env,
                cwd=ROOT,
            )
        try:
            self.url = str(wait_for(self._find_url, "a URL"))
        except BaseException:
            self.end()
            print(log.read_text())
            raise

    def _find_url(self) -> str | None:
        found = re.search(r"http://127\.0\.0\.1:\d+", self.log.read_text())
        assert found or self.process.poll() is None, f"it ended: {self.process.returncode}"
        return found[0] if found else None

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not end in {SECONDS} s:\n{self.log.read_text()}") from None


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Start]:
    """Starts the chat as a plain Python program, as the worker of a slot."""
    servers: list[Server] = []

    def start(slot: int) -> Server:
        env = {"PORT": "0", "LEEWARD_SLOT": str(slot), "CHAT_RUN_DIR": str(tmp_path / "run")}
        log = tmp_path / f"{len(servers)}.log"
        servers.append(Server([sys.executable, str(CHAT)], env, log))
        return servers[-1]

    yield start
    for server in servers:
        server.end()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    """The chat under `leeward serve`, two workers."""
    env = {"CHAT_RUN_DIR": str(tmp_path / "run"), "XDG_RUNTIME_DIR": str(tmp_path)}
    flags = ["-w", "2", "-b", "127.0.0.1:0", "--name", f"chat-{os.getpid()}"]
    command = [sys.executable, "-m", "leeward", "serve", f"{CHAT}:make_app", *flags]
    server = Server(command, env, tmp_path / "leeward.log")
    try:
        wait_for(lambda: len(sockets(tmp_path)) == 2, "two workers")
        yield server
    finally:
        server.end()


def sockets(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "run").glob("slot-*")}


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Ask again until it is true; for what cannot be waited on."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {SECONDS} s in vain for {what}")


def call(url: str, body: Any = None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if data else {}
    request = urllib.request.Request(url, data, headers, method=method)
    with DIRECT.open(request, timeout=SECONDS) as answer:
        return json.load(answer)


def texts(server: Server) -> list[str]:
    return [message["text"] for message in call(server.url + "/api/messages")["messages"]]


@contextlib.asynccontextmanager
async def in_room(url: str, after: str = "") -> AsyncIterator[tuple[Any, dict[str, Any]]]:
    """A WebSocket in the room, and the greeting that it got."""
    ws: WebSocketClientConnection = await websocket_connect(
        url.replace("http", "ws", 1) + f"/ws?after={after}"
    )
    try:
        yield ws, await hear(ws)
    finally:
        ws.close()
        while await asyncio.wait_for(ws.read_message(), SECONDS) is not None:
            pass  # what is said until the other side has closed too


async def hear(ws: Any) -> dict[str, Any]:
    frame = await asyncio.wait_for(ws.read_message(), SECONDS)
    assert frame is not None, f"closed: {ws.close_code} {ws.close_reason}"
    return dict(json.loads(frame))


# --- the room, without leeward ----------------------------------------------------------


def test_two_workers_are_one_room(alone: Start) -> None:
    """What is said on one worker is heard, once, on the other."""

    async def scene() -> None:
        async with in_room(alone(0).url) as (one, hello), in_room(alone(1).url) as (two, _):
            assert hello["hello"]["slot"] == 0
            await one.write_message(json.dumps({"name": "Ada", "text": "<b>hé 😀</b>"}))
            await two.write_message(json.dumps({"name": "Bob", "text": "second"}))
            heard = {}
            for ws in (one, two):
                frames = [(await hear(ws))["message"] for _ in range(2)]
                heard[ws] = sorted((m["name"], m["slot"], m["text"]) for m in frames)
            assert heard[one] == [("Ada", 0, "<b>hé 😀</b>"), ("Bob", 1, "second")]
            assert heard[two] == heard[one]

    asyncio.run(scene())


def test_a_late_worker_knows_the_history(alone: Start) -> None:
    """A worker that starts has all that was said before it answers anybody."""
    first = alone(0)
    for n in range(150):
        call(first.url + "/api/messages", {"text": f"message {n}"})
    assert texts(alone(1)) == [f"message {n}" for n in range(150)]


def test_old_and_new_worker_of_a_slot_share_the_room(alone: Start, tmp_path: Path) -> None:
    """During a reload people on the draining worker still hear the others, and are heard."""

    async def scene() -> None:
        old, new = alone(0), alone(0)
        async with in_room(old.url) as (one, _), in_room(new.url) as (two, _):
            await one.write_message(json.dumps({"text": "from the old"}))
            assert (await hear(two))["message"]["text"] == "from the old"
            await hear(one)
            await two.write_message(json.dumps({"text": "from the new"}))
            assert (await hear(one))["message"]["text"] == "from the new"
        old.end()
        assert len(sockets(tmp_path)) == 1  # it took its socket with it

    asyncio.run(scene())


def test_a_reader_who_moves_gets_each_message_once(alone: Start) -> None:
    """A cursor is good on every worker: nothing twice, nothing missed."""

    async def scene() -> None:
        zero, one = alone(0), alone(1)
        call(zero.url + "/api/messages", {"text": "a"})
        call(one.url + "/api/messages", {"text": "b"})
        wait_for(lambda: len(texts(zero)) == 2, "both messages on slot 0")
        place = call(zero.url + "/api/messages")["next"]
        call(zero.url + "/api/messages", {"text": "c"})
        wait_for(lambda: len(texts(one)) == 3, "all messages on slot 1")
        async with in_room(one.url, place) as (_, hello):
            assert [m["text"] for m in hello["messages"]] == ["c"]

    asyncio.run(scene())


def test_a_long_poll_ends_when_somebody_speaks_elsewhere(alone: Start) -> None:
    """A poll on one worker is answered by what is said on another."""

    async def scene() -> None:
        zero, one = alone(0), alone(1)
        poll = asyncio.create_task(asyncio.to_thread(call, zero.url + "/api/poll"))
        while not (await asyncio.to_thread(call, zero.url + "/api/status"))["polls"]:
            assert not poll.done()
        await asyncio.to_thread(call, one.url + "/api/messages", {"text": "wake up"})
        answer = await asyncio.wait_for(poll, SECONDS)
        assert [m["text"] for m in answer["messages"]] == ["wake up"]

    asyncio.run(scene())


def test_a_poller_who_leaves_is_forgotten(alone: Start) -> None:
    """No coroutine waits on for a client that reset its connection."""
    server = alone(0)
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
        client.sendall(b"GET /api/poll HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: call(server.url + "/api/status")["polls"] == 1, "the poll")
    wait_for(lambda: call(server.url + "/api/status")["polls"] == 0, "the end of the poll")


def test_a_worker_that_stands_still_misses_nothing(alone: Start) -> None:
    """What was said while a worker was stopped reaches it afterwards, in order."""
    zero, one = alone(0), alone(1)
    one.process.send_signal(signal.SIGSTOP)
    said = [f"message {n} {'x' * 3000}" for n in range(120)]
    for text in said:
        call(zero.url + "/api/messages", {"text": text})
    one.process.send_signal(signal.SIGCONT)
    wait_for(lambda: len(texts(one)) == len(said), "all messages")
    assert texts(one) == said
    assert call(zero.url + "/api/status")["dropped"] == 0


def test_sockets_of_the_killed_are_cleared_by_their_slot(alone: Start, tmp_path: Path) -> None:
    """A killed worker's socket harms nobody, and goes when its slot starts again."""
    zero, one = alone(0), alone(1)
    one.process.kill()
    one.process.wait(SECONDS)
    assert len(sockets(tmp_path)) == 2
    call(zero.url + "/api/messages", {"text": "still here"})
    again = alone(1)
    assert texts(again) == ["still here"]
    assert len(sockets(tmp_path)) == 2


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"text": ""}, 400),
        ({"text": 1}, 400),
        ({"text": "x" * 5000}, 413),
        ({"text": '"' * 2100}, 413),  # fits until it is quoted
        ([], 400),
    ],
)
def test_bad_messages_are_refused_in_words(alone: Start, body: Any, code: int) -> None:
    """A message that cannot be is refused with a reason, and the worker goes on."""
    server = alone(0)
    with pytest.raises(urllib.error.HTTPError) as refused:
        call(server.url + "/api/messages", body)
    with refused.value as answer:
        assert answer.code == code
        assert json.load(answer)["error"]
    assert texts(server) == []


# --- under leeward ----------------------------------------------------------------------


async def both_workers(url: str, stack: contextlib.AsyncExitStack) -> dict[int, Any]:
    """One WebSocket on each of the two workers; which one answers is not ours to choose."""
    found: dict[int, Any] = {}
    for _ in range(100):
        ws, hello = await stack.enter_async_context(in_room(url))
        found.setdefault(hello["hello"]["slot"], ws)
        if len(found) == 2:
            return found
    raise AssertionError(f"100 connections all went to worker {list(found)}")


def test_the_room_spans_the_workers_of_leeward(served: Server) -> None:
    """Unmodified, under `leeward serve -w 2`: two slots, one room."""

    async def scene() -> None:
        async with contextlib.AsyncExitStack() as stack:
            found = await both_workers(served.url, stack)
            assert sorted(found) == [0, 1]
            await found[0].write_message(json.dumps({"text": "to the other"}))
            message = (await hear(found[1]))["message"]
            assert (message["slot"], message["text"]) == (0, "to the other")

    asyncio.run(scene())


def test_workers_leave_no_socket_behind(served: Server, tmp_path: Path) -> None:
    """A graceful end runs the application's atexit functions."""
    served.end()
    assert sockets(tmp_path) == set()


# --- in a browser -----------------------------------------------------------------------


class Browser:
    """Headless Chromium by the WebDriver protocol, which is JSON over HTTP."""

    def __init__(self, driver: str, log: Path) -> None:
        port = free_port()
        # Not pytest's directory: with xdist its path is too long for Chromium's unix sockets.
        self._files = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        # Chromium hangs at its start now and then where it finds half a D-Bus.
        env = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": "/dev/null", "TMPDIR": self._files.name}
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [driver, f"--port={port}"], stdout=out, stderr=out, env=env, start_new_session=True
            )
        self._url = f"http://127.0.0.1:{port}"
        try:
            wait_for(self._is_ready, "chromedriver")
            args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            options = {"goog:chromeOptions": {"args": [*args, "--window-size=900,700"]}}
            session = self._call("/session", {"capabilities": {"alwaysMatch": options}})
            self._url += f"/session/{session['sessionId']}"
        except BaseException:
            self._kill()
            raise

    def _kill(self) -> None:
        """The driver and the browser that it started, which would outlive it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._files.cleanup()

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(call(self._url + "/status")["value"]["ready"])
        return False

    def _call(self, path: str, body: Any = None, method: str | None = None) -> Any:
        return call(self._url + path, body, method)["value"]

    def open_tab(self, url: str) -> str:
        handle: str = self._call("/window/new", {"type": "tab"})["handle"]
        self.go_to_tab(handle)
        self._call("/url", {"url": url})
        return handle

    def go_to_tab(self, handle: str) -> None:
        self._call("/window", {"handle": handle})

    def run(self, script: str) -> Any:
        return self._call("/execute/sync", {"script": script, "args": []})

    def keys(self, selector: str, text: str) -> None:
        found = self._call("/element", {"using": "css selector", "value": selector})
        (element,) = found.values()
        self._call(f"/element/{element}/value", {"text": text})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("/screenshot")))

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it is killed, whatever it answers
            self._call("", method="DELETE")
        self._kill()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    driver = shutil.which("chromedriver")
    if driver is None or not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("no chromium with chromedriver here: apt-get install chromium chromium-driver")
    browser = started(driver, tmp_path)
    yield browser
    browser.close()


def started(driver: str, directory: Path) -> Browser:
    """A browser; asked for again where one did not start in time, as it is not what we test."""
    told = ""
    for attempt in range(3):
        log = directory / f"chromedriver-{attempt}.log"
        try:
            return Browser(driver, log)
        except (OSError, AssertionError) as error:
            told += f"{error!r}\n{log.read_text(errors='replace')[-2000:]}\n"
    raise AssertionError(f"Chromium did not start in 3 attempts of {SECONDS:g} s:\n{told}")


def tab_on_worker(browser: Browser, url: str, slot: int) -> str:
    """A tab of the room that landed on this worker."""
    for _ in range(60):
        handle = browser.open_tab(url)
        where = wait_for(
            lambda: re.search(r"worker (\d+)", browser.run("return where.textContent")), "the room"
        )
        if int(where[1]) == slot:
            return handle
    raise AssertionError(f"60 tabs, none on worker {slot}")


def on_page(browser: Browser) -> list[str]:
    script = "return [...document.querySelectorAll('#messages .text')].map(e => e.textContent)"
    return list(browser.run(script))


def talk(browser: Browser, one: str, two: str, shots: Path) -> None:
    browser.go_to_tab(one)
    browser.keys("#name", "Ada")
    browser.keys("#text", "<img src=x onerror=alert(1)> hello\n")
    browser.go_to_tab(two)
    wait_for(lambda: len(on_page(browser)) == 1, "the message in the other tab")
    assert on_page(browser) == ["<img src=x onerror=alert(1)> hello"]
    assert browser.run("return document.querySelectorAll('main img').length") == 0
    browser.keys("#text", "and back\n")
    wait_for(lambda: len(on_page(browser)) == 2, "our own message")
    browser.screenshot(shots / "chat.png")
    browser.go_to_tab(one)
    wait_for(lambda: on_page(browser)[1:] == ["and back"], "the answer")


@pytest.mark.browser
@pytest.mark.timeout(150)  # three attempts to start a browser
def test_two_tabs_on_two_programs_talk(alone: Start, browser: Browser, tmp_path: Path) -> None:
    """Two tabs on two processes show each other's messages, as text and never as HTML."""
    one = browser.open_tab(alone(0).url)
    two = browser.open_tab(alone(1).url)
    talk(browser, one, two, tmp_path)


@pytest.mark.browser
@pytest.mark.timeout(150)  # three attempts to start a browser
def test_two_tabs_on_two_workers_talk(served: Server, browser: Browser, tmp_path: Path) -> None:
    """Two tabs that landed on different workers of one address talk to each other."""
    talk(
        browser,
        tab_on_worker(browser, served.url, 0),
        tab_on_worker(browser, served.url, 1),
        tmp_path,
    )


@pytest.mark.browser
@pytest.mark.timeout(150)  # three attempts to start a browser
def test_a_page_comes_back_with_each_message_once(
    alone: Start, browser: Browser, tmp_path: Path
) -> None:
    """A page whose worker dies reconnects and shows neither gaps nor doubles."""
    first = alone(0)
    browser.open_tab(first.url)
    wait_for(lambda: browser.run("return where.dataset.state") == "open", "the room")
    call(first.url + "/api/messages", {"text": "before"})
    wait_for(lambda: on_page(browser) == ["before"], "the message")
    browser.run("socket.close(); return null")
    call(first.url + "/api/messages", {"text": "meanwhile"})
    wait_for(lambda: browser.run("return where.dataset.state") == "open", "the room again")
    wait_for(lambda: on_page(browser) == ["before", "meanwhile"], "what was missed")
