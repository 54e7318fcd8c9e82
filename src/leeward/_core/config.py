"""What the command line resolved, as plain frozen values.

The CLI builds one `Config` from flags, environment, files and defaults; every
other process only reads it.  It travels as JSON (in a memfd or a message), so
each field is a string, number, boolean, None or a tuple of those.  Nothing here
parses or validates what a user wrote: that is `leeward.cli.settings`.
"""

from __future__ import annotations

import json

from leeward._core.record import Record, asdict

#: Values of `log_level`, as `logging` numbers them.
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

#: Keys that a running instance cannot change: a reload that changes one of
#: them is refused by name and applied not even half.  Of the PROXY protocol because old
#: and new workers share the listeners: half of the connections would meet the wrong ones.
NEEDS_RESTART = (
    "name",
    "kind",
    "bind",
    "backlog",
    "uds_mode",
    "proxy_protocol",
    "user",
    "group",
    "log_format",
    "log_file",
    "log_rotate",
    "log_keep",
    "log_compress",
    "log_facility",
    "capture_output",
)

#: Keys that `leeward set` may change while the instance runs: whoever obeys one asks the
#: `Config` anew, or is told by its `tune`.
TUNABLE = (
    "graceful_timeout",
    "drain_window",
    "settle",
    "max_lingering",
    "max_conns",
    "max_conns_per_ip",
    "limit_concurrency",
    "rebalance",
    "max_requests",
    "max_requests_jitter",
    "max_age",
    "max_pss",
    "stall_warn",
    "stall_kill",
    "stall_kill_busy",
    "stopped_kill",
    "drain_delay",
    "silent_timeout",
    "header_timeout",
    "body_timeout",
    "min_body_rate",
    "handler_timeout",
    "max_poll_age",
    "write_timeout",
    "idle_timeout",
    "write_budget",
    "start_timeout",
    "max_body",
    "max_header",
    "max_inflate_ratio",
    "on_disconnect",
    "abandon_after",
    "ws_ping_interval",
    "ws_ping_timeout",
    "peer_timeout",
    "log_level",
)


class Listener(Record):
    """One bound, listening socket that the supervisor owns.

    fd:       descriptor number in the supervisor.
    address:  what was bound, port 0 resolved: ``127.0.0.1:8000``, ``[::1]:80``,
              ``unix:/run/app.sock``, ``fd://3``.
    url:      how a person reaches it: ``http://127.0.0.1:8000``.
    path:     file to remove at the end for a unix socket that we made, else "".
    made:     by us; else it was handed in, and goes on without us.
    """

    fd: int
    address: str
    url: str
    path: str = ""
    made: bool = True


