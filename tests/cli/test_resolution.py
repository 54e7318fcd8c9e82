"""leeward.cli.resolution: from four layers to one Config."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from leeward._core.config import Config
from leeward.cli.resolution import Machine, Resolution, resolve
from leeward.errors import UsageError

FOUR = Machine(cpus=4, memory=None)


def resolved(
    tmp_path: Path,
    flags: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
    toml: str = "",
    machine: Machine = FOUR,
) -> Resolution:
    if toml:
        (tmp_path / "leeward.toml").write_text(toml)
    flags = {"target": "chat:make_app", **(flags or {})}
    return resolve(flags, environ=environ or {}, cwd=str(tmp_path), machine=machine)


def test_flag_beats_variable_beats_file_beats_default(tmp_path: Path) -> None:
    toml = "workers = 2\nbacklog = 2\ngraceful-timeout = 2\n"
    environ = {"LEEWARD_WORKERS": "3", "LEEWARD_BACKLOG": "3"}
    found = resolved(tmp_path, {"workers": "4"}, environ, toml)
    assert (found.config.workers, found.config.backlog) == (4, 3)
    assert (found.config.graceful_timeout, found.config.start_timeout) == (2.0, 60.0)
    assert found.values["workers"].origin == "flag --workers"
    assert found.values["backlog"].origin == "environment LEEWARD_BACKLOG"
    assert found.values["graceful_timeout"].origin == "leeward.toml:3"
    assert found.values["start_timeout"].origin.startswith("default (")


def test_a_log_file_is_a_path_and_a_dash_is_stderr(tmp_path: Path) -> None:
    assert resolved(tmp_path, {"log_file": "a.log"}).config.log_file == str(tmp_path / "a.log")
    assert resolved(tmp_path, {"log_file": "-"}).config.log_file == ""
    found = resolved(tmp_path, {"log_file": "-"}, toml='log-file = "a.log"')
    assert found.config.log_file == "" and found.values["log_file"].origin == "flag --log-file"
    assert resolved(tmp_path, toml='log-file = "-"').config.log_file == ""


def test_a_config_survives_its_journey_as_json(tmp_path: Path) -> None:
    (tmp_path / "app.env").write_text("A=1\nB=2\n")
    config = resolved(tmp_path, {"env_file": "app.env", "bind": ("127.0.0.1:1", "unix:/x")}).config
    assert config.env == (("A", "1"), ("B", "2"))
    assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("flags", "toml", "bind"),
    [
        ({}, "", ("127.0.0.1:8000",)),
        ({"port": "9000"}, "", ("127.0.0.1:9000",)),
        ({"host": "::1"}, "", ("[::1]:8000",)),
        ({"port": "9000"}, 'host = "0.0.0.0"', ("0.0.0.0:9000",)),
        ({"port": "9000"}, 'bind = "0.0.0.0:1"', ("127.0.0.1:9000",)),
        ({"uds": "/x.sock"}, "port = 1", ("unix:/x.sock",)),
        ({"uds": "/x.sock", "port": "1"}, "", ("127.0.0.1:1", "unix:/x.sock")),
        ({"bind": ("127.0.0.1:1",), "uds": "/x"}, "", ("127.0.0.1:1", "unix:/x")),
        ({}, 'bind = ["127.0.0.1:1", "127.0.0.1:2"]', ("127.0.0.1:1", "127.0.0.1:2")),
    ],
)
def test_host_port_and_uds_are_short_for_bind(
    tmp_path: Path, flags: dict[str, Any], toml: str, bind: tuple[str, ...]
) -> None:
    assert resolved(tmp_path, flags, toml=toml).config.bind == bind


def test_a_relative_unix_socket_keeps_the_directory_that_was_typed(tmp_path: Path) -> None:
    assert resolved(tmp_path, {"uds": "x.sock"}).config.bind == (f"unix:{tmp_path}/x.sock",)


@pytest.mark.parametrize("toml", ['uds = "run/x.sock"', 'bind = ["unix:run/x.sock"]'])
def test_a_relative_unix_socket_of_a_file_is_by_the_files_directory(
    tmp_path: Path, toml: str
) -> None:
    """As every other path of it: whoever serves it from elsewhere has the same socket."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "leeward.toml").write_text(toml)
    found = resolved(tmp_path, {"chdir": "site"})
    assert found.config.bind == (f"unix:{site}/run/x.sock",)


