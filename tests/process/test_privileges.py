"""--user and --group: the application never runs with root's rights, the supervisor keeps them."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from certificates import needs_openssl
from process.clients import address_of, get
from process.support import APPS, gone, spares_of, watching
from process.test_tls import Files, Https
from process.test_tls import address_of as tls_address_of

import leeward
from leeward._sys import procfs
from leeward.cli import layers
from leeward.cli.accounts import account
from leeward.errors import UsageError
from leeward.testing import Service, serve

NOBODY = "nobody"
ENTRY = pwd.getpwnam(NOBODY)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def closed_to_others(path: str | Path) -> Path | None:
    """The outermost directory on the way to `path` that other users may not pass."""
    path = Path(path).resolve()
    ways = reversed([*([path] if path.is_dir() else []), *path.parents])
    return next((it for it in ways if not it.stat().st_mode & stat.S_IXOTH), None)


@functools.cache
def _wrapper() -> tuple[str, str]:
    """An interpreter that other users can use, and why there is none."""
    closed = closed_to_others(os.__file__)
    if closed is None:
        return sys.executable, ""
    below = Path(os.__file__).resolve().relative_to(closed).parts[0]
    kept = closed / below
    # In a mount namespace of its own: the closed directory holds nothing but Python there.
    script = (
        f"#!/bin/sh\nexec unshare -m sh -c '"
        f"place=$(mktemp -d) && mount --bind {kept} $place "
        f"&& mount -t tmpfs -o mode=755 t {closed} "
        f'&& mkdir {kept} && mount --move $place {kept} && rmdir $place && exec "$@"\' sh '
        f'{sys.executable} "$@"\n'
    )
    directory = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    path = directory / "python"
    path.write_text(script)
    path.chmod(0o755)
    test = subprocess.run([path, "-c", ""], capture_output=True, text=True, check=False)
    return str(path), f"{closed} is closed to others, and {test.stderr}" if test.returncode else ""


Start = Callable[..., AbstractContextManager[Service]]


@pytest.fixture
def start() -> Iterator[Start]:
    """`serve` of tells_its_user with an interpreter that every user can run."""
    for path in (APPS, leeward.__file__):
        if closed := closed_to_others(path):
            pytest.skip(f"{closed} is closed to other users")
    python, why_not = _wrapper()
    if why_not:
        pytest.skip(why_not)
    yield functools.partial(serve, "tells_its_user", cwd=APPS, python=python)
    if python != sys.executable:
        _wrapper.cache_clear()
        shutil.rmtree(Path(python).parent)


modes = pytest.mark.parametrize("mode", ["zygote", "spawn"])


@needs_root
@modes
def test_the_application_is_another_user_from_its_import_on(start: Start, mode: str) -> None:
    """All ids and groups, no capability, HOME; on a port below 1024 that only root can bind."""
    # Each mode its own: both may run at once.
    bind = {"zygote": "127.0.0.1:987", "spawn": "127.0.0.1:988"}[mode]
    with start("-w", "2", "--start", mode, "--user", NOBODY, bind=bind) as service:
        service.wait_ready(2)
        found = get(address_of(service)).json
        for moment in ("import", "now"):
            who = found[moment]
            assert who["uids"] == [ENTRY.pw_uid] * 3
            assert who["gids"] == [ENTRY.pw_gid] * 3
            assert who["groups"] == sorted(os.getgrouplist(NOBODY, ENTRY.pw_gid))
            assert who["home"] == ENTRY.pw_dir and who["user"] == NOBODY
            assert int(who["capabilities"], 16) == 0
            # /proc/self is its own: memfds can be opened by path, dumps be written.
            assert who["proc"] == ENTRY.pw_uid
        ps = service.ps()
        children = [it["pid"] for it in (*ps["workers"], *ps["zygotes"])]
        for pid in children:
            assert os.stat(f"/proc/{pid}").st_uid == ENTRY.pw_uid
            assert (procfs.comm(pid) or "").startswith("leeward ")
        assert os.stat(f"/proc/{service.pid}").st_uid == 0
        assert all(it["pss_bytes"] for it in ps["workers"])
        control = os.stat(ps["control"])
        assert control.st_uid == 0 and stat.S_IMODE(control.st_mode) == 0o600


@needs_root
def test_log_files_are_that_users(start: Start) -> None:
    """The collector has no more rights than who logs: it opens what its user may open."""
    directory = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    try:
        os.chown(directory, ENTRY.pw_uid, ENTRY.pw_gid)
        path = directory / "app.log"
        with start("--user", NOBODY, "--log-file", str(path)) as service:
            service.wait_ready()
            assert service.stop() == 0
        assert path.stat().st_uid == ENTRY.pw_uid
        assert path.read_text().splitlines()[-1].endswith("stopped")
    finally:
        shutil.rmtree(directory)


@needs_root
@modes
def test_reload_and_replacement_drop_too(start: Start, mode: str) -> None:
    """Every worker, whenever it was born; and root's supervisor still ends them all."""
    with start("--start", mode, "--user", NOBODY, "--group", "0") as service:
        service.wait_ready()
        for _ in range(2):
            who = get(address_of(service)).json
            assert who["now"]["uids"] == [ENTRY.pw_uid] * 3
            assert who["now"]["gids"] == [0, 0, 0]
            spares_of(service)  # one of them, which drops as well, is the next
            mark = service.mark()
            os.kill(who["pid"], signal.SIGKILL)
            service.wait_line(r"worker=0 gen=\d pid=\d+ ready", after=mark)
            who = get(address_of(service)).json
            assert who["now"]["uids"] == [ENTRY.pw_uid] * 3
            assert service.leeward("reload").returncode == 0
        assert service.stop() == 0


