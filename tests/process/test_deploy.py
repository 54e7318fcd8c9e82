"""Deployments by a `current` link: a reload serves what the path that was typed names now."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from process.clients import Http, address_of, get
from process.crowd import Crowd
from process.releases import NO_PYC, deploy, releases_of, replace, served
from process.support import gone

import leeward
from leeward.testing import Service, serve

MODES = pytest.mark.parametrize("mode", ["zygote", "spawn"])


class Place:
    """releases/NAME and the link `current`, as capistrano and its heirs lay them out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.current = root / "current"

    def release(self, name: str, **changes: str) -> Path:
        return deploy(self.root / "releases" / name, name, **changes).parent

    def switch(self, name: str) -> None:
        """In one step, as `ln -sfn` does not: there is no moment without a link."""
        beside = self.root / "current.new"
        beside.symlink_to(self.root / "releases" / name)
        os.replace(beside, self.current)

    @property
    def typed(self) -> dict[str, str]:
        """What a shell that went to `current` has in its environment."""
        return {"PWD": str(self.current)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.release("one")
    place.release("two")
    place.switch("one")
    return place


def reload(service: Service, generation: int) -> None:
    done = service.leeward("reload")
    assert done.returncode == 0, done
    for slot in (0, 1):
        service.wait_line(rf"worker={slot} gen={generation - 1} pid=\d+ gone$")


@MODES
def test_a_service_that_was_started_in_current_follows_it(place: Place, mode: str) -> None:
    """Directory, sys.path and the module's file are the new release's; the old one may go."""
    with served(place.current, "--start", mode, env=place.typed) as service:
        with Crowd(address_of(service)) as crowd:
            who = get(address_of(service)).json
            assert (who["release"], who["cwd"]) == ("one", str(place.root / "releases/one"))
            place.switch("two")
            reload(service, 2)
            crowd.all_answered()
        who = get(address_of(service)).json
        home = place.root / "releases/two"
        assert (who["release"], who["cwd"], who["path"]) == ("two", str(home), str(home))
        assert who["file"] == str(home / "shop.py")
        shutil.rmtree(place.root / "releases/one")
        place.release("three")
        place.switch("three")
        reload(service, 3)
        assert releases_of(address_of(service)) == {"three"}
        # A replacement finds its way without that directory, too.
        mark = service.mark()
        os.kill(service.workers()[0]["pid"], signal.SIGKILL)
        service.wait_line(r"worker=0 gen=3 pid=\d+ ready", mark)
        assert releases_of(address_of(service)) == {"three"}


@MODES
def test_chdir_names_current_as_well(place: Place, mode: str) -> None:
    """Started elsewhere, with --chdir current: the link is followed anew by each reload."""
    elsewhere = place.root / "elsewhere"
    elsewhere.mkdir()
    with served(elsewhere, "--start", mode, "--chdir", "../current") as service:
        assert releases_of(address_of(service)) == {"one"}
        place.switch("two")
        reload(service, 2)
        assert get(address_of(service)).json["cwd"] == str(place.root / "releases/two")
        place.switch("one")
        reload(service, 3)
        assert releases_of(address_of(service)) == {"one"}, "and back again"


def test_settings_of_the_release_come_with_it(place: Place) -> None:
    """leeward.toml and its env file are read from the release that `current` names now."""
    for name, workers in (("one", 1), ("two", 3)):
        home = place.root / "releases" / name
        (home / "leeward.toml").write_text(f'workers = {workers}\nenv-file = "shop.env"\n')
        (home / "shop.env").write_text(f"SEASON=season of {name}\n")
    with served(place.current, env=place.typed, workers=None) as service:
        assert get(address_of(service)).json["season"] == "season of one"
        place.switch("two")
        assert service.leeward("reload").returncode == 0
        assert {get(address_of(service)).json["season"] for _ in range(6)} == {"season of two"}
        for slot in range(3):
            service.wait_line(rf"worker={slot} gen=2 pid=\d+ ready")
        assert len(service.workers()) == 3


def test_a_worker_of_the_old_release_stays_with_it(place: Place) -> None:
    """What it imports late comes from its own release, though the link was swapped meanwhile."""
    late = (
        "class Late(tornado.web.RequestHandler):\n"
        "    def get(self):\n"
        "        import prices\n"
        "        self.write(prices.OF)\n"
    )
    routes = "return tornado.web.Application([('/', Who), ('/late', Late)])"
    for name in ("one", "two"):
        home = place.release(name, at_end=late, in_factory=routes)
        (home / "prices.py").write_text(f"OF = 'release {name}'\n")
    with (
        served(place.current, env=place.typed, workers=1) as service,
        Http(address_of(service)) as old,
    ):
        assert old.get().json["release"] == "one"
        place.switch("two")
        assert service.leeward("reload").returncode == 0
        assert get(address_of(service), "/late").body == b"release two"
        assert old.get("/late").body == b"release one"


def test_a_link_to_nowhere_is_refused(place: Place) -> None:
    """`current` is dangling in the middle of a bad deployment: 2 and the path, old code serves."""
    with served(place.current, env=place.typed) as service, Crowd(address_of(service)) as crowd:
        place.switch("never built")
        done = service.leeward("reload")
        assert (done.returncode, str(place.current) in done.stderr) == (2, True), done
        crowd.all_answered()
        assert set(crowd.seen) == {"one"}
        place.switch("two")
        reload(service, 2)
        assert releases_of(address_of(service)) == {"two"}


def test_the_directory_of_the_start_may_be_deleted(place: Place) -> None:
    """Where `serve` was typed is gone for good: what serves serves, and workers are replaced."""
    start = place.root / "start"
    start.mkdir()
    with served(start, "--chdir", str(place.current)) as service:
        start.rmdir()
        mark = service.mark()
        pid = service.workers()[1]["pid"]
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
        service.wait_line(r"worker=1 gen=1 pid=\d+ ready", mark)
        place.switch("two")
        done = service.leeward("reload")
        assert (done.returncode, str(start) in done.stderr) == (2, True), done
        assert releases_of(address_of(service)) == {"one"}
        start.mkdir()
        reload(service, 2)
        assert releases_of(address_of(service)) == {"two"}


# --- an environment per release ---------------------------------------------------------------


def make_venv(directory: Path, says: str) -> None:
    """A virtual environment that sees this one's packages, and `which_venv` of its own."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = directory / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (directory / "bin").mkdir()
    (directory / "bin/python").symlink_to(os.path.realpath(sys.executable))
    home = os.path.dirname(os.path.realpath(sys.executable))
    (directory / "pyvenv.cfg").write_text(f"home = {home}\n")
    (packages / "which_venv.py").write_text(f"NAME = {says!r}\n")
    seen = [path for path in sys.path if path.endswith("site-packages")]
    ours = Path(leeward.__file__).parents[1]
    (packages / "others.pth").write_text("\n".join([*seen, str(ours), ""]))


@MODES
def test_each_release_may_bring_its_own_interpreter(place: Place, mode: str) -> None:
    """`current/venv/bin/python` is looked up anew: new packages come with a reload."""
    for name in ("one", "two"):
        home = place.release(
            name, at_import="import which_venv\nos.environ['SEASON'] = which_venv.NAME"
        )
        make_venv(home / "venv", f"environment of {name}")
    python = str(place.current / "venv/bin/python")
    with served(place.current, "--start", mode, env=place.typed, python=python) as service:
        who = get(address_of(service)).json
        assert (who["season"], who["executable"]) == ("environment of one", python)
        place.switch("two")
        reload(service, 2)
        who = get(address_of(service)).json
        assert (who["season"], who["executable"]) == ("environment of two", python)
        shutil.rmtree(place.root / "releases/one")
        reload(service, 3)
        assert get(address_of(service)).json["season"] == "environment of two"


def test_a_file_target_is_looked_up_by_its_path(place: Place) -> None:
    """`serve current/shop.py` from outside follows the link like a directory does."""
    with serve("current/shop.py", "-w", "2", cwd=place.root, env=NO_PYC) as service:
        service.wait_ready(2)
        assert releases_of(address_of(service)) == {"one"}
        place.switch("two")
        reload(service, 2)
        assert releases_of(address_of(service)) == {"two"}


@MODES
def test_a_relative_pythonpath_follows_current(place: Place, mode: str) -> None:
    """PYTHONPATH=lib, typed in `current`, is the lib of the release that it names now."""
    for name in ("one", "two"):
        home = place.release(name, at_import="import prices\nos.environ['SEASON'] = prices.OF")
        (home / "lib").mkdir()
        (home / "lib/prices.py").write_text(f"OF = 'prices of {name}'\n")
    inherited = os.environ.get("PYTHONPATH", "")
    env = {**place.typed, "PYTHONPATH": f"lib:{inherited}".rstrip(":")}
    with served(place.current, "--start", mode, env=env) as service:
        assert get(address_of(service)).json["season"] == "prices of one"
        place.switch("two")
        reload(service, 2)
        shutil.rmtree(place.root / "releases/one")
        assert get(address_of(service)).json["season"] == "prices of two"


def test_a_file_that_is_replaced_in_place_is_a_release_too(tmp_path: Path) -> None:
    """No links at all: the file is another one, and so is the module that it imports."""
    replace(tmp_path / "prices.py", "OF = 'prices of one'\n")
    deploy(tmp_path, "one", at_import="import prices\nos.environ['SEASON'] = prices.OF")
    with served(tmp_path) as service:
        assert get(address_of(service)).json["season"] == "prices of one"
        replace(tmp_path / "prices.py", "OF = 'prices of two'\n")
        reload(service, 2)
        assert get(address_of(service)).json["season"] == "prices of two"
