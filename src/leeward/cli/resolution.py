"""From the layers of settings to one `Config`: what depends on several keys at once.

The same function serves `serve`, `check`, `config` and a reload's resolver, so
that a reload sees exactly what a new start would see.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from leeward._core.config import TUNABLE, Config
from leeward._core.record import Record, replace
from leeward._sys import cgroup
from leeward.cli import envfile, layers, paths, programs, values
from leeward.cli.accounts import account
from leeward.cli.layers import Layer, Value, absolute, first, guilty
from leeward.cli.target import default_name
from leeward.errors import UsageError

#: What one worker is taken to need when `auto` meets a memory limit.  A bare
#: Tornado worker has 25 MiB, one with numpy and pandas 110 MiB of its own.
MEMORY_PER_WORKER = 128 * 1024 * 1024

#: Keys that are taken over as they are.
_PLAIN = (
    "target",
    "kind",
    "backlog",
    "uds_mode",
    "start",
    "start_fallback",
    "hazards",
    "close_timeout",
    "health_path",
    "forwarded_allow_ips",
    "proxy_protocol",
    "proxy_allow_from",
    "decompress",
    *TUNABLE,
    "engine",
    "accelerate",
    "loop",
    "probe",
    "user",
    "group",
    "log_format",
    "log_rotate",
    "log_keep",
    "log_compress",
    "log_facility",
    "capture_output",
    "access_log",
    "access_log_format",
    "log_files",
)

#: Files that others read: by their full paths.
_PATHS = ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs", "log_file")


class Machine(Record):
    """What `auto` is decided by.  memory: bytes, None for no limit."""

    cpus: int
    memory: int | None

    @classmethod
    def look(cls) -> Machine:
        return cls(cgroup.available_cpus(), cgroup.memory_limit())


class Resolution(Record):
    """config: for the other processes.  values: each key with its origin.  file: "" or path.

    wants, tls:  the addresses that a program asked for in its rehearsal; does it speak TLS?
    """

    config: Config
    values: dict[str, Value]
    file: str
    wants: tuple[str, ...] = ()
    tls: bool = False


def resolve(
    flags: Mapping[str, Any],
    *,
    args: Sequence[str] = (),
    argv: Sequence[str] = (),
    environ: Mapping[str, str],
    cwd: str,
    machine: Machine | None = None,
) -> Resolution:
    """Raises `UsageError` that names the flag, the variable or file:line."""
    machine = machine or Machine.look()
    stack: list[Layer] = [layers.flag_layer(flags), layers.environment_layer(environ)]
    named = first("config", stack)
    chdir = first("chdir", stack)
    directory = os.path.join(cwd, chdir.value) if chdir else cwd
    notes: list[str] = []
    if named:
        named = Value(os.path.join(cwd, named.value), named.origin)
    file, table = layers.find_file(named, directory, notes)
    if file:
        stack.append(layers.file_layer(file, table, os.path.relpath(file, cwd)))
    stack.append(layers.default_layer())

    found = {key: layer[key] for layer in reversed(stack) for key in layer}
    found["bind"] = _bind(stack)
    found["name"] = _name(found)
    for key in _PATHS:
        found[key] = _path(found[key], cwd)
    whom = account(found["user"], found["group"])
    directory = _directory(found["chdir"], cwd)  # the file may have named another one
    found["kind"] = programs.kind(found["target"], found["kind"], directory, notes)
    if found["kind"].value == "script":
        programs.leave_to_it(found)
    if found["kind"].value != "script" or not found["workers"].origin.startswith("default"):
        found["workers"] = processes(found["workers"], machine, notes)
    found["drain_window"] = _drain_window(found, notes)
    found["max_requests_jitter"] = _jitter(found)
    config = Config(
        **{key: found[key].value for key in (*_PLAIN, *_PATHS)},
        # By the directory that was typed, not by the release it leads to.
        bind=tuple(absolute(address, cwd) for address in found["bind"].value),
        name=found["name"].value,
        workers=found["workers"].value,
        args=tuple(args),
        argv=tuple(argv),
        uid=whom.uid,
        gid=whom.gid,
        groups=whom.groups,
        env=whom.env,
        cwd=cwd,
        chdir=directory,
        interpreter=paths.interpreter(cwd),
        root=paths.package_root(cwd),
        given=tuple(key for key in TUNABLE if not found[key].origin.startswith("default")),
        notes=tuple(notes),
    )
    if found["env_file"].value:
        config = replace(config, env=whom.env + _variables(found["env_file"], cwd, environ))
    return Resolution(config, found, file)


def _bind(stack: Sequence[Layer]) -> Value:
    """--bind, --host with --port, and --uds are three spellings of one setting.

    The highest layer that has any of them decides; within it they add up.  Only
    the other half of HOST:PORT may come from a layer below: `--port 9000` keeps
    the `host` of the file.
    """
    for depth, layer in enumerate(stack):
        here = [key for key in ("bind", "host", "port", "uds") if key in layer]
        if not here:
            continue
        if depth == len(stack) - 1:
            return layer["bind"]
        found: list[str] = list(layer["bind"].value) if "bind" in layer else []
        if "host" in layer or "port" in layer:
            host, port = first("host", stack[depth:]), first("port", stack[depth:])
            assert host is not None and port is not None  # the table has both
            name = f"[{host.value}]" if ":" in host.value else host.value
            found.append(f"{name}:{port.value}")
        if "uds" in layer:
            found.append(f"unix:{layer['uds'].value}")
        return Value(tuple(found), ", ".join(layer[key].origin for key in here))
    raise AssertionError("the table has a bind")


def _path(given: Value, cwd: str) -> Value:
    """By the directory that was typed, links unresolved."""
    if values.is_daemon(given.value):
        return given
    return Value(os.path.join(cwd, given.value), given.origin) if given.value else given


def _name(found: Mapping[str, Value]) -> Value:
    from leeward.cli.instances import check_name

    given = found["name"]
    if not given.value:
        target = found["target"].value
        return Value(default_name(target), f"default (from the target {target!r})")
    try:
        check_name(given.value)
    except UsageError as error:
        raise UsageError(f"{given.origin}: {error.message}", error.remedy) from None
    return given


def processes(given: Value, machine: Machine, notes: list[str]) -> Value:
    """How many workers a number, or 0 for auto, comes to."""
    cpus = machine.cpus
    if given.value:
        if given.origin.startswith("default") and cpus > 1:
            idle = "1 core idle" if cpus == 2 else f"{cpus - 1} cores idle"
            notes.append(f"1 worker, {idle}: --workers auto uses all {cpus}")
        return given
    bound = cpus
    if machine.memory is not None:
        bound = min(cpus, max(1, machine.memory // MEMORY_PER_WORKER))
    if bound < cpus:
        mib = (machine.memory or 0) // (1024 * 1024)
        notes.append(f"workers auto: {bound} of {cpus} cores, as memory is limited to {mib} MiB")
    return Value(bound, f"{given.origin}, auto")


def _drain_window(found: Mapping[str, Value], notes: list[str]) -> Value:
    window, timeout = found["drain_window"], found["graceful_timeout"]
    if window.value <= timeout.value:
        return window
    if not window.origin.startswith("default"):
        notes.append(f"drain-window {window.value:g} s cut to graceful-timeout {timeout.value:g} s")
    return Value(timeout.value, f"{window.origin}, cut to graceful-timeout")


def _jitter(found: Mapping[str, Value]) -> Value:
    """A part of --max-requests comes to a number."""
    jitter = found["max_requests_jitter"]
    if isinstance(jitter.value, int):
        return jitter
    percent = int(jitter.value.removesuffix("%"))
    number = found["max_requests"].value * percent // 100
    return Value(number, f"{jitter.origin}, {jitter.value}")


def _variables(given: Value, cwd: str, environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    try:
        variables = envfile.read(os.path.join(cwd, given.value), given.value)
        envfile.check_room(environ, variables, given.value)
    except UsageError as error:
        who = guilty("env_file", given.origin)
        raise UsageError(f"{who}: {error.message}", error.remedy) from None
    return variables


def _directory(chdir: Value, cwd: str) -> str:
    path = os.path.join(cwd, chdir.value) if chdir.value not in ("", ".") else cwd
    if not os.path.isdir(path):
        raise UsageError(f"{chdir.origin}: chdir {path} is not a directory")
    return path