@needs_root
@modes
def test_children_die_with_a_supervisor_of_another_user(start: Start, mode: str) -> None:
    """PDEATHSIG, which the change of user clears, is set again."""
    with start("-w", "2", "--start", mode, "--user", NOBODY) as service:
        service.wait_ready(2)
        family = [pid for pid in service.family() if pid != service.pid]
        assert len(family) >= 2
        service.signal(signal.SIGKILL)
        service.wait()
        assert all(gone(pid, 5) for pid in family)


@needs_root
def test_what_the_application_leaves_behind_is_ended(start: Start) -> None:
    """Strays of another user are found and, as they ignore TERM, killed."""
    with start("--user", NOBODY) as service:
        service.wait_ready()
        found = get(address_of(service), "/leave").json
        with watching(found["child"]) as ended:
            os.kill(found["pid"], signal.SIGKILL)
            assert ended(10)


@needs_root
@modes
def test_an_adopted_program_never_runs_as_root(start: Start, mode: str) -> None:
    """Not in its rehearsal, which tells the address, nor in the zygote, nor in a worker."""
    flags = ("--kind", "script", "--start", mode, "--user", NOBODY)
    more = {"args": ("never_as_root", "--port=0"), "bind": None, "python": _wrapper()[0]}
    with serve("adopted.py", *flags, cwd=APPS, **more) as service:  # type: ignore[arg-type]
        service.wait_ready(1)
        assert get(address_of(service)).json["name"] == "__main__"
        assert service.ps()["mode"] == mode
        for it in (*service.ps()["workers"], *service.ps()["zygotes"]):
            assert os.stat(f"/proc/{it['pid']}").st_uid == ENTRY.pw_uid
        assert service.leeward("reload").returncode == 0
        assert get(address_of(service)).status == 200


@needs_root
def test_a_group_alone(start: Start) -> None:
    """--group changes the group and no user."""
    with start("--group", str(ENTRY.pw_gid)) as service:
        service.wait_ready()
        who = get(address_of(service)).json["now"]
        assert who["uids"] == [0, 0, 0]
        assert who["gids"] == [ENTRY.pw_gid] * 3 and who["groups"] == [ENTRY.pw_gid]


