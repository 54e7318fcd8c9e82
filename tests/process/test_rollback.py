"""A generation that turns bad is left for the one before it, by hand at once or by itself."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path

import pytest
from process.clients import Gate, address_of
from process.crowd import Crowd
from process.releases import MODULE, NO_PYC, deploy, releases_of, served, wait_at

from leeward._core.messages import Answer, Message, RecycleRequest, ReloadRequest, RollbackRequest
from leeward._sys.channel import Channel
from leeward.cli.client import Client
from leeward.cli.instances import Instance
from leeward.testing import Service, serve


def reloaded(service: Service) -> None:
    done = service.leeward("reload")
    assert done.returncode == 0, done


def test_the_old_code_serves_again_and_nobody_notices(tmp_path: Path) -> None:
    """Under load: no request fails, the old release answers, `ps` tells, once only."""
    deploy(tmp_path, "one")
    with served(tmp_path, workers=2) as service, Crowd(address_of(service)) as crowd:
        deploy(tmp_path, "two")
        reloaded(service)
        assert service.ps()["previous"]["generation"] == 1
        done = service.leeward("rollback")
        assert (done.returncode, done.stderr) == (0, ""), done
        assert done.stdout == "generation 1 serves with 2 workers; generation 2 is gone\n"
        service.wait_line("going back from generation 2 to 1: leeward rollback")
        for slot in range(2):
            service.wait_line(rf"worker={slot} gen=2 pid=\d+ gone$")
        crowd.answered_anew()
        assert set(crowd.seen) == {"one"}
        found = service.ps()
        assert (found["generation"], found["state"], found["previous"]) == (1, "serving", None)
        assert (found["went_back"]["generation"], found["went_back"]["to"]) == (2, 1)
        assert "went back  from generation 2 to 1" in service.leeward("ps").stdout
        again = service.leeward("rollback")
        assert again.returncode == 2 and "gone back to generation 1 already" in again.stderr, again
        # Fixed code is loaded from the disk as ever, under a number of its own.
        deploy(tmp_path, "three")
        reloaded(service)
        assert releases_of(address_of(service)) == {"three"}
        assert service.ps()["generation"] == 3 and service.ps()["went_back"] is None


def test_no_code_is_loaded_for_it(tmp_path: Path) -> None:
    """The zygote of the generation before is still there and only forks: that makes it fast.

    How fast: `bench/rollback.py`.
    """
    imports = tmp_path / "imports"
    deploy(tmp_path, "one", f"with open({str(imports)!r}, 'a') as file:\n    file.write('.')\n")
    with served(tmp_path, "--drain-window", "0s", workers=1) as service:
        (old,) = service.ps()["zygotes"]
        reloaded(service)
        assert imports.read_text() == ".."
        done = service.leeward("rollback")
        assert done.returncode == 0, done
        assert releases_of(address_of(service)) == {"one"}
        assert imports.read_text() == ".."
        assert old["pid"] in {it["pid"] for it in service.ps()["zygotes"]}


def test_code_that_is_fine_at_first_and_then_crash_loops_goes_back_by_itself(
    tmp_path: Path,
) -> None:
    """Every worker of the new generation serves; then they die, and again: the old one returns."""
    deploy(tmp_path, "one")
    dies = tmp_path / "dies"
    loop = (
        "import pathlib, tornado.ioloop\n"
        f"if pathlib.Path({str(dies)!r}).exists():\n"
        "    tornado.ioloop.IOLoop.current().call_later(0.2, os.abort)"
    )
    with served(tmp_path, workers=2) as service:
        deploy(tmp_path, "two", in_factory=loop)
        reloaded(service)
        assert releases_of(address_of(service)) == {"two"}
        dies.touch()
        for it in service.workers():
            os.kill(it["pid"], signal.SIGKILL)
        service.wait_line(r"going back from generation 2 to 1: killed by SIGABRT")
        service.wait_line(r"generation 1 serves with 2 workers")
        assert releases_of(address_of(service)) == {"one"}
        found = service.ps()
        assert found["generation"] == 1 and "SIGABRT" in found["went_back"]["why"]


@pytest.mark.parametrize(
    ("flags", "reloads", "words"),
    [
        ((), 0, "generation 1 is the first"),
        (("--settle", "0s"), 1, "--settle 0s keeps nothing"),
        (("--start", "spawn"), 1, "in spawn mode no process keeps the old code"),
    ],
    ids=["first", "settle-0", "spawn"],
)
def test_nothing_to_go_back_to_is_said(
    tmp_path: Path, flags: tuple[str, ...], reloads: int, words: str
) -> None:
    """Exit code 2, why, what to do instead; and nothing changes."""
    deploy(tmp_path, "one")
    with served(tmp_path, *flags, workers=1) as service:
        for _ in range(reloads):
            reloaded(service)
        before = [it["pid"] for it in service.workers()]
        done = service.leeward("rollback")
        assert done.returncode == 2 and words in done.stderr, done
        assert "leeward reload" in done.stderr
        assert [it["pid"] for it in service.workers()] == before


def test_before_anything_serves_there_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    """Asked while the first generation still imports, which goes on."""
    with Gate() as gate:
        deploy(tmp_path, "one", at_import=wait_at(gate))
        with serve(MODULE, cwd=tmp_path, env=NO_PYC) as service:
            held = gate.arrival()
            done = service.leeward("rollback")
            assert done.returncode == 2 and "no generation serves yet" in done.stderr, done
            held.release()
            service.wait_ready()


def test_old_code_that_fails_now_is_left_again(tmp_path: Path) -> None:
    """What it needs is gone as well: the newer code serves on, and nothing is kept any more."""
    needed = tmp_path / "database"
    needed.touch()
    needs = f"import pathlib\nif not pathlib.Path({str(needed)!r}).exists(): os.abort()"
    deploy(tmp_path, "one", in_factory=needs)
    with served(tmp_path, workers=1) as service:
        deploy(tmp_path, "two")
        reloaded(service)
        needed.unlink()
        done = service.leeward("rollback")
        assert done.returncode == 3 and "generation 2 serves on" in done.stderr, done
        again = service.leeward("rollback")
        assert again.returncode == 2, again
        assert "the generation before has failed as well" in again.stderr, again
        assert releases_of(address_of(service)) == {"two"}


def test_after_the_settling_the_old_zygote_retires(tmp_path: Path) -> None:
    """It costs memory for `--settle` and no longer."""
    deploy(tmp_path, "one")
    with served(tmp_path, "--settle", "300ms", workers=1) as service:
        reloaded(service)
        service.wait_line(r"gen=1 pid=\d+ zygote gone$")
        assert [it["generation"] for it in service.ps()["zygotes"]] == [2]
        done = service.leeward("rollback")
        assert done.returncode == 2 and "generation 2 has settled (0.3 s" in done.stderr, done


def test_without_its_zygote_the_old_generation_is_not_loaded_anew(tmp_path: Path) -> None:
    """What stands on the disk now is not what served: better no rollback than a false one."""
    deploy(tmp_path, "one")
    with served(tmp_path, workers=1) as service:
        reloaded(service)
        (old,) = [it["pid"] for it in service.ps()["zygotes"] if it["generation"] == 1]
        os.kill(old, signal.SIGKILL)
        service.wait_line(r"gen=1 pid=\d+ zygote died")
        done = service.leeward("rollback")
        assert done.returncode == 2, done
        assert "nothing to go back to: the zygote that was kept has ended" in done.stderr, done
        assert service.ps()["generation"] == 2


def test_a_rollback_during_a_reload_gives_it_up(tmp_path: Path) -> None:
    """New code that still imports is left; who waits for the reload hears so."""
    deploy(tmp_path, "one")
    with served(tmp_path, workers=1) as service, Gate() as gate:
        deploy(tmp_path, "two", at_import=wait_at(gate))
        reload = service.begin("reload")
        gate.arrival()
        done = service.leeward("rollback")
        assert done.returncode == 0, done
        assert done.stdout == "generation 2 is given up, 1 serves on\n"
        _, words = reload.communicate(timeout=30)
        assert reload.returncode == 3 and "given up: leeward rollback" in words, words
        assert releases_of(address_of(service)) == {"one"}


def test_a_rollback_gives_up_a_reload_that_waits_for_the_way_back(tmp_path: Path) -> None:
    """The last word counts: what was just left is not rolled out again."""
    held = tmp_path / "hold"
    with Gate() as gate:
        waits = textwrap.indent(wait_at(gate), "    ")
        deploy(tmp_path, "one", in_factory=f"if os.path.exists({str(held)!r}):\n{waits}")
        with served(tmp_path, workers=1) as service:
            deploy(tmp_path, "two")
            reloaded(service)
            held.touch()
            first = service.begin("rollback")
            worker = gate.arrival()
            mark = service.mark()
            reload = service.begin("reload")
            service.wait_line("one more follows for all who ask meanwhile", after=mark)
            second = service.begin("rollback")
            _, words = reload.communicate(timeout=30)
            assert reload.returncode == 3, words
            assert "given up: leeward rollback asked for 1" in words
            worker.release()
            for it in (first, second):
                told, _ = it.communicate(timeout=30)
                assert told == "generation 1 serves with 1 worker; generation 2 is gone\n"
                assert it.returncode == 0
            assert releases_of(address_of(service)) == {"one"}
            assert service.stop() == 0
            assert "gen=3" not in service.log


def test_everything_at_once_ends_with_the_stop(tmp_path: Path) -> None:
    """Reload, recycle and rollback in one moment, then a stop: each caller gets an answer."""
    deploy(tmp_path, "one")
    with served(tmp_path, workers=2) as service:
        reloaded(service)
        control = service.ps()["control"]
        asked: list[Message] = [ReloadRequest(wait=True), RecycleRequest(), RollbackRequest()]
        clients = [Client(Instance(service.name, control)) for _ in range(6)]
        channels: list[Channel] = [it.channel for it in clients]
        for channel, request in zip(channels, asked * 2, strict=True):
            channel.send(request)
        assert service.leeward("stop").returncode == 0
        for channel in channels:
            answer = channel.wait(30.0)
            while answer is not None and not isinstance(answer, Answer):
                answer = channel.wait(30.0)
            assert isinstance(answer, Answer)
            channel.close()