def test_one_worker_by_default_says_how_many_cores_are_idle(tmp_path: Path) -> None:
    config = resolved(tmp_path).config
    assert config.workers == 1
    assert config.notes == ("1 worker, 3 cores idle: --workers auto uses all 4",)
    assert resolved(tmp_path, machine=Machine(1, None)).config.notes == ()
    assert resolved(tmp_path, {"workers": "1"}).config.notes == ()


def test_auto_is_one_worker_per_core_bounded_by_memory(tmp_path: Path) -> None:
    assert resolved(tmp_path, {"workers": "auto"}).config.workers == 4
    tight = resolved(tmp_path, {"workers": "0"}, machine=Machine(4, 300 * 1024 * 1024)).config
    assert tight.workers == 2
    assert tight.notes == ("workers auto: 2 of 4 cores, as memory is limited to 300 MiB",)
    tiny = resolved(tmp_path, {"workers": "auto"}, machine=Machine(4, 1024)).config
    assert tiny.workers == 1


def test_the_drain_window_never_exceeds_the_graceful_timeout(tmp_path: Path) -> None:
    config = resolved(tmp_path, {"graceful_timeout": "5s", "workers": "2"}).config
    assert (config.drain_window, config.notes) == (5.0, ())
    config = resolved(
        tmp_path, {"graceful_timeout": "5s", "drain_window": "9s", "workers": "2"}
    ).config
    assert config.drain_window == 5.0
    assert config.notes == ("drain-window 9 s cut to graceful-timeout 5 s",)


def test_the_name_comes_from_the_target_unless_given(tmp_path: Path) -> None:
    assert resolved(tmp_path).config.name == "chat"
    assert resolved(tmp_path, {"name": "blue"}).config.name == "blue"
    with pytest.raises(UsageError, match="^flag --name: 'a b' cannot be the name"):
        resolved(tmp_path, {"name": "a b"})


def test_the_target_may_stand_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "leeward.toml").write_text('target = "web:app"')
    config = resolve({}, environ={}, cwd=str(tmp_path), machine=FOUR).config
    assert (config.target, config.name) == ("web:app", "web")


def test_the_directory_keeps_the_link_that_was_typed(tmp_path: Path) -> None:
    (tmp_path / "release-1").mkdir()
    (tmp_path / "current").symlink_to("release-1")
    config = resolved(tmp_path, {"chdir": "current"}).config
    assert config.chdir == str(tmp_path / "current")
    assert config.cwd == str(tmp_path)
    assert resolved(tmp_path).config.chdir == str(tmp_path)
    with pytest.raises(UsageError, match="^flag --chdir: chdir .*gone is not a directory"):
        resolved(tmp_path, {"chdir": "gone"})


def test_settings_are_searched_where_the_application_is(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "leeward.toml").write_text("backlog = 7\nchdir = 'sub'\n")
    (tmp_path / "app" / "sub").mkdir()
    found = resolved(tmp_path, {"chdir": "app"})
    assert found.config.backlog == 7
    assert found.config.chdir == str(tmp_path / "app")  # the flag wins
    found = resolved(tmp_path, {"config": "app/leeward.toml"})
    assert found.config.chdir == str(tmp_path / "app" / "sub")  # relative to the file
    assert found.values["backlog"].origin == f"{os.path.join('app', 'leeward.toml')}:1"


def test_a_program_is_known_where_the_file_says_that_it_is(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "server.py").write_text(
        "import tornado.ioloop, tornado.web\n"
        "if __name__ == '__main__':\n"
        "    tornado.web.Application().listen(8888)\n"
        "    tornado.ioloop.IOLoop.current().start()\n"
    )
    (tmp_path / "server.py").write_text("app = None\n")  # another one, where it was typed
    found = resolved(tmp_path, {"target": "server.py"}, toml="chdir = 'src'\n")
    assert found.config.chdir == str(tmp_path / "src")
    assert found.config.kind == "script"


