"""Reads the four places where a setting can stand: flags, variables, a file, the table.

Each layer maps a key to its parsed value and its origin.  All layers are
checked, also where a higher one wins: a wrong line in a file is wrong today,
not on the day when a flag is left out.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from typing import Any

from leeward._core.record import Record
from leeward.cli import values
from leeward.cli.settings import RESERVED, TABLE, Setting
from leeward.errors import UsageError


class Value(Record):
    """A parsed value and where it came from, in words: "flag --workers"."""

    value: Any
    origin: str


Layer = dict[str, Value]

#: Variables that Kubernetes sets in every pod for a service called "leeward"
#: or "leeward-something"; the plain _PORT one is told by its value.
_KUBERNETES = re.compile(
    r"LEEWARD(_[A-Z0-9_]+)?"
    r"(_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://")


def flag_layer(flags: Mapping[str, Any]) -> Layer:
    """From click's parameters: None or an empty tuple is "not given"."""
    layer: Layer = {}
    for setting in TABLE:
        raw = flags.get(setting.key)
        if raw is None or raw == ():
            continue
        origin = f"flag {setting.flag}" if setting.flags else "argument TARGET"
        layer[setting.key] = Value(parsed(setting, raw, setting.flag), origin)
    return layer


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """From LEEWARD_*.  An empty variable counts as not set (compose files write `${X:-}`)."""
    _refuse_unknown(environ)
    layer: Layer = {}
    for setting in TABLE:
        for name in (setting.env, setting.also_env):
            raw = environ.get(name, "")
            if raw and not _is_kubernetes(name, raw):
                layer[setting.key] = Value(parsed(setting, raw, name), f"environment {name}")
                break
    return layer


def default_layer() -> Layer:
    return {
        setting.key: Value(setting.default, f"default ({setting.precedent})") for setting in TABLE
    }


def find_file(named: Value | None, directory: str, notes: list[str]) -> tuple[str, tuple[str, ...]]:
    """Path of the settings file and the table in it; "" if there is none.

    named:  what --config says, absolute, or None.
    notes:  told at the start, beside what was found.
    """
    if named:
        path: str = named.value
        _check_is_file(path, guilty("config", named.origin))
        is_project = os.path.basename(path) == "pyproject.toml"
        return path, ("tool", "leeward") if is_project else ()
    path = os.path.join(directory, "leeward.toml")
    if os.path.isfile(path):
        return path, ()
    if os.path.lexists(path):  # a link that leads nowhere: a reload would undo every setting
        raise UsageError(f"{path} is not a file: ls -l {path}")
    path = os.path.join(directory, "pyproject.toml")
    if os.path.isfile(path) and _is_ours(path, notes):
        return path, ("tool", "leeward")
    return "", ()


def _check_is_file(path: str, who: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise UsageError(f"{who} {path}: no such file") from None
    except OSError as error:
        raise UsageError(f"{who} {path}: {error.strerror}") from None
    if not stat.S_ISREG(mode):  # a reload reads it again, and a pipe is read once
        what = "is a directory" if stat.S_ISDIR(mode) else "is no regular file"
        raise UsageError(f"{who} {path}: {what}")


def _is_ours(path: str, notes: list[str]) -> bool:
    """Does this pyproject.toml speak of us?"""
    from leeward.cli import toml  # with `tomllib` 7 ms, and most have no file

    try:
        tool = toml.document_of(toml.text_of(path, path), path).get("tool")
        return isinstance(tool, dict) and "leeward" in tool
    except UsageError:
        pass
    # A broken file that does not speak of us is not our complaint.
    try:
        with open(path, "rb") as file:
            return any(b"tool.leeward" in line for line in file)
    except OSError as error:
        notes.append(f"{path} is not read: {error.strerror}")
        return False


def file_layer(path: str, table: tuple[str, ...], shown: str) -> Layer:
    """From the TOML file at `path`; `shown` is its name in messages."""
    from leeward.cli import toml

    text = toml.text_of(path, shown)
    document: Any = toml.document_of(text, shown)
    lines = toml.key_lines(text)
    for depth, part in enumerate(table, 1):
        document = document.get(part, {})
        if not isinstance(document, dict):
            where = f"{shown}:{lines.get(table[:depth], 1)}"
            raise UsageError(f"{where}: [{'.'.join(table[:depth])}] is not a table")
    layer: Layer = {}
    known = {setting.toml: setting for setting in TABLE if setting.in_file}
    for key, raw in document.items():
        where = f"{shown}:{lines.get((*table, key), 1)}"
        setting = known.get(key.replace("_", "-"))
        if setting is None:
            hint = values.nearest(key.replace("_", "-"), known)
            raise UsageError(
                f"{where}: no setting is called {values.quoted(key)}{hint}", _all_keys(hint)
            )
        if setting.key in layer:
            raise UsageError(f"{where}: {setting.toml} stands twice, with - and with _")
        value = parsed(setting, _printable(raw, where, key), f"{where}: {key}")
        is_path = setting.is_path and not values.is_daemon(value)
        if value and (is_path or setting.key == "uds"):
            value = os.path.join(os.path.dirname(path), value)
        elif setting.key == "bind":
            value = tuple(absolute(it, os.path.dirname(path)) for it in value)
        layer[setting.key] = Value(value, where)
    return layer


def absolute(address: str, directory: str) -> str:
    """A unix socket's path by `directory`; any other address as it is."""
    if address.startswith("unix:") and not address.startswith("unix:/"):
        return f"unix:{os.path.join(directory, address.removeprefix('unix:'))}"
    return address


def first(key: str, layers: Iterable[Layer]) -> Value | None:
    """The value of `key` in the first layer that has one."""
    return next((layer[key] for layer in layers if key in layer), None)


def parsed(setting: Setting, raw: object, where: str) -> Any:
    try:
        return setting.parse(raw)
    except values.Bad as bad:
        raise UsageError(f"{where}: {bad}") from None


def guilty(key: str, origin: str) -> str:
    """Who gave `key`, as errors name it: --config, LEEWARD_CONFIG, leeward.toml:3: env-file."""
    kind, _, name = origin.partition(" ")
    if kind in ("flag", "environment"):
        return name
    return f"{origin}: {key.replace('_', '-')}"


def _printable(raw: object, where: str, key: str) -> object:
    """`raw`, unless no message could show it: a number such as 0xfff…, or a.a.a.a.a… = 1."""
    try:
        repr(raw)
    except ValueError:
        raise UsageError(f"{where}: {key}: expected no number beyond 64 bits") from None
    except RecursionError:
        raise UsageError(f"{where}: {key}: tables within tables, more than are read") from None
    return raw


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = {setting.env for setting in TABLE}
    for name, value in sorted(environ.items()):
        if not name.startswith("LEEWARD_") or name in known or name in RESERVED:
            continue
        if _is_kubernetes(name, value):
            continue
        # Without the prefix, which would make everything resemble everything.
        close = values.closest(name[len("LEEWARD_") :].lower(), [s.key for s in TABLE])
        hint = f'; did you mean "LEEWARD_{close.upper()}"?' if close else ""
        raise UsageError(f"environment {name}: no setting is called so{hint}", _all_keys(hint))


def _is_kubernetes(name: str, value: str) -> bool:
    if _KUBERNETES.fullmatch(name):
        return True
    return name.endswith("_PORT") and _KUBERNETES_PORT.match(value) is not None


def _all_keys(hint: str) -> str:
    return "" if hint else "leeward serve --help shows every setting"
