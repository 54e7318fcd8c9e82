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

from leeward._core.config import NEEDS_RESTART, TUNABLE
from leeward._core.record import Record
from leeward.cli import values

#: In the environment of workers; they are no settings, and are not refused
#: when a worker's own child types `leeward`.
RESERVED = ("LEEWARD_SLOT", "LEEWARD_GENERATION", "LEEWARD_INSTANCE")


class Setting(Record):
    """One row.

    precedent:  who else has this default, or why nobody does.
    also_env:   variable of a wider convention, asked after LEEWARD_<KEY>.
    many:       the flag may be given more than once.
    in_file:    may stand in TOML (all but those that say where the TOML is).
    is_path:    relative to the file when it stands in one, else to the cwd.
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

    @property
    def runtime(self) -> bool:
        """`leeward set` may change it while the instance runs."""
        return self.key in TUNABLE


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
        parse=values.host,
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
        doc="Worker processes, at most 256; auto (or 0): one per available CPU, 128 MiB for each.",
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
        key="hazards",
        flags=("--hazards",),
        parse=values.hazards,
        default=("spawn",),
        precedent="none has it: gunicorn's documentation warns of --preload, Pitchfork has a veto "
        "by hand",
        metavar="spawn|warn|refuse|ignore:CODE",
        doc="What to do where a fork would break something: spawn, fork with a warning, or not "
        "start; ignore:LW101 takes that one for nothing.  May be given again.",
        many=True,
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
    ),
    Setting(
        key="close_timeout",
        flags=("--close-timeout",),
        parse=values.positive_duration,
        default=5.0,
        precedent="ASP.NET Core's services had 5 s to stop; a hung closer costs a reload no more",
        metavar="TIME",
        doc="How long the resources of a worker that leaves may take to close, all together.",
    ),
    Setting(
        key="drain_window",
        flags=("--drain-window",),
        parse=values.duration,
        default=10.0,
        precedent="none has it: all WebSockets closed at once come back at once",
        metavar="TIME",
        doc="On a reload, WebSockets and streams of events are closed spread over this time.",
    ),
    Setting(
        key="settle",
        flags=("--settle",),
        parse=values.duration,
        default=300.0,
        precedent="none has it: most bad deploys show within minutes; it costs a zygote's memory",
        metavar="TIME",
        doc="After a reload the old generation stays warm so long, for rollback; 0s: not at all.",
    ),
    Setting(
        key="max_lingering",
        flags=("--max-lingering",),
        parse=values.count,
        default=10,
        precedent="HAProxy's mworker-max-reloads (50); each costs the memory of its workers",
        metavar="N",
        doc="Old generations that may drain at a time; the oldest beyond that get 5 s.",
    ),
    Setting(
        key="max_conns",
        flags=("--max-conns",),
        parse=values.limit,
        default=0,
        precedent="nginx's worker_connections and gunicorn's count per worker too (512, 1000)",
        metavar="N",
        doc="Connections of one worker; 0: as many as its descriptors allow (ulimit -n).",
    ),
    Setting(
        key="max_conns_per_ip",
        flags=("--max-conns-per-ip",),
        parse=values.limit,
        default=0,
        precedent="nginx's limit_conn: none, as a proxy or an office may be one address",
        metavar="N",
        doc="Connections of one address (IPv6: one /64) at one worker, and by proxies of "
        "--forwarded-allow-ips requests at a time of one client; more get 503.  0: any.",
    ),
    Setting(
        key="limit_concurrency",
        flags=("--limit-concurrency",),
        parse=values.limit,
        default=0,
        precedent="uvicorn: none, as only the application knows what it can bear",
        metavar="N",
        doc="Requests in flight at one worker; more get 503 and Retry-After.  0: any number.",
    ),
    Setting(
        key="rebalance",
        flags=("--rebalance",),
        parse=values.limit,
        default=0,
        precedent="gRPC's MAX_CONNECTION_AGE and Envoy's max_connection_duration are off, too",
        metavar="N",
        doc="A worker that has clearly more connections than the others closes up to N idle "
        "keep-alive ones a second, so that those get them; 0: none.",
    ),
    Setting(
        key="max_requests",
        flags=("--max-requests",),
        parse=values.limit,
        default=0,
        precedent="gunicorn, uvicorn (--limit-max-requests): never",
        metavar="N",
        doc="A worker that has been asked so often is replaced; 0: never.",
    ),
    Setting(
        key="max_requests_jitter",
        flags=("--max-requests-jitter",),
        parse=values.part,
        default="10%",
        precedent="gunicorn has 0: workers that were born together are then all replaced at once",
        metavar="N|PART",
        doc="Up to so many requests more, drawn by each worker; a number, or a part of the limit.",
    ),
    Setting(
        key="max_age",
        flags=("--max-age",),
        parse=values.duration,
        default=0.0,
        precedent="none: a healthy worker may serve for years",
        metavar="TIME",
        doc="A worker is replaced when it is so old, or up to a tenth earlier; 0s: never.",
    ),
    Setting(
        key="max_pss",
        flags=("--max-pss",),
        parse=values.size,
        default=0,
        precedent="none; PSS, because with a zygote most of RSS is shared",
        metavar="SIZE",
        doc="A worker with more memory of its own is replaced: 256MiB, 1GB; 0: never.",
    ),
    Setting(
        key="stall_warn",
        flags=("--stall-warn",),
        parse=values.duration,
        default=0.25,
        precedent="asyncio's debug mode has 100 ms; a quarter of a second is what people notice",
        metavar="TIME",
        doc="A loop that does not turn for so long is told with file and line; 0s: never.",
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
    ),
    Setting(
        key="stall_kill_busy",
        flags=("--stall-kill-busy/--no-stall-kill-busy",),
        parse=values.switch,
        default=False,
        precedent="what burns CPU may be about to finish; gunicorn's --timeout does not ask",
        metavar="",
        doc="--stall-kill also ends a worker that burns CPU.",
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
    ),
    Setting(
        key="drain_delay",
        flags=("--drain-delay",),
        parse=values.duration,
        default=0.0,
        precedent="a preStop sleep of 5 to 15 s, which Kubernetes' users write by hand",
        metavar="TIME",
        doc="After TERM: not ready any more, but accepting for this long, before the drain.",
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
        key="ws_ping_interval",
        flags=("--ws-ping-interval",),
        parse=values.duration,
        default=20.0,
        precedent="uvicorn, the websockets library; Tornado: never, unless the application asks",
        metavar="TIME",
        doc="A WebSocket that is silent for so long is pinged, unless the application has set "
        "websocket_ping_interval; 0s: never.",
    ),
    Setting(
        key="ws_ping_timeout",
        flags=("--ws-ping-timeout",),
        parse=values.positive_duration,
        default=20.0,
        precedent="uvicorn, the websockets library; they close who has never answered, too",
        metavar="TIME",
        doc="A client that has answered pings before has so long for an answer, or any other byte.",
    ),
    Setting(
        key="peer_timeout",
        flags=("--peer-timeout",),
        parse=values.duration,
        default=60.0,
        precedent="Linux: 2 h 11 min when idle, 15 min for what is not acknowledged",
        metavar="TIME",
        doc="A TCP client whose machine acknowledges nothing for so long, or takes nothing that "
        "waits for it, is gone; 0s: as the kernel does it.",
    ),
    Setting(
        key="forwarded_allow_ips",
        flags=("--forwarded-allow-ips",),
        parse=values.peers,
        default=(),
        precedent="Tornado's xheaders=False: an application sees the same as before; uvicorn "
        "believes 127.0.0.1, where any user of the machine may be",
        metavar="PEERS",
        doc="Peers whose X-Forwarded-For, X-Real-Ip, X-Forwarded-Proto and Forwarded are believed: "
        "addresses, networks, unix:, or * for all.",
        also_env="FORWARDED_ALLOW_IPS",
    ),
    Setting(
        key="proxy_protocol",
        flags=("--proxy-protocol",),
        parse=values.one_of("off", "v1", "v2", "any"),
        default="off",
        precedent="gunicorn: off, as nobody may guess whether there is a header",
        metavar="off|v1|v2|any",
        doc="Each connection begins by a PROXY header of this version, before TLS; "
        "one without is closed.",
    ),
    Setting(
        key="proxy_allow_from",
        flags=("--proxy-allow-from",),
        parse=values.peers,
        default=("127.0.0.1", "::1", "unix:"),
        precedent="gunicorn",
        metavar="PEERS",
        doc="Peers that may speak the PROXY protocol, the others being closed: "
        "addresses, networks, unix:, or *.",
    ),
    Setting(
        key="max_body",
        flags=("--max-body",),
        parse=values.positive_size,
        default=100 * 1024 * 1024,
        precedent="Tornado; nginx has 1 MiB, uvicorn none",
        metavar="SIZE",
        doc="A request with a larger body is refused; a handler's set_max_body_size() wins.",
    ),
    Setting(
        key="max_header",
        flags=("--max-header",),
        parse=values.positive_size,
        default=64 * 1024,
        precedent="Tornado; nginx has 32 KiB, aiohttp 8 KiB for a line",
        metavar="SIZE",
        doc="A request whose line and headers are larger is answered by 431.",
    ),
    Setting(
        key="decompress",
        flags=("--decompress/--no-decompress",),
        parse=values.switch,
        default=False,
        precedent="Tornado's decompress_request: a few bytes may become many",
        metavar="",
        doc="Bodies with Content-Encoding: gzip are unpacked, --max-body bounding the result.",
    ),
    Setting(
        key="max_inflate_ratio",
        flags=("--max-inflate-ratio",),
        parse=values.limit,
        default=100,
        precedent="Apache POI; Apache's mod_deflate has 200, after 3 blocks; deflate can do 1032",
        metavar="N",
        doc="A compressed body that becomes more than 8 MiB, and so many times larger than it "
        "came, is answered by 413 where it is kept in memory; 0: any.",
    ),
    Setting(
        key="on_disconnect",
        flags=("--on-disconnect",),
        parse=values.one_of("abandon", "cancel", "notify"),
        default="abandon",
        precedent="none: Tornado notifies, Starlette and Sanic cancel; what only looks is ended",
        metavar="abandon|cancel|notify",
        doc="What a client that leaves does to its handler: ends GET and HEAD after a while "
        "(abandon), ends any at once (cancel), or nothing but on_connection_close (notify).",
    ),
    Setting(
        key="abandon_after",
        flags=("--abandon-after",),
        parse=values.duration,
        default=15.0,
        precedent="none: long enough for a handler to end by itself",
        metavar="TIME",
        doc="How long a GET or HEAD handler may still wait once its client has left.",
    ),
    Setting(
        key="silent_timeout",
        flags=("--silent-timeout",),
        parse=values.duration,
        default=30.0,
        precedent="HAProxy's example for `timeout http-request` is 10 s; browsers connect ahead",
        metavar="TIME",
        doc="A connection that has not sent a byte is closed, TLS handshakes included; 0s: never.",
    ),
    Setting(
        key="header_timeout",
        flags=("--header-timeout",),
        parse=values.duration,
        default=10.0,
        precedent="HAProxy's example for `timeout http-request`; nginx has 60 s, Tornado an hour",
        metavar="TIME",
        doc="For a request's header, from its first byte; then 408.  0s: for ever.",
    ),
    Setting(
        key="body_timeout",
        flags=("--body-timeout",),
        parse=values.duration,
        default=30.0,
        precedent="nginx's client_body_timeout (60 s) is for silence too; Tornado has none",
        metavar="TIME",
        doc="How long a request's body may be silent; then 408.  0s: for ever.",
    ),
    Setting(
        key="min_body_rate",
        flags=("--min-body-rate",),
        parse=values.size,
        default=240,
        precedent="Kestrel's MinRequestBodyDataRate; Apache's mod_reqtimeout has 500",
        metavar="SIZE",
        doc="Bytes of a body that earn a second of --body-timeout; 0: any byte earns all of it.",
    ),
    Setting(
        key="handler_timeout",
        flags=("--handler-timeout",),
        parse=values.duration,
        default=0.0,
        precedent="none: only the application knows; gunicorn's --timeout kills all of a worker",
        metavar="TIME",
        doc="For an answer, from the end of its request; then 503.  0s: for ever.",
    ),
    Setting(
        key="max_poll_age",
        flags=("--max-poll-age",),
        parse=values.duration,
        default=0.0,
        precedent="none: long-polls that live for minutes are common, and frozen clients rare",
        metavar="TIME",
        doc="A long-poll or stream of events older than this is ended, with its handler: only so "
        "a client is found that is frozen but whose kernel answers.  0s: never.",
    ),
    Setting(
        key="write_timeout",
        flags=("--write-timeout",),
        parse=values.duration,
        default=60.0,
        precedent="nginx's send_timeout: without a byte that is taken, not for the whole",
        metavar="TIME",
        doc="A client that takes nothing of what it is sent for so long is cut; 0s: never.",
    ),
    Setting(
        key="idle_timeout",
        flags=("--idle-timeout",),
        parse=values.duration,
        default=75.0,
        precedent="nginx's keepalive_timeout; longer than the 60 s of an AWS load balancer",
        metavar="TIME",
        doc="Between two requests of a connection; never for WebSockets.  0s: for ever.",
    ),
    Setting(
        key="write_budget",
        flags=("--write-budget",),
        parse=values.size,
        default=8388608,
        precedent="Redis' client-output-buffer-limit for subscribers: 8 MB for long, 32 MB at all",
        metavar="SIZE",
        doc="Bytes that are kept for a client which does not read what is written; 0: any number.",
    ),
    Setting(
        key="engine",
        flags=("--engine",),
        parse=values.one_of("leeward", "tornado"),
        default="leeward",
        precedent="none: the engine speaks what Tornado's server speaks, in a quarter of the time",
        metavar="leeward|tornado",
        doc="What speaks HTTP: leeward's own engine, or Tornado's server (without most deadlines).",
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
        key="head_cache",
        flags=("--head-cache",),
        parse=values.limit,
        default=512,
        precedent="none: others read each request anew",
        metavar="N",
        doc="Heads of requests that a worker keeps once they came again, with their cookies, so as "
        "not to read them anew; 0: none.",
    ),
    Setting(
        key="loop",
        flags=("--loop",),
        parse=values.one_of("auto", "asyncio", "uvloop"),
        default="auto",
        precedent="uvicorn, granian: uvloop where it is installed",
        metavar="auto|asyncio|uvloop",
        doc="The event loop; auto: uvloop where it is installed.  The application's own wins.",
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
        doc="Serve https with this PEM certificate, its intermediates behind it. "
        "No reload turns TLS on or off.",
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
        key="log_file",
        flags=("--log-file",),
        parse=values.log_file,
        default="",
        precedent="gunicorn, Tornado (--log-file-prefix): stderr; nginx has syslog: too",
        metavar="PATH|syslog:…|journal:",
        doc="Workers' lines and requests go there; {slot} in a file's name: one each; -: stderr.",
        is_path=True,
    ),
    Setting(
        key="log_rotate",
        flags=("--log-rotate",),
        parse=values.rotation,
        default="",
        precedent="Docker, RotatingFileHandler: never until one says so",
        metavar="SIZE|PERIOD",
        doc="Rotate it: 100MB, hourly, daily, weekly, monthly, or both: 100MB,daily.",
    ),
    Setting(
        key="log_keep",
        flags=("--log-keep",),
        parse=values.limit,
        default=7,
        precedent="a week of daily files, as Debian's logrotate rules have; 0 keeps all",
        metavar="N",
        doc="Rotated files that are kept: PATH.1 is the youngest.",
    ),
    Setting(
        key="log_compress",
        flags=("--log-compress/--no-log-compress",),
        parse=values.switch,
        default=False,
        precedent="logrotate: off",
        metavar="",
        doc="Compress rotated files (gzip).",
    ),
    Setting(
        key="log_facility",
        flags=("--log-facility",),
        parse=values.facility,
        default="daemon",
        precedent="RFC 5424: system daemons; gunicorn says user, nginx local7",
        metavar="NAME",
        doc="What syslog and the journal file its lines under: user, daemon, local0 to local7.",
    ),
    Setting(
        key="capture_output",
        flags=("--capture-output",),
        parse=values.one_of("auto", "on", "off"),
        default="auto",
        precedent="gunicorn: off; on a terminal foreman and docker compose tag lines too",
        metavar="auto|on|off",
        doc="Tag what workers print, on a terminal (auto); on: capture it everywhere.",
    ),
    Setting(
        key="access_log",
        flags=("--access-log/--no-access-log",),
        parse=values.switch,
        default=True,
        precedent="uvicorn, and Tornado itself",
        metavar="",
        doc="A line for each request, unless the application logs them in its own way.",
    ),
    Setting(
        key="access_log_format",
        flags=("--access-log-format",),
        parse=values.one_of("auto", "pretty", "combined", "json"),
        default="auto",
        precedent="as --log-format; combined is Apache's and nginx's name for theirs",
        metavar="auto|pretty|combined|json",
        doc="How these lines look; combined is what log analysers read.",
    ),
    Setting(
        key="log_files",
        flags=("--log-files",),
        parse=values.one_of("shared", "per-worker", "as-is"),
        default="shared",
        precedent="none: elsewhere each process rotates the file of all",
        metavar="shared|per-worker|as-is",
        doc="Log files that rotate or are emptied: one for all workers, app.w2.log, or untouched.",
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
