"""leeward.cli.ps and its like: what a supervisor says that is another user's, or none at all."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.test_client import supervisor

from leeward._core.messages import Answer, Progress
from leeward._sys.channel import Channel
from leeward.cli import instances, ps
from leeward.cli.instances import Instance
from leeward.cli.main import main
from leeward.errors import ChannelClosed

#: As an early supervisor has it.
GOOD: dict[str, Any] = {"name": "chat", "pid": 1, "state": "serving", "workers": []}


def answers(data: str) -> Callable[[Channel], None]:
    def behave(channel: Channel) -> None:
        assert channel.wait(10) is not None
        channel.send(Answer(0, "", data))

    return behave


@pytest.fixture
def among(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """These supervisors, by name, are all that there are."""
    with contextlib.ExitStack() as stack:

        def make(**behaviours: Callable[[Channel], None]) -> None:
            found: list[Instance] = []
            for name, behave in behaviours.items():
                it = stack.enter_context(supervisor(tmp_path / f"{name}.sock", behave))
                found.append(Instance(name, it.path))
            monkeypatch.setattr(instances, "every", lambda environ: found)

        yield make


def worker(**fields: Any) -> dict[str, Any]:
    return {**GOOD, "name": "evil", "workers": [{"slot": 0, "pid": 1, **fields}]}


RUBBISH = [
    [],
    {},
    None,
    7,
    {**GOOD, "name": 7},
    GOOD,  # the name of another one
    {**GOOD, "name": "evil", "pid": "../tmp/x"},
    {**GOOD, "name": "evil", "pid": True},
    {**GOOD, "name": "evil", "pid": 1 << 40},
    {**GOOD, "name": "evil", "pid": -1},
    {**GOOD, "name": "evil", "workers": 7},
    {**GOOD, "name": "evil", "workers": [7]},
    {**GOOD, "name": "evil", "workers": [{"slot": 0, "pid": 1}] * 2},
    {**GOOD, "name": "evil", "zygotes": {"a": 1}},
    {**GOOD, "name": "evil", "uptime": float("nan")},
    {**GOOD, "name": "evil", "uptime": float("inf")},
    {**GOOD, "name": "evil", "listeners": [None]},
    {**GOOD, "name": "evil", "backoff": {"until": "soon", "why": ""}},
    {**GOOD, "name": "evil", "ends": [{}]},
    worker(pid="../tmp/x"),
    worker(pid=1.0),
    worker(slot=[]),
    worker(requests="many"),
    worker(requests=10**400),
    worker(ailing={"db": 7}),
    worker(ailing=["db"]),
]


@pytest.mark.parametrize("data", ["", "{", "[" * 60_000, "NaN", *map(json.dumps, RUBBISH)])
@pytest.mark.parametrize("as_json", [False, True])
def test_an_answer_that_is_none_is_one_line(
    among: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    data: str,
    as_json: bool,
) -> None:
    """And the others are shown; no file is opened but those of processes."""
    opened: list[object] = []
    for name in ("pss_bytes", "cpu_seconds", "fd_count", "fd_limit"):
        monkeypatch.setattr(ps.procfs, name, opened.append)
    among(chat=answers(json.dumps(GOOD)), evil=answers(data))
    assert main(["ps", *(["--json"] if as_json else [])]) == 1
    said = capsys.readouterr()
    assert "chat" in said.out and "evil" not in said.out
    first, *others = said.err.splitlines()
    assert first.startswith("leeward: evil speaks another language: ")
    assert len(others) == 1 and len(first) < 200
    assert set(opened) == {1}


@pytest.mark.parametrize("zygote", [{"state": "starting"}, {"pid": None}, {"pid": 0}])
def test_a_zygote_that_is_not_there_yet_is_shown(
    among: Callable[..., None], capsys: pytest.CaptureFixture[str], zygote: dict[str, Any]
) -> None:
    """It has no pid, and nobody's child is its spare; a stranger's answer may say so too."""
    found = {**GOOD, "pid": os.getppid(), "zygotes": [zygote]}
    among(chat=answers(json.dumps(found)))
    assert main(["ps"]) == 0
    assert "chat" in capsys.readouterr().out


def test_what_it_says_cannot_steer_a_terminal(
    among: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    steer = "\x1b]0;title\x07\x9b31m"
    evil = {**GOOD, "state": steer, "target": steer, "listeners": [steer], "mode": steer}
    evil["workers"] = [{"slot": 0, "state": steer, "ailing": {steer: steer}}]
    among(chat=answers(json.dumps(evil)))
    assert main(["ps"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\x9b" not in out and "\x07" not in out


def test_root_is_told_whose_it_is(
    among: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    among(chat=answers(json.dumps(GOOD)))
    monkeypatch.setattr(Channel, "peer", lambda self: (0, 4711, 4711))
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert main(["ps"]) == 0
    assert "  user       4711, whose" in capsys.readouterr().out


@pytest.mark.parametrize("telling", [False, True])
def test_those_of_others_do_not_hold_up_ones_own(
    among: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    telling: bool,
) -> None:
    """Who accepts and keeps silent, or tells of its progress for ever, has a second for all."""

    def evil(channel: Channel) -> None:
        with contextlib.suppress(ChannelClosed):
            while True:
                channel.wait(0.001 if telling else 10)
                if telling:
                    channel.send(Progress("soon"))

    among(a=evil, b=evil, c=evil, chat=answers(json.dumps(GOOD)))
    monkeypatch.setattr(ps, "_OTHERS", 0.2)
    monkeypatch.setattr(
        instances, "owner", lambda path: os.getuid() if path.endswith("chat.sock") else 4711
    )
    began = time.monotonic()
    assert main(["ps"]) == 1
    assert time.monotonic() - began < 3.0
    said = capsys.readouterr()
    assert "chat" in said.out
    assert "leeward: a (pid" in said.err and "did not answer within 0.2 s" in said.err
    assert "b of user 4711 is not asked" in said.err and "c of user" in said.err
    for name in ("b", "c"):  # their threads wait for a client
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(str(tmp_path / f"{name}.sock"))


@pytest.mark.parametrize(
    "data", ["", "[]", "{}", '{"workers": 7}', '{"workers": [{"slot": 0, "pid": "../x"}]}']
)
@pytest.mark.parametrize("flags", [[], ["--out"]])
def test_the_like_for_connections(
    among: Callable[..., None], capsys: pytest.CaptureFixture[str], data: str, flags: list[str]
) -> None:
    among(chat=answers(data))
    assert main(["conns", "chat", *flags]) == 1
    assert "chat speaks another language: " in capsys.readouterr().err


@pytest.mark.parametrize("data", ["", "[]", "7", '{"'])
def test_the_like_for_what_was_set(
    among: Callable[..., None], capsys: pytest.CaptureFixture[str], data: str
) -> None:
    among(chat=answers(data))
    assert main(["set", "--name", "chat"]) == 1
    assert "chat speaks another language: " in capsys.readouterr().err


@pytest.mark.parametrize("data", ["", "[]", '{"no": 1}', '{"max_requests": "many"}'])
def test_settings_of_one_that_answers_rubbish_are_as_they_were_resolved(
    among: Callable[..., None], capsys: pytest.CaptureFixture[str], data: str
) -> None:
    among(chat=answers(data))
    assert main(["config", "chat:make_app", "--name", "chat"]) == 0
    said = capsys.readouterr()
    assert "what was set while running is not known" in said.err
    assert "max-requests" in said.out
