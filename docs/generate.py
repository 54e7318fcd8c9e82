"""Write the pages that are made from the code; `make docs` runs it.

A test of the house compares `pages()` with the files, so that a setting which is
added, renamed or given another default cannot stay undocumented.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from leeward.cli import values
from leeward.cli.settings import RESERVED, TABLE, Setting
from leeward.cli.values import size_text
from leeward.engine.frames import WEBSOCKET
from leeward.engine.rules import LEGAL, SHARED, STRICTER, Rule

HERE = Path(__file__).resolve().parent

HEAD = """\
# Settings

<!-- Made from the table in src/leeward/cli/settings.py by `make docs`: edit that. -->

Each setting is a flag of `leeward serve`, a variable and a key in `leeward.toml` (or `[tool.leeward]` in
`pyproject.toml`). The first that is given wins: **flag, variable, file, default**. `leeward config --origin TARGET`
shows what `serve` with the same flags, variables and directory would use, and where each value comes from; for the service that runs,
type what its unit types.

Durations: `30s`, `250ms`, `2m`, `1h`, or plain seconds, at most 1000000000 (31 years); what is not 0 is at least a
microsecond. A key that does not exist, or a value that cannot be, is
refused with its flag or file:line (exit code 2), never ignored.

Sizes: plain bytes, `256MiB` or `256M` (times 1024, as systemd and docker mean it), `256MB` (times 1000, by SI).

In a file lists are lists, and what has a leading zero or a unit is text:

```toml
# leeward.toml, beside the application
bind = ["127.0.0.1:8000", "unix:run/chat.sock"]
uds-mode = "0660"
workers = 4
graceful-timeout = "25s"
```

In a variable several addresses are separated by commas or spaces. `bind`, `host`, `port` and `uds` are one setting: the first of flag,
variable, file that has any of them decides alone (`LEEWARD_BIND=…` with `--port 9000` is 127.0.0.1:9000).

Some can be changed while the instance runs, by `leeward set` ([how](../how-to/see-who-is-connected.md#change-a-limit-without-a-reload));
what is set wins over all four until the instance stops, and `leeward config --origin TARGET` shows it as `runtime`.

| flag | default | what it says |
|---|---|---|
"""


HTTP = """\
# How requests are read

<!-- Made from the lists in src/leeward/engine/rules.py by `make docs`: edit those. -->

The engine accepts what the installed Tornado accepts, **minus** the first list, **plus** the second, and nothing else.
Where both refuse, the third list tells under which name. A refusal is answered with 400, where nothing else is said, and names its rule in the log,
so that it can be explained to whoever owns the client; `leeward ps --json` [counts](ps.md) them.
Tornado sends a 400, and `100 Continue`, even into an answer that has begun. The engine sends no 100 there, and cuts the connection
instead of a 400, so that the client can tell such an answer from a whole one.

Tornado 6.4 is laxer than 6.6, so that some of these are a difference only there. Two things that look wrong are right:
lines may end in LF alone (RFC 9112 §2.2 allows it, and Tornado does it), and octets beyond ASCII may stand in targets
and values.
"""

FRAMES = """\
Where a client breaks RFC 6455, the engine sends a close frame that says so; the application is told what Tornado tells it: that
its client has left, or of a close frame what was in it. With these, Autobahn's fuzzing client finds every case in order;
with Tornado's own server 9 fail (7.9.1 to 7.9.9) and 4 are not strict (6.4.1 to 6.4.4).

"""


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def default(setting: Setting) -> str:
    value: Any = setting.default
    if value == "" or value == ():
        return "–"
    if isinstance(value, tuple):
        value = ", ".join(map(str, value))
    if isinstance(value, bool):
        value = str(value).lower()
    if setting.metavar == "SIZE":
        return f"`{size_text(value)}`"
    if setting.key.endswith("_mode") and isinstance(value, int):
        value = f"{value:04o}"
    if isinstance(value, bool):
        value = "yes" if value else "no"
    if setting.parse is values.size and value and value % 2**20 == 0:
        value = f"{value // 2**20}MiB"
    if isinstance(value, float):
        value = f"{value:g}s"
    return f"`{value}`"


def row(setting: Setting) -> str:
    flags = ", ".join(f"`{flag}`" for it in setting.flags for flag in it.split("/")) or "`TARGET`"
    return f"| {flags} | {default(setting)} | {cell(setting.doc)} |\n"


def detail(setting: Setting) -> str:
    flag = f"{setting.flags[-1]} {setting.metavar}".rstrip() if setting.flags else setting.metavar
    flag = flag.replace("/--", "`, `--")
    lines = [f"\n### {setting.toml}\n", f"{setting.doc}\n"]
    variable = f"`{setting.env}`" + (f", then `{setting.also_env}`" if setting.also_env else "")
    places = [f"flag `{flag}`", f"variable {variable}"]
    if setting.in_file:
        places.append(f"key `{setting.toml}`")
    lines.append(f"- {' · '.join(places)}\n- default {default(setting)} ({setting.precedent})")
    if setting.needs_restart:
        lines.append("- a reload does not change it: stop and serve again")
    if setting.runtime:
        lines.append(f"- `leeward set {setting.toml}=VALUE` changes it while it runs")
    return "\n".join(lines) + "\n"


def rules(title: str, listed: tuple[Rule, ...], text: str = "") -> str:
    rows = "".join(
        f"| `{rule.name}` | {rule.section or '–'} | {cell(rule.tornado)} | {cell(rule.leeward)} |\n"
        for rule in listed
    )
    return (
        f"\n## {title}\n\n{text}| rule | source | Tornado | the engine |\n|---|---|---|---|\n{rows}"
    )


def pages() -> dict[Path, str]:
    """What each generated page must say."""
    reserved = ", ".join(f"`{name}`" for name in RESERVED)
    tail = (
        f"\n{reserved} are no settings: they are in the environment of workers and say who they are.\n"
        "\n## One by one\n"
    )
    text = HEAD + "".join(map(row, TABLE)) + tail + "".join(map(detail, TABLE))
    http = HTTP + rules("Stricter", STRICTER) + rules("Legal", LEGAL) + rules("Shared", SHARED)
    http += rules("WebSocket frames", WEBSOCKET, FRAMES)
    return {HERE / "reference/settings.md": text, HERE / "reference/http.md": http}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
        print(f"wrote {path.relative_to(HERE.parent)}")
