"""SLOT:ID names one connection for as long as the instance lives, whoever serves in the slot."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest
from process.clients import Http, address_of, reload
from process.registry import conns, until_there, waiting
from process.support import until

from leeward.testing import Service

ENGINES = ["leeward", "tornado"]


@contextlib.contextmanager
def two_that_wait(service: Service, *others: str) -> Iterator[dict[str, Http]]:
    """Clients that wait for an answer, by the names that are new beside `others`."""
    address = address_of(service)
    with Http(address) as one, Http(address) as two:
        for client in (one, two):
            client.send("/coroutine")
        found = until_there(service, 2 + len(others), "active")
        names = {it["peer"]: f"{it['slot']}:{it['id']}" for it in found}
        ours = {names["{}:{}".format(*it.sock.getsockname())]: it for it in (one, two)}
        assert set(names.values()) == {*others, *ours} and len(names) == len(found)
        yield dict(sorted(ours.items()))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_beside_the_old_worker_of_a_slot(start: str, engine: str) -> None:
    """A reload while requests are in flight: each name ends one, of the one worker or the other."""
    flags = ("--start", start, "--engine", engine)
    with waiting(*flags, graceful="60s") as service, two_that_wait(service) as old:
        assert list(old) == ["0:1", "0:2"]
        reload(service)
        with two_that_wait(service, *old) as new:
            assert list(new) == ["0:2.1", "0:2.2"]
            clients = {**old, **new}
            table = service.leeward("conns").stdout.splitlines()
            assert [line.split()[0] for line in table[1:5]] == list(clients), "the older first"
            for name in ("0:2", "0:2.1", "0:1", "0:2.2"):
                done = service.leeward("kill", name)
                assert (done.returncode, done.stdout) == (0, "1 connection ended: 1 cut\n"), done
                assert clients.pop(name).cut()
                assert [f"{it['slot']}:{it['id']}" for it in conns(service)] == list(clients)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_after_the_end_of_a_worker(start: str, engine: str) -> None:
    """What was read before a SIGKILL names nobody; the application is told the new names too."""
    with waiting("--start", start, "--engine", engine) as service, two_that_wait(service) as old:
        (worker,) = service.workers()
        mark = service.mark()
        os.kill(worker["pid"], signal.SIGKILL)
        service.wait_line(r"worker=0 gen=1 pid=\d+ ready", mark)
        with two_that_wait(service) as new, Http(address_of(service)) as asks:
            for name, client in old.items():
                assert client.cut()
                done = service.leeward("kill", name)
                assert (done.returncode, done.stdout) == (1, ""), done
                assert "no such connection" in done.stderr
            seen = asks.get("/mine").json["connections"]
            assert [f"{slot}:{id}" for slot, id, *_ in seen] == [*new, "0:2.3"]
            done = service.leeward("kill", "0:2.1")
            assert (done.returncode, done.stdout) == (0, "1 connection ended: 1 cut\n"), done
            assert new["0:2.1"].cut()


def names_in(service: Service, slot: int) -> set[str]:
    """Of the connections of its worker, once one of ours is among them."""

    def found() -> set[str]:
        with Http(address_of(service)) as client:
            seen = client.get("/mine").json["connections"]
        return {id for where, id, *_ in seen if where == slot}

    return until(found, f"slot {slot} to accept")


def test_in_a_slot_that_comes_back() -> None:
    """Scaled down and up, and what forks workers replaced meanwhile: it does not begin anew."""
    with waiting("--start", "zygote", workers=2) as service:
        assert all("." not in it for it in names_in(service, 1))
        assert service.leeward("scale", "1").returncode == 0
        service.wait_line(r"worker=1 gen=1 pid=\d+ gone")
        mark = service.mark()
        os.kill(service.ps()["zygotes"][0]["pid"], signal.SIGKILL)
        service.wait_line(r"zygote loaded", mark)
        assert service.leeward("scale", "2").returncode == 0
        service.wait_line(r"worker=1 gen=1 pid=\d+ ready", mark)
        assert all(it.startswith("2.") for it in names_in(service, 1))