@needs_root
def test_a_unix_socket_belongs_to_the_application(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    flags = ("--user", NOBODY, "--uds-mode", "600")
    with start(*flags, bind=f"unix:{path}") as service:
        service.wait_ready()
        assert path.stat().st_uid == ENTRY.pw_uid
        assert get(str(path)).json["now"]["uids"] == [ENTRY.pw_uid] * 3


@needs_root
@needs_openssl
@modes
def test_a_key_that_only_root_can_read(start: Start, tmp_path: Path, mode: str) -> None:
    """The key is 0600 in a directory that is 0700: served, reloaded and renewed all the same."""
    (tmp_path / "private").mkdir(mode=0o700)
    files = Files(tmp_path / "private")
    with start("--user", NOBODY, "--start", mode, *files.flags) as service:
        service.wait_ready()
        address = tls_address_of(service)
        for verb in (["ps"], ["reload", "--tls"], ["reload"]):
            assert service.leeward(*verb).returncode == 0
            with Https(files, address) as client:
                assert client.certificate == files.shown
                assert client.get().json["now"]["uids"] == [ENTRY.pw_uid] * 3
            files.renew()


@needs_root
def test_a_user_that_cannot_read_the_application_is_told_so(start: Start, tmp_path: Path) -> None:
    """In words, not by a crash loop."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    shutil.copy(APPS / "tells_its_user.py", closed)
    with start("--user", NOBODY, "--chdir", str(closed)) as service:
        assert service.wait() == 3
        assert f"cannot enter {closed}: Permission denied" in service.log


@needs_root
def test_who_runs_it_needs_a_restart(start: Start, tmp_path: Path) -> None:
    settings = tmp_path / "leeward.toml"
    settings.write_text('user = "nobody"\n')
    with start("--config", str(settings)) as service:
        service.wait_ready()
        settings.write_text("user = 1\n")
        done = service.leeward("reload")
        assert done.returncode == 2
        assert "user cannot change while running (user: nobody -> 1)" in done.stderr


@pytest.mark.parametrize("number", ["4294967295", "99999999999"])
def test_a_number_that_nobody_can_have_is_refused(number: str) -> None:
    """4294967295 would mean "as before" to the kernel."""
    value = layers.Value(number, "--group")
    with pytest.raises(UsageError, match=f"--group: expected a name or 0 to .*, found .{number}"):
        account(layers.Value("", ""), value)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--user", "nobdy"), "--user: there is no user 'nobdy'; did you mean \"nobody\"?"),
        (("--group", "no such"), "--group: there is no group 'no such'"),
        (("--user", "54321"), "--user: user 54321 is not in the password file"),
    ],
)
def test_who_does_not_exist_is_refused(flags: tuple[str, ...], said: str) -> None:
    with serve("hello", *flags, cwd=APPS) as service:
        assert service.wait() == 2
        assert said in service.log


def test_only_root_becomes_another_user(start: Start) -> None:
    """A plain user is told what to do; naming himself is fine."""
    with start("--user", str(ENTRY.pw_uid)) as service:
        service.wait_ready()
        # Asked as that user: the same command line, in a process of its.
        done = as_nobody("import pwd, sys; from leeward.cli.accounts import account\n"
                         "from leeward.cli.layers import Value\n"
                         "print(account(Value('nobody', '--user'), Value('', '')).uid)\n"
                         "account(Value('root', '--user'), Value('', ''))")  # fmt: skip
    assert done.stdout == "-1\n"
    assert "--user: only root can become another user" in done.stderr


def as_nobody(code: str) -> subprocess.CompletedProcess[str]:
    # Everything is imported before the change, which may close the library.
    first = f"import os, traceback, leeward.cli.accounts\nos.setresuid(*[{ENTRY.pw_uid}] * 3)\n"
    return subprocess.run(
        [sys.executable, "-c", first + code], capture_output=True, text=True, check=False
    )


@needs_root
def test_a_user_that_cannot_read_python_is_told_so() -> None:
    """Python under /root is the usual case of pyenv: said once, with the path."""
    if closed_to_others(os.__file__) is None:
        pytest.skip("everybody can read this Python")
    with serve("hello", "--user", NOBODY, cwd=APPS) as service:
        assert service.wait() == 3
        assert f"{NOBODY} may not read {os.__file__}" in service.log
        assert len(service.lines) <= 10
