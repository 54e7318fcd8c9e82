"""Every setting, in one table.

A row is a setting's flag, variable, TOML key, parser, default and the reason
for that default.  Command-line options, the reading of files and variables,
`leeward config` and the reference page are all made from `TABLE`: what is not
here does not exist.

    flag  >  LEEWARD_* variable  >  leeward.toml or [tool.leeward]  >  default

`leeward.cli.layers` reads the four, `leeward.cli.resolution` makes a `Config`.

More than 400 lines, because each setting has its nine and all stand in one place.
"""

from __future__ import annotations

from typing import Any

import msgspec

from leeward._core.config import NEEDS_RESTART
from leeward.cli import values

#: In the environment of workers; they are no settings, and are not refused
#: when a worker's own child types `leeward`.
RESERVED = ("LEEWARD_SLOT", "LEEWARD_GENERATION", "LEEWARD_INSTANCE")


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One row.

    precedent:  who else has this default, or why nobody does.
    also_env:   variable of a wider convention, asked after LEEWARD_<KEY>.
    many:       the flag may be given more than once.
    in_file:    may stand in TOML (all but those that say where the TOML is).
    is_path:    relative to the file when it stands in one, else to the cwd.
    runtime:    `leeward set` may change it while the instance runs: whoever obeys it asks
                the `Config` anew, or is told by its `tune`.
    """

    key: str
    flags: tuple[str, ...]
    parse: values.Parser
    default: Any
    precedent: str
    doc: str
    metavar: str
    also_env: str = ""
    many: bool = False
    in_file: bool = True
    is_path: bool = False
    runtime: bool = False

    @property
    def env(self) -> str:
        return f"LEEWARD_{self.key.upper()}"

    @property
    def toml(self) -> str:
        return self.key.replace("_", "-")

    @property
    def flag(self) -> str:
        """The long flag, for messages."""
        return self.flags[-1].partition("/")[0] if self.flags else "TARGET"

    @property
    def needs_restart(self) -> bool:
        """A reload that would change it is refused."""
        return self.key in NEEDS_RESTART or self.key in ("host", "port", "uds")


TABLE: tuple[Setting, ...] = (
    Setting(
        key="target",
        flags=(),
        parse=values.text,
        default="",
        precedent="none: every server wants to be told",
        metavar="TARGET",
        doc="What to serve: module:attr, module:factory, file.py[:attr].",
    ),
    Setting(
        key="kind",
        flags=("--kind",),
        parse=values.one_of("auto", "tornado", "script"),
        default="auto",
        precedent="an application where the file has one, else a program that listens itself",
        metavar="auto|tornado|script",
        doc="What TARGET is: an application to import, or a program (script) to run as it stands.",
    ),
    Setting(
        key="bind",
        flags=("-b", "--bind"),
        parse=values.addresses,
        default=("127.0.0.1:8000",),
        precedent="gunicorn, uvicorn, granian: not the network until one says so",
        metavar="ADDRESS",
        doc="HOST:PORT, :PORT, [v6]:PORT, unix:/path or fd://N; may be given again.",
        many=True,
    ),
    Setting(
        key="host",
        flags=("--host",),
        parse=values.text,
        default="127.0.0.1",
        precedent="gunicorn, uvicorn, granian",
        metavar="HOST",
        doc="Short for --bind HOST:PORT, with --port.",
    ),
    Setting(
        key="port",
        flags=("--port",),
        parse=values.port,
        default=8000,
        precedent="gunicorn, uvicorn, granian",
        metavar="PORT",
        doc="Short for --bind HOST:PORT, with --host; 0 lets the kernel choose.",
    ),
    Setting(
        key="uds",
        flags=("--uds",),
        parse=values.text,
        default="",
        precedent="uvicorn, granian: none",
        metavar="PATH",
        doc="Short for --bind unix:PATH.",
    ),
    Setting(
        key="uds_mode",
        flags=("--uds-mode",),
        parse=values.octal,
        default=0o666,
        precedent="uvicorn: a proxy of another user can connect; the directory guards",
        metavar="MODE",
        doc="File mode of unix sockets, octal.",
    ),
    Setting(
        key="backlog",
        flags=("--backlog",),
        parse=values.count,
        default=2048,
        precedent="gunicorn, uvicorn (the kernel cuts it at net.core.somaxconn, 4096)",
        metavar="N",
        doc="Connections that may wait in the kernel's queue.",
    ),
    Setting(
        key="workers",
        flags=("-w", "--workers"),
        parse=values.workers,
        default=1,
        precedent="gunicorn, uvicorn, granian: state in memory is right until one says so",
        metavar="N|auto",
        doc="Worker processes; auto (or 0): one per available CPU, bounded by memory.",
        also_env="WEB_CONCURRENCY",
    ),
    Setting(
        key="name",
        flags=("--name",),
        parse=values.text,
        default="",
        precedent='from the target, "chat" for chat:make_app; what `leeward ps` shows',
        metavar="NAME",
        doc="Name of the instance, for ps, reload, stop; from TARGET unless given.",
    ),
    Setting(
        key="start",
        flags=("--start",),
        parse=values.one_of("auto", "zygote", "spawn"),
        default="auto",
        precedent="fork where an audit finds it safe; gunicorn's --preload forks unasked",
        metavar="auto|zygote|spawn",
        doc="How workers come to be: forked from a loaded zygote, or each importing itself.",
    ),
    Setting(
        key="start_fallback",
        flags=("--start-fallback",),
        parse=values.one_of("refuse", "allow"),
        default="refuse",
        precedent="none has it: a mode that changes by itself changes memory by half",
        metavar="refuse|allow",
        doc="May a reload go from zygote to spawn when the new code cannot be forked?",
    ),
    Setting(
        key="start_timeout",
        flags=("--start-timeout",),
        parse=values.positive_duration,
        default=60.0,
        precedent="PostgreSQL's pg_ctl; systemd has 90 s, gunicorn 30 s",
        metavar="TIME",
        doc="How long importing and starting may take.",
    ),
    Setting(
        key="graceful_timeout",
        flags=("--graceful-timeout",),
        parse=values.duration,
        default=25.0,
        precedent="below the 30 s after which Kubernetes kills; gunicorn has 30 s",
        metavar="TIME",
        doc="How long requests in flight may take to finish when a worker leaves.",
        runtime=True,
    ),
    Setting(
        key="drain_window",
        flags=("--drain-window",),
        parse=values.duration,
        default=10.0,
        precedent="none has it: all WebSockets closed at once come back at once",
        metavar="TIME",
        doc="On a reload, WebSockets are closed spread over this time.",
        runtime=True,
    ),
    Setting(
        key="settle",
        flags=("--settle",),
        parse=values.duration,
        default=300.0,
        precedent="none has it: most bad deploys show within minutes; it costs a zygote's memory",
        metavar="TIME",
        doc="After a reload the old generation stays warm so long, for rollback; 0s: not at all.",
        runtime=True,
    ),
    Setting(
        key="max_lingering",
        flags=("--max-lingering",),
        parse=values.count,
        default=10,
        precedent="HAProxy's mworker-max-reloads (50); each costs the memory of its workers",
        metavar="N",
        doc="Old generations that may drain at a time; the oldest beyond that get 5 s.",
        runtime=True,
    ),
    Setting(
        key="max_requests",
        flags=("--max-requests",),
        parse=values.limit,
        default=0,
        precedent="gunicorn, uvicorn (--limit-max-requests): never",
        metavar="N",
        doc="A worker that has been asked so often is replaced; 0: never.",
        runtime=True,
    ),
    Setting(
        key="max_requests_jitter",
        flags=("--max-requests-jitter",),
        parse=values.part,
        default="10%",
        precedent="gunicorn has 0: workers that were born together are then all replaced at once",
        metavar="N|PART",
        doc="Up to so many requests more, drawn by each worker; a number, or a part of the limit.",
        runtime=True,
    ),
    Setting(
        key="max_age",
        flags=("--max-age",),
        parse=values.duration,
        default=0.0,
        precedent="none: a healthy worker may serve for years",
        metavar="TIME",
        doc="A worker is replaced when it is so old, or up to a tenth earlier; 0s: never.",
        runtime=True,
    ),
    Setting(
        key="max_pss",
        flags=("--max-pss",),
        parse=values.size,
        default=0,
        precedent="none; PSS, because with a zygote most of RSS is shared",
        metavar="SIZE",
        doc="A worker with more memory of its own is replaced: 256MiB, 1GB; 0: never.",
        runtime=True,
    ),
    Setting(
        key="stall_warn",
        flags=("--stall-warn",),
        parse=values.duration,
        default=0.25,
        precedent="asyncio's debug mode has 100 ms; a quarter of a second is what people notice",
        metavar="TIME",
        doc="A loop that does not turn for so long is told with file and line; 0s: never.",
        runtime=True,
    ),
    Setting(
        key="stall_kill",
        flags=("--stall-kill",),
        parse=values.duration,
        default=300.0,
        precedent="gunicorn's --timeout 30 s kills honest work; PHP-FPM has none",
        metavar="TIME",
        doc="A worker whose loop does not turn for so long, and that does not work, is killed; "
        "0s: never, as for a program.",
        runtime=True,
    ),
    Setting(
        key="stall_kill_busy",
        flags=("--stall-kill-busy/--no-stall-kill-busy",),
        parse=values.switch,
        default=False,
        precedent="what burns CPU may be about to finish; gunicorn's --timeout does not ask",
        metavar="",
        doc="--stall-kill also ends a worker that burns CPU.",
        runtime=True,
    ),
    Setting(
        key="stopped_kill",
        flags=("--stopped-kill",),
        parse=values.duration,
        default=30.0,
        precedent="none has it; longer than it takes to look at a process and let it go on",
        metavar="TIME",
        doc="A worker that is stopped (SIGSTOP, not by a debugger) for so long is killed; "
        "0s: never.",
        runtime=True,
    ),
    Setting(
        key="drain_delay",
        flags=("--drain-delay",),
        parse=values.duration,
        default=0.0,
        precedent="a preStop sleep of 5 to 15 s, which Kubernetes' users write by hand",
        metavar="TIME",
        doc="After TERM: not ready any more, but accepting for this long, before the drain.",
        runtime=True,
    ),
    Setting(
        key="health_path",
        flags=("--health-path",),
        parse=values.url_path,
        default="",
        precedent="none: the path may be one of the application's",
        metavar="PATH",
        doc="Answered without the application: 200 while it serves, 503 once it is to stop.",
    ),
    Setting(
        key="engine",
        flags=("--engine",),
        parse=values.one_of("leeward", "tornado"),
        default="leeward",
        precedent="none: the engine speaks what Tornado's server speaks, in a quarter of the time",
        metavar="leeward|tornado",
        doc="What speaks HTTP: leeward's own engine, or Tornado's server.",
    ),
    Setting(
        key="accelerate",
        flags=("--accelerate/--no-accelerate",),
        parse=values.switch,
        default=True,
        precedent="none: each acceleration is installed only where Tornado is as it knows it",
        metavar="",
        doc="Replace functions of tornado.web by equal ones that are faster; `check` lists them.",
    ),
    Setting(
        key="loop",
        flags=("--loop",),
        parse=values.one_of("auto", "asyncio", "uvloop"),
        default="auto",
        precedent="uvicorn, granian: uvloop where it is installed",
        metavar="auto|asyncio|uvloop",
        doc="The event loop; auto: uvloop where it is installed.  The application's policy wins.",
    ),
    Setting(
        key="probe",
        flags=("--probe",),
        parse=values.url_path,
        default="",
        precedent="Kubernetes' startupProbe: none, as only the application knows what is cheap",
        metavar="PATH",
        doc="The first worker of each generation must answer GET PATH by 2xx before it accepts.",
    ),
    Setting(
        key="ssl_certfile",
        flags=("--ssl-certfile",),
        parse=values.text,
        default="",
        precedent="uvicorn, hypercorn: none, as a proxy in front usually has it",
        metavar="FILE",
        doc="Serve https with this PEM certificate, its intermediates behind it.",
        is_path=True,
    ),
    Setting(
        key="ssl_keyfile",
        flags=("--ssl-keyfile",),
        parse=values.text,
        default="",
        precedent="openssl, nginx: the key may stand in the certificate's file",
        metavar="FILE",
        doc="The certificate's private key, PEM, without a password.",
        is_path=True,
    ),
    Setting(
        key="ssl_ca_certs",
        flags=("--ssl-ca-certs",),
        parse=values.text,
        default="",
        precedent="uvicorn, gunicorn: clients need no certificate",
        metavar="FILE",
        doc="Clients must show a certificate that one of these CAs has signed.",
        is_path=True,
    ),
    Setting(
        key="user",
        flags=("--user",),
        parse=values.account,
        default="",
        precedent="gunicorn, nginx: whoever starts it",
        metavar="NAME|ID",
        doc="Import and run the application as this user; root binds and keeps the supervisor.",
    ),
    Setting(
        key="group",
        flags=("--group",),
        parse=values.account,
        default="",
        precedent="gunicorn: the user's own group, and all that it is in",
        metavar="NAME|ID",
        doc="Import and run the application in this group.",
    ),
    Setting(
        key="log_level",
        flags=("--log-level",),
        parse=values.one_of("debug", "info", "warning", "error", "critical"),
        default="info",
        precedent="gunicorn, uvicorn, tornado",
        metavar="LEVEL",
        doc="debug, info, warning, error or critical.",
        runtime=True,
    ),
    Setting(
        key="log_format",
        flags=("--log-format",),
        parse=values.one_of("auto", "pretty", "json"),
        default="auto",
        precedent="pretty on a terminal, plain text elsewhere",
        metavar="auto|pretty|json",
        doc="How log lines look.",
    ),
    Setting(
        key="chdir",
        flags=("--chdir",),
        parse=values.text,
        default="",
        precedent="gunicorn: the directory one is in",
        metavar="DIR",
        doc="Directory of the application; links in it are followed anew by each reload.",
        is_path=True,
    ),
    Setting(
        key="env_file",
        flags=("--env-file",),
        parse=values.text,
        default="",
        precedent="uvicorn, docker: none",
        metavar="FILE",
        doc="KEY=VALUE lines for the application's environment.",
        is_path=True,
    ),
    Setting(
        key="config",
        flags=("--config",),
        parse=values.text,
        default="",
        precedent="leeward.toml, else [tool.leeward] of pyproject.toml, as ruff does",
        metavar="FILE",
        doc="The TOML file to read, instead of leeward.toml or pyproject.toml.",
        in_file=False,
        is_path=True,
    ),
)
