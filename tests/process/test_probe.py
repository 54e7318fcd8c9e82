"""--probe: a generation's first worker answers before anybody is sent to it."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import needs_openssl
from process.clients import address_of, get
from process.crowd import CALM, Crowd
from process.releases import MODULE, NO_PYC, deploy, releases_of, served
from process.support import APPS, until
from process.test_tls import Files, Https
from process.test_tls import address_of as tls_address_of

from leeward.testing import Service, serve

PROBE = ("--probe", "/")
#: Says who asks.
TELLS = """
class Who(Who):
    def prepare(self):
        agent = self.request.headers["User-Agent"] if "User-Agent" in self.request.headers else "-"
        print("asked by", agent, self.request.protocol, self.request.host, file=sys.stderr)
"""


def answers(body: str, before: str = "") -> str:
    """A release whose `/` does this."""
    return f"{before}\ndef get(self):\n{textwrap.indent(body, '    ')}\nWho.get = get\n"


def asked(service: Service) -> int:
    return sum("asked by leeward-probe" in line for line in service.lines)


@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_the_canary_of_each_generation_is_asked_once(tmp_path: Path, start: str) -> None:
    """Before it is ready and counted nowhere; no second worker, no fresh one, no old code."""
    deploy(tmp_path, "one", at_end=TELLS)
    with served(tmp_path, *PROBE, "--start", start, workers=3) as service:
        service.wait_line("asked by leeward-probe http localhost")
        text = service.log
        assert text.index("asked by leeward-probe") < text.index(" ready")
        assert asked(service) == 1
        assert {(it["accepted"], it["requests"]) for it in service.workers()} == {(0, 0)}
        assert service.leeward("recycle").returncode == 0
        assert asked(service) == 1
        assert service.leeward("reload").returncode == 0
        until(lambda: asked(service) == 2, "the canary of the second generation to be asked")
        if start == "zygote":
            assert service.leeward("rollback").returncode == 0
        assert get(address_of(service)).status == 200
        # All write to one pipe: behind this line there is none of an earlier request.
        service.wait_line("asked by - ")
        assert asked(service) == 2

        def counted() -> list[tuple[int, ...]]:
            words = ("requests", "connections", "in_flight")
            found = (tuple(it[word] for word in words) for it in service.workers())
            return [it for it in found if any(it)]

        # Behind its answer, and when the client has left.
        until(lambda: counted() == [(1, 0, 0)], "one request to be counted and no more")


WAITS = "import asyncio\nasync def get(self):\n    await asyncio.sleep(99)\nWho.get = get\n"
YIELDS = (
    "import tornado.gen\n@tornado.gen.coroutine\ndef get(self):\n    yield tornado.gen.sleep(99)\n"
    "Who.get = get\n"
)
IN_TIME = "probe GET / was not answered within 4 s (--start-timeout)"
BAD = {
    "raises": (answers("raise KeyError('database')"), "answered 500 Internal Server Error"),
    "redirects": (answers("self.redirect('/login')"), "answered 302 Found, a redirect to /login"),
    "is missing": (answers("raise tornado.web.HTTPError(404)"), "answered 404 Not Found"),
    "closes": (answers("self.request.connection.stream.close()"), "got no answer"),
    "floods": (answers("self.set_header('X', 'x' * 90000)"), "more than 64 KiB of headers"),
    "waits": (WAITS, IN_TIME),
    "yields": (YIELDS, IN_TIME),
    "blocks": (answers("time.sleep(99)", "import time"), "was not ready within 4 s"),
}


#: Those that hang.
LATE = ("waits", "yields", "blocks")
# Code that is fine starts in four seconds on a busy machine.
WITHIN = {"": PROBE, "4s": (*PROBE, "--start-timeout", "4s")}


@pytest.fixture(scope="module")
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, Path]]:
    """Release one and where it is deployed; for all releases that never serve."""
    directory = tmp_path_factory.mktemp("shop")
    deploy(directory, "one")
    with served(directory, *WITHIN[request.param], workers=2) as service:
        yield service, directory


@pytest.mark.parametrize(
    ("shop", "how"),
    [("", how) for how in BAD if how not in LATE] + [("4s", how) for how in LATE],
    indirect=["shop"],
)
def test_code_that_does_not_answer_never_serves(shop: tuple[Service, Path], how: str) -> None:
    """The reload fails with the reason, exit code 3; the old code answers every request."""
    service, directory = shop
    code, words = BAD[how]
    with Crowd(address_of(service), pace=CALM) as crowd:
        deploy(directory, "two", at_end=code)
        done = service.leeward("reload")
        assert done.returncode == 3, done
        assert words in done.stderr, done
        assert len(done.stderr.splitlines()) <= 8
        if how in LATE:
            assert f"{MODULE}.py:" in done.stderr or f'{MODULE}.py", line' in done.stderr, done
            assert " in get" in done.stderr, done
        crowd.all_answered()
        assert set(crowd.seen) == {"one"}
        assert service.ps()["generation"] == 1


@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_at_boot_nothing_is_accepted(tmp_path: Path, start: str) -> None:
    """`serve` ends with 3 and says what was asked and answered."""
    deploy(tmp_path, "one", at_end=BAD["raises"][0])
    with serve(MODULE, *PROBE, "--start", start, cwd=tmp_path, env=NO_PYC) as service:
        assert service.wait() == 3
        assert "probe GET / answered 500 Internal Server Error (--probe)" in service.log
        assert "KeyError: 'database'" in service.log, "the log says why"
        assert " ready" not in service.log


def test_the_application_is_asked_and_not_the_health_path(tmp_path: Path) -> None:
    """The same path for both asks for more than leeward can say: the remedy tells."""
    deploy(tmp_path, "one")
    flags = ("--probe", "/healthz", "--health-path", "/healthz")
    with serve(MODULE, *flags, cwd=tmp_path, env=NO_PYC) as service:
        assert service.wait() == 3
        assert "probe GET /healthz answered 404 Not Found" in service.log
        assert "--health-path is answered by leeward" in service.log


@pytest.mark.parametrize("form", ["listen", "asyncio_run", "subclass", "run_sync"])
@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_an_adopted_program_is_probed_too(form: str, start: str) -> None:
    """While it runs its own loop; a wrong path ends it as it ends an application."""
    flags = ("--kind", "script", "--start", start)
    options = {"args": (form, "--port=0"), "bind": None, "cwd": APPS}
    with serve("adopted.py", *PROBE, *flags, **options) as service:  # type: ignore[arg-type]
        service.wait_ready(1)
        assert get(address_of(service)).status == 200
    with serve("adopted.py", "--probe", "/gone", *flags, **options) as service:  # type: ignore[arg-type]
        assert service.wait() == 3
        assert "probe GET /gone answered 404 Not Found" in service.log


@needs_openssl
def test_plain_http_is_asked_where_clients_need_tls(tmp_path: Path) -> None:
    """The probe needs no certificate, and its path no exception."""
    files = Files(tmp_path)
    deploy(tmp_path, "one", at_end=TELLS)
    with served(tmp_path, *PROBE, *files.flags, workers=1) as service:
        service.wait_line("asked by leeward-probe http localhost")
        with Https(files, tls_address_of(service)) as client:
            assert client.get().status == 200


def test_on_uvloop(tmp_path: Path) -> None:
    """Any loop that the application chooses."""
    pytest.importorskip("uvloop")
    policy = "import asyncio, uvloop\nasyncio.set_event_loop_policy(uvloop.EventLoopPolicy())"
    deploy(tmp_path, "one", at_import=policy, at_end=TELLS)
    with served(tmp_path, *PROBE, workers=1) as service:
        service.wait_line("asked by leeward-probe http localhost")
        assert releases_of(address_of(service)) == {"one"}


def test_a_stop_does_not_wait_for_a_probe(tmp_path: Path) -> None:
    """The worker has accepted nothing: it goes at once."""
    deploy(tmp_path, "one", at_end=f"import asyncio\nprint('pid', os.getpid())\n{TELLS}\n{WAITS}")
    with serve(MODULE, *PROBE, cwd=tmp_path, env=NO_PYC) as service:
        service.wait_line("asked by leeward-probe")
        os.kill(service.pid, 15)
        assert service.wait() == 0
        assert "drain deadline" not in service.log