class Config(Record):
    """The resolved settings of one generation.  Durations are in seconds."""

    target: str
    #: "script": a program to be run; else an application to be imported.
    kind: str = "auto"  # tornado | script once it is resolved, auto for what is no Python
    args: tuple[str, ...] = ()
    name: str = "leeward"
    #: Empty: the addresses that the program itself asks for.
    bind: tuple[str, ...] = ("127.0.0.1:8000",)
    backlog: int = 2048
    uds_mode: int = 0o666
    #: 0 in a reload's settings: the program's own number, as at the start.
    workers: int = 1
    start: str = "auto"  # auto | zygote | spawn
    start_fallback: str = "refuse"  # refuse | allow
    #: spawn | warn | refuse, and codes to ignore: `leeward._core.hazards.policy`.
    hazards: tuple[str, ...] = ("spawn",)
    start_timeout: float = 60.0
    graceful_timeout: float = 25.0
    drain_window: float = 10.0
    #: For a worker's resources to be closed.
    close_timeout: float = 5.0
    settle: float = 300.0
    max_lingering: int = 10
    #: Of each worker; 0: any number.
    max_conns: int = 0
    max_conns_per_ip: int = 0
    limit_concurrency: int = 0
    #: Idle connections that a worker with more than the others closes a second, 0 for none.
    rebalance: int = 0
    #: When a worker asks to be replaced; 0: never.
    max_requests: int = 0
    max_requests_jitter: int = 0
    max_age: float = 0.0
    max_pss: int = 0
    #: What is done about a loop that does not turn, or a process that is stopped; 0: nothing.
    stall_warn: float = 0.25
    stall_kill: float = 300.0
    stall_kill_busy: bool = False
    stopped_kill: float = 30.0
    #: How long a connection may be in each of its states; 0: for ever.
    silent_timeout: float = 30.0
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    min_body_rate: int = 240  # bytes a second
    handler_timeout: float = 0.0
    max_poll_age: float = 0.0
    write_timeout: float = 60.0
    idle_timeout: float = 75.0
    #: Bytes that are kept for a client that does not read; 0: any number.
    write_budget: int = 8388608
    #: Those of `TUNABLE` that the operator has given: they win over the application's own.
    given: tuple[str, ...] = ()
    #: PEM files by the paths that were typed; "" for none.  Read by the command line
    #: and the resolver only: the others get what they held (`Handover.tls`).
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    ssl_ca_certs: str = ""
    #: As they were typed, and the numbers that they stand for; -1: stay who we are.
    user: str = ""
    group: str = ""
    uid: int = -1
    gid: int = -1
    groups: tuple[int, ...] = ()
    #: Between an order to stop and the drain: not ready, but accepting.
    drain_delay: float = 0.0
    health_path: str = ""
    #: Whose X-Forwarded-For counts, and who must begin by a PROXY header (`_core.trust`).
    forwarded_allow_ips: tuple[str, ...] = ()
    proxy_protocol: str = "off"  # off | v1 | v2 | any
    proxy_allow_from: tuple[str, ...] = ("127.0.0.1", "::1", "unix:")
    #: Bytes; None: as the program's own server says, or Tornado's defaults.
    max_body: int | None = None
    max_header: int | None = None
    decompress: bool | None = None
    #: Times larger that a compressed body may become, 0 for any.
    max_inflate_ratio: int = 100
    #: What becomes of a handler whose client has left (`_core.leaving`), and how soon.
    on_disconnect: str = "abandon"  # abandon | cancel | notify
    abandon_after: float = 15.0
    engine: str = "leeward"  # leeward | tornado
    accelerate: bool = True
    head_cache: int = 512
    #: After how long without a sign of life a client is gone; 0: never asked.
    ws_ping_interval: float = 20.0
    ws_ping_timeout: float = 20.0
    peer_timeout: float = 60.0
    loop: str = "auto"  # auto | asyncio | uvloop
    #: What a generation's first worker must answer by 2xx before it accepts; "" for nothing.
    probe: str = ""
    log_level: str = "info"  # debug | info | warning | error | critical
    log_format: str = "auto"  # auto | pretty | json
    #: Path; "" for stderr.  {slot} in it: a file of each worker's own.  syslog: or journal:
    #: in front: no file (`_core.sinks.destination`).
    log_file: str = ""
    #: Bytes, or a word of `_core.sinks.PERIODS`, or both.
    log_rotate: str = ""
    log_keep: int = 7
    log_compress: bool = False
    log_facility: str = "daemon"  # a key of `_core.syslog.FACILITIES`
    #: stdout and stderr of workers: on a terminal (auto), always, never.
    capture_output: str = "auto"  # auto | on | off
    access_log: bool = True
    access_log_format: str = "auto"  # auto (as log_format) | pretty | combined | json
    #: Log files of the application that several workers cannot share as they are.
    log_files: str = "shared"  # shared | per-worker | as-is
    #: Working directory by the path that was typed, symbolic links unresolved,
    #: so that a deploy which swaps a ``current`` link is seen by a reload.
    chdir: str = ""
    #: Variables of ``--env-file``, set on top of the supervisor's environment.
    env: tuple[tuple[str, str], ...] = ()
    #: Interpreter and its flags, by the path that was typed.
    interpreter: tuple[str, ...] = ()
    #: The directory that holds the ``leeward`` package, by the path that was typed.
    root: str = ""
    #: How ``serve`` was typed and where, for resolving the settings again.
    argv: tuple[str, ...] = ()
    cwd: str = ""
    #: Lines that the banner and the log say once (idle cores, clamped values).
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Config:
        raw = json.loads(text)
        for name in cls.FIELDS:
            if isinstance(raw.get(name), list):
                raw[name] = tuple(
                    tuple(item) if isinstance(item, list) else item for item in raw[name]
                )
        return cls(**raw)


class Handover(Record):
    """All that the CLI hands the supervisor across its ``exec``."""

    config: Config
    listeners: tuple[Listener, ...]
    control_fd: int
    control_path: str
    lock_fd: int
    terminal: bool  # stderr is a terminal: colours, and a short Ctrl-C
    #: memfds of the certificate, its key and, where there are any, the CAs.
    tls: tuple[int, ...] = ()

    def to_json(self) -> str:
        return json.dumps(
            {
                "config": self.config.to_json(),
                "listeners": [asdict(listener) for listener in self.listeners],
                "control_fd": self.control_fd,
                "control_path": self.control_path,
                "lock_fd": self.lock_fd,
                "terminal": self.terminal,
                "tls": self.tls,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Handover:
        raw = json.loads(text)
        raw["config"] = Config.from_json(raw["config"])
        raw["tls"] = tuple(raw["tls"])
        raw["listeners"] = tuple(Listener(**listener) for listener in raw["listeners"])
        return cls(**raw)


def changed_keys(old: Config, new: Config) -> tuple[str, ...]:
    """The keys that need a restart and differ between `old` and `new`."""
    # A file that is no Python will not serve, and loading it says why: whether it is an
    # application or a program, with an address of its own, cannot be told any more.
    untold = ("kind", "bind") if new.kind == "auto" else ()
    keys = [key for key in NEEDS_RESTART if key not in untold]
    changed = [key for key in keys if getattr(old, key) != getattr(new, key)]
    # Another certificate is fine; but old and new workers share the listeners, and
    # half of the clients would be answered in the wrong language.
    if bool(old.ssl_certfile) != bool(new.ssl_certfile):
        changed.append("ssl_certfile")
    return tuple(changed)