def test_a_missing_env_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--env-file: env file gone\.env: No such file"):
        resolved(tmp_path, {"env_file": "gone.env"})
    with pytest.raises(UsageError, match=r"^LEEWARD_ENV_FILE: env file gone\.env: No such file"):
        resolved(tmp_path, environ={"LEEWARD_ENV_FILE": "gone.env"})
    with pytest.raises(UsageError, match=r"^leeward\.toml:2: env-file: env file /.*: No such file"):
        resolved(tmp_path, toml='#\nenv-file = "gone.env"\n')


def test_a_settings_file_that_cannot_be_had_is_named_by_who_gave_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for name, why in {
        "gone.toml": "no such file",
        ".": "is a directory",
        "pipe": "is no regular file",
        "file/leeward.toml": "Not a directory",
    }.items():
        path = re.escape(os.path.join(tmp_path, name))
        with pytest.raises(UsageError, match=f"^--config {path}: {why}"):
            resolved(tmp_path, {"config": name})
        with pytest.raises(UsageError, match=f"^LEEWARD_CONFIG {path}: {why}"):
            resolved(tmp_path, environ={"LEEWARD_CONFIG": name})


def test_a_host_that_is_none_is_named_by_who_gave_it(tmp_path: Path) -> None:
    """Before the settings are said to be right."""
    with pytest.raises(UsageError, match="^--host: expected the name of a host"):
        resolved(tmp_path, {"host": "a b"})
    with pytest.raises(UsageError, match="^LEEWARD_HOST: expected the name of a host"):
        resolved(tmp_path, environ={"LEEWARD_HOST": "a b"})
    with pytest.raises(UsageError, match=r"^leeward\.toml:1: host: expected the name of a host"):
        resolved(tmp_path, toml='host = "a b"')


@pytest.mark.parametrize(
    ("flags", "jitter"),
    [
        ({}, 0),
        ({"max_requests": "1000"}, 100),
        ({"max_requests": "5"}, 0),
        ({"max_requests": "1000", "max_requests_jitter": "20%"}, 200),
        ({"max_requests": "1000", "max_requests_jitter": "7"}, 7),
        ({"max_requests": "1000", "max_requests_jitter": "0"}, 0),
    ],
)
def test_the_jitter_is_a_number_or_a_part_of_the_limit(
    tmp_path: Path, flags: dict[str, Any], jitter: int
) -> None:
    assert resolved(tmp_path, flags).config.max_requests_jitter == jitter


def test_a_program_is_not_killed_for_computing_unless_one_says_so(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import tornado.web\n")
    program = {"target": "program.py", "kind": "script"}
    assert resolved(tmp_path).config.stall_kill == 300.0
    assert resolved(tmp_path, program).config.stall_kill == 0.0
    assert resolved(tmp_path, {**program, "stall_kill": "60s"}).config.stall_kill == 60.0


def test_a_programs_own_arguments_are_in_force_unless_one_says_otherwise(tmp_path: Path) -> None:
    """For an application they are Tornado's defaults; what is given wins in both."""
    (tmp_path / "program.py").write_text("import tornado.web\n")
    program = {"target": "program.py", "kind": "script"}

    def found(**flags: str) -> tuple[object, ...]:
        config = resolved(tmp_path, flags).config
        assert Config.from_json(config.to_json()) == config
        return (config.max_body, config.max_header, config.decompress)

    assert found() == (100 << 20, 64 << 10, False)
    assert found(**program) == (None, None, None)
    given = {"max_body": "1M", "max_header": "8K", "decompress": "true"}
    assert found(**given) == found(**program, **given) == (1 << 20, 8 << 10, True)


def test_a_proxy_is_believed_only_where_somebody_says_so(tmp_path: Path) -> None:
    config = resolved(tmp_path).config
    assert config.forwarded_allow_ips == () and config.proxy_protocol == "off"
    assert config.proxy_allow_from == ("127.0.0.1", "::1", "unix:")
    (tmp_path / "leeward.toml").write_text(
        'forwarded-allow-ips = ["10.0.0.0/8"]\nproxy-protocol = "v2"\nproxy-allow-from = "*"\n'
    )
    config = resolved(tmp_path).config
    assert config.forwarded_allow_ips == ("10.0.0.0/8",)
    assert (config.proxy_protocol, config.proxy_allow_from) == ("v2", ("*",))
