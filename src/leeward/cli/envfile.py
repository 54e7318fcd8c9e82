"""`--env-file`: KEY=VALUE lines for the application's environment.

The dialect is the part on which docker's, systemd's and dotenv's files agree:
comments, blank lines, an optional `export `, single quotes (as they stand),
double quotes (with \\n \\t \\" \\\\ \\$), and no substitution of variables: a `$`
in a password stays a `$`.
"""

from __future__ import annotations

import re

from leeward.errors import UsageError

_LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(.*)\Z", re.DOTALL)
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"[ \t]*(?:#.*)?\Z', re.DOTALL)
_SINGLE = re.compile(r"'([^']*)'[ \t]*(?:#.*)?\Z", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def read(path: str, shown: str) -> tuple[tuple[str, str], ...]:
    """The variables of the file at `path`, the last of a name wins.

    shown: how errors name the file.  Raises `UsageError` with file and line.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise UsageError(f"env file {shown}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"env file {shown}: not UTF-8 ({error.reason})") from None
    variables: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, value = _parse(stripped, f"{shown}:{number}")
        variables[name] = value
    return tuple(variables.items())


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
