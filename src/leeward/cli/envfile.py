"""`--env-file`: KEY=VALUE lines for the application's environment.

The dialect is the part on which docker's, systemd's and dotenv's files agree:
comments, blank lines, an optional `export `, single quotes (as they stand),
double quotes (with \\n \\t \\" \\\\ \\$), and no substitution of variables: a `$`
in a password stays a `$`.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Mapping

from leeward.cli import regular
from leeward.errors import UsageError

_LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(.*)\Z", re.DOTALL)
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"[ \t]*(?:#.*)?\Z', re.DOTALL)
_SINGLE = re.compile(r"'([^']*)'[ \t]*(?:#.*)?\Z", re.DOTALL)
#: Bytes of the file; the kernel gives no process an environment of more than 6 MiB.
_MOST = 16 * 1024 * 1024
#: Bytes of one NAME=VALUE with its closing NUL: MAX_ARG_STRLEN, execve(2).
_MOST_OF_ONE = 32 * os.sysconf("SC_PAGE_SIZE")
#: Bytes of all of them, whatever `ulimit -s` allows, and if it allows next to nothing.
_MOST_OF_ALL, _LEAST_OF_ALL = 6 * 1024 * 1024, 128 * 1024
#: What the command line of a process of ours and our own variables take of that.
_OURS = 16 * 1024
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def read(path: str, shown: str) -> tuple[tuple[str, str], ...]:
    """The variables of the file at `path`, the last of a name wins.

    shown: how errors name the file.  Raises `UsageError` with file and line.
    """
    if os.path.realpath(path) == os.devnull:
        return ()  # how scripts write "none"; it is no regular file
    try:
        data = regular.read(path, _MOST)
        text = data.decode().replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        # `<(...)` of a shell is a pipe, of which the second reader would get nothing.
        raise UsageError(
            f"env file {shown}: {error.strerror}",
            "it must be a file: each reload reads it again",
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"env file {shown}: not UTF-8 ({error.reason})") from None
    if len(data) > _MOST:
        raise UsageError(f"env file {shown}: more than {_MOST >> 20} MiB, no environment is")
    variables: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, value = _parse(stripped, f"{shown}:{number}")
        if (octets := _octets(name, value)) > _MOST_OF_ONE:
            raise UsageError(
                f"{shown}:{number}: {name} with its value has {octets} bytes, and the kernel "
                f"takes {_MOST_OF_ONE} of one variable",
                "put the value into a file, and its path into the variable",
            )
        variables[name] = value
    return tuple(variables.items())


def check_room(
    given: Mapping[str, str], variables: tuple[tuple[str, str], ...], shown: str
) -> None:
    """Raises `UsageError` if no process can be started with `given` and `variables` together.

    The kernel's own sum, execve(2): a quarter of the stack's limit for all words and pointers.
    """
    soft = resource.getrlimit(resource.RLIMIT_STACK)[0]
    most = _MOST_OF_ALL if soft == resource.RLIM_INFINITY else min(soft // 4, _MOST_OF_ALL)
    most = max(most, _LEAST_OF_ALL)
    together = {**given, **dict(variables)}
    octets = sum(_octets(name, value) + 8 for name, value in together.items())
    if octets > most - _OURS:
        own = sum(_octets(name, value) + 8 for name, value in dict(variables).items())
        raise UsageError(
            f"env file {shown}: the environment would have {octets} bytes, {own} of them from "
            f"this file, and the kernel takes {most}, command lines included",
            "put long values into files; a larger `ulimit -s` allows a quarter of it, up to 6 MiB",
        )


def _octets(name: str, value: str) -> int:
    """What NAME=VALUE and its closing NUL take."""
    return len(f"{name}={value}".encode("utf-8", "surrogateescape")) + 1


def _parse(line: str, where: str) -> tuple[str, str]:
    match = _LINE.match(line)
    if match is None:
        raise UsageError(f"{where}: expected KEY=VALUE, found {line[:40]!r}")
    name, value = match[1], match[2]
    if name.startswith("LEEWARD_"):
        # Settings are resolved before this file is read; taking some of them
        # from here would make the origin of a value unknowable.
        raise UsageError(
            f"{where}: {name} is a setting of leeward, and this file is the application's",
            "put it into leeward.toml, or give it as a flag",
        )
    if value.startswith('"'):
        quoted = _DOUBLE.match(value)
    elif value.startswith("'"):
        quoted = _SINGLE.match(value)
    else:
        return name, _checked(re.split(r"[ \t]#", value)[0].rstrip(), where)
    if quoted is None:
        raise UsageError(f"{where}: the value of {name} has no closing quote at the line's end")
    if value.startswith("'"):
        return name, _checked(quoted[1], where)
    escape = re.compile(r"\\(.)")
    return name, _checked(escape.sub(lambda m: _ESCAPES.get(m[1], m[1]), quoted[1]), where)


def _checked(value: str, where: str) -> str:
    if "\0" in value:
        raise UsageError(f"{where}: a NUL byte cannot stand in an environment variable")
    return value
