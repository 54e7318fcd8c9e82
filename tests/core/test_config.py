"""The resolved settings and how they travel."""

from __future__ import annotations

import pytest

from leeward._core.config import NEEDS_RESTART, Config, Handover, Listener, changed_keys
from leeward._core.record import replace

FULL = Config(
    kind="tornado",
    target="chat:make_app",
    args=("--room", "söndag"),
    bind=("127.0.0.1:0", "unix:/run/chat.sock"),
    workers=4,
    start="spawn",
    graceful_timeout=2.5,
    chdir="/srv/current",
    ssl_certfile="/etc/tls/chat.pem",
    forwarded_allow_ips=("10.0.0.0/8", "unix:"),
    max_body=1024,
    env=(("A", "1"), ("EMPTY", "")),
    interpreter=("/venv/bin/python", "-X", "dev"),
    argv=("serve", "chat:make_app"),
    notes=("3 cores are idle",),
)


@pytest.mark.parametrize("config", [Config("a:b"), FULL], ids=["default", "full"])
def test_a_config_survives_the_journey(config: Config) -> None:
    """As JSON and back it is equal, tuples and all, and still a key of a dict."""
    back = Config.from_json(config.to_json())
    assert back == config
    assert hash(back) == hash(config)


def test_a_config_of_another_version_is_refused() -> None:
    """An unknown key is not dropped in silence, a missing one gets its default."""
    with pytest.raises(TypeError, match="no_such_key"):
        Config.from_json('{"target": "a:b", "no_such_key": 1}')
    assert Config.from_json('{"target": "a:b"}') == Config("a:b")


def test_a_handover_survives_the_journey() -> None:
    """Settings, listeners and descriptors reach the supervisor as they were."""
    listeners = (
        Listener(5, "127.0.0.1:8000", "http://127.0.0.1:8000"),
        Listener(6, "unix:/run/chat.sock", "http+unix:/run/chat.sock", "/run/chat.sock"),
    )
    handover = Handover(FULL, listeners, 7, "/run/leeward/chat", 8, True, (9, 10))
    assert Handover.from_json(handover.to_json()) == handover


@pytest.mark.parametrize("key", list(Config.FIELDS))
def test_what_needs_a_restart_is_named(key: str) -> None:
    """Exactly the keys that a running instance cannot change, and only if they differ."""
    new = replace(FULL, **{key: "something else"})
    assert changed_keys(FULL, new) == ((key,) if key in NEEDS_RESTART else ())


def test_what_is_no_python_wants_no_restart() -> None:
    """Whether it was an application or a program cannot be told: loading it says what is wrong."""
    broken = replace(FULL, kind="auto", bind=())
    assert changed_keys(FULL, broken) == ()


def test_tls_neither_comes_nor_goes() -> None:
    """Another certificate is another certificate; none is another protocol."""
    plain = replace(FULL, ssl_certfile="")
    assert changed_keys(FULL, plain) == changed_keys(plain, FULL) == ("ssl_certfile",)
    assert changed_keys(plain, plain) == ()


def test_changed_keys_come_in_the_order_of_the_table() -> None:
    """And nothing changed is nothing to say."""
    assert changed_keys(FULL, FULL) == ()
    new = replace(
        FULL,
        name="other",
        kind="script",
        bind=("127.0.0.1:1",),
        backlog=1,
        uds_mode=1,
        proxy_protocol="v1",
        user="a",
        group="b",
        log_format="json",
        log_file="/a.log",
        log_rotate="daily",
        log_keep=1,
        log_compress=not FULL.log_compress,
        log_facility="local1",
        capture_output="on",
    )
    assert changed_keys(FULL, new) == NEEDS_RESTART
