"""Mistakes in small modules of decisions, and the few truths that each of them breaks.

A `Mistake` is a substitution in the text of one `_core` module; the mutated text is
executed as a module of its own.  `CHECKS` says of a module, real or mutated, what holds for
it, in microseconds: whoever changes a rule changes its line here, or drops no rule silently.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple


class Mistake(NamedTuple):
    module: str
    name: str
    old: str
    new: str


@cache
def _source(module: str) -> str:
    path = import_module(f"leeward._core.{module}").__file__
    assert path is not None
    return Path(path).read_text(encoding="utf-8")


def build(mistake: Mistake) -> ModuleType:
    source = _source(mistake.module)
    if source.count(mistake.old) != 1 or mistake.old == mistake.new:
        raise LookupError(f"{mistake.name}: {source.count(mistake.old)} times")
    text = source.replace(mistake.old, mistake.new)
    name = f"leeward._core.{mistake.module}"
    made, real = ModuleType(name), sys.modules[name]
    sys.modules[name] = made  # dataclasses look their own module up
    try:
        exec(compile(text, f"<{mistake.module}, {mistake.name}>", "exec"), made.__dict__)
    finally:
        sys.modules[name] = real
    return made


def _hazards(it: Any) -> None:
    def hazard(code: str = "LW101", what: str = "w", where: str = "", who: str = "") -> Any:
        return it.Hazard(code, what, where, who=who)

    assert it.policy(()) == ("spawn",)
    assert it.policy(("warn", "ignore:lw101", "ignore:LW101")) == ("warn", "ignore:LW101")
    for words in (("warn", "refuse"), ("ignore:LW9",), ("lw101",)):
        with _raises(ValueError):
            it.policy(words)
    for words, start, found in (
        (("spawn",), "auto", "isolated"),
        (("warn",), "auto", "forked all the same"),
        (("spawn",), "zygote", "forked all the same"),
        (("refuse",), "zygote", "refused"),
        (("refuse", "ignore:LW101"), "auto", "ignored"),
        (("refuse", "ignore:LW102"), "auto", "refused"),
    ):
        assert it.verdict(hazard(), words, start) == found, (words, start)
    assert it.verdict(hazard("LW170"), ("refuse",), "auto") == "repaired"
    assert it.verdict(hazard("LW150"), ("refuse",), "zygote") == "told"
    levels = [it.level(word) for word in ("repaired", "ignored", "isolated", "told")]
    assert levels == ["info", "debug", "warning", "warning"]
    client = hazard("LW112", where="a:1", who="C")
    assert it.merged([hazard("LW104", where="a:1"), client]) == [client]
    assert len(it.merged([hazard("LW104", where="a:2"), client])) == 2
    assert len(it.merged([hazard("LW110", where="a:1"), client])) == 2
    assert len(it.merged([hazard("LW121"), hazard("LW112")])) == 2
    assert len(it.merged([hazard("LW130", who="C"), client])) == 1
    assert len(it.merged([hazard("LW130", who="L"), client])) == 2
    assert len(it.merged([hazard("LW130"), hazard("LW101")])) == 2
    alike = it.merged(hazard("LW104", f"t{n}", "a:1") for n in range(3))
    assert [one.what for one in alike] == ["t0, and 2 more"]
    sockets = [
        hazard("LW110", f"to {p}, descriptor {n}", "a:1", f"W{n}") for n, p in enumerate("aba")
    ]
    assert [one.what for one in it.merged(sockets)] == [
        "to a, descriptor 0, and 1 more",
        "to b, descriptor 1",
    ]
    assert len(it.merged([hazard("LW121"), hazard("LW121")])) == 2
    assert it.refusal([hazard()] * 5).count("\n") == 5 and "1 more" in it.refusal([hazard()] * 5)
    assert it.Hazard.from_json(hazard().to_json()) == hazard()


def _resources(it: Any) -> None:
    def before(key: str, needs: dict[str, str], mentions: dict[str, str]) -> list[str]:
        found: list[str] = it.before(
            key, lambda name: [*needs.get(name, "")], lambda name: [*mentions.get(name, "")]
        )
        return found

    assert before("c", {"c": "bb"}, {"c": "ab"}) == ["b", "a"]
    assert before("a", {}, {"a": "ab", "b": "a"}) == []
    assert before("a", {"a": "b"}, {"b": "a"}) == ["b"]
    assert before("b", {"a": "b"}, {"b": "a"}) == []
    graph = {"a": "bc", "b": "d", "c": "e", "d": "f", "e": "d"}
    assert it.way("a", "f", lambda name: graph.get(name, "")) == ["a", "b", "d", "f"]
    assert it.way("f", "a", lambda name: graph.get(name, "")) == []
    waits = it.Waits()
    waits.begin("a", "b")
    waits.begin("b", "c")
    with _raises(it.Cycle) as raised:
        waits.begin("c", "a")
    assert raised[0].path == ["c", "a", "b", "c"]
    waits.end("b", "c")
    waits.begin("c", "a")
    assert waits.path("c", "b") == ["c", "a", "b"] and waits.path("b", "c") == []
    left = [it.allowance(8.0, count) for count in (1, 2, 3)]
    assert left == [8.0, 4.0, 4.0] and it.allowance(-1.0, 1) == it.allowance(-1.0, 2) == 0.0


def _jobs(it: Any) -> None:
    def rank(own: tuple[int, int, int], *others: tuple[int, int, int, float]) -> int:
        crew = [it.Candidate(*other) for other in others]
        found: int = it.rank(it.Candidate(*own, 0.0), crew, 100.0)
        return found

    assert rank((1, 1, 1), (0, 1, 0, 0.0), (2, 1, 2, 0.0)) == 1
    assert rank((0, 5, 1), (0, 4, 0, 0.0)) == 0 and rank((0, 4, 0), (0, 5, 1, 0.0)) == 1
    assert rank((0, 5, 2), (0, 5, 1, 0.0)) == 1 and rank((0, 5, 1), (0, 5, 2, 0.0)) == 0
    assert rank((1, 1, 1), (0, 1, 0, 98.0)) == 0 and rank((1, 1, 1), (0, 1, 0, 99.5)) == 1
    assert rank((1, 1, 1), (0, 1, 0, 99.0)) == 1
    assert it.due(0.0, 60.0, 1000.0) == 1060.0 and it.due(900.0, 60.0, 1000.0) == 960.0
    answers = [it.caught_up(60.0, 60.0, now) for now in (59.0, 60.0, 119.9, 120.0, 700.0)]
    assert answers == [60.0, 60.0, 60.0, 120.0, 660.0]


@contextmanager
def _raises(kind: type[Exception]) -> Iterator[list[Any]]:
    caught: list[Any] = []
    try:
        yield caught
    except kind as error:
        caught.append(error)
        return
    raise AssertionError(f"no {kind.__name__}")


CHECKS: dict[str, Callable[[Any], None]] = {
    "hazards": _hazards,
    "resources": _resources,
    "jobs": _jobs,
}

MISTAKES = [
    Mistake("hazards", "what is ignored is isolated", "        return IGNORED\n", "        pass\n"),
    Mistake("hazards", "all is isolated", "if by_itself != ISOLATED:", "if False:"),
    Mistake("hazards", "nothing is refused", 'if "refuse" in hazards:', "if False:"),
    Mistake("hazards", "--start zygote is not heard", ' or start == "zygote" else', " else"),
    Mistake("hazards", "warn is not heard", '"warn" in hazards or start', "start"),
    Mistake("hazards", "two words are one", "if len(set(chosen)) > 1:", "if False:"),
    Mistake("hazards", "what is ignored twice is twice", "*sorted(set(ignored))", "*ignored"),
    Mistake(
        "hazards",
        "codes are not known",
        "startswith(IGNORE) and code in CODES",
        "startswith(IGNORE)",
    ),
    Mistake("hazards", "codes are capitals", "word.upper().removeprefix", "word.removeprefix"),
    Mistake(
        "hazards", "nothing said is nothing", 'if chosen else "spawn"', 'if chosen else "warn"'
    ),
    Mistake("hazards", "repairs are loud", 'REPAIRED: "info", ', ""),
    Mistake("hazards", "what is ignored is loud", ', IGNORED: "debug"', ""),
    Mistake("hazards", "a client's parts are told", "if it.code in _PARTS and", "if False and"),
    Mistake(
        "hazards",
        "all of a line is the client's",
        "if it.code in _PARTS and it.where",
        "if it is not hazards[-1] and it.where",
    ),
    Mistake(
        "hazards",
        "clients of no line have all parts",
        'it.code == "LW112" and it.where}',
        'it.code == "LW112"}',
    ),
    Mistake(
        "hazards", "inner locks are told", 'if it.code == "LW130" and it.who in held:', "if False:"
    ),
    Mistake("hazards", "a lock hides itself", 'if it.code != "LW130" and it.who}', "if it.who}"),
    Mistake(
        "hazards",
        "nobody's locks are hidden",
        'if it.code != "LW130" and it.who}',
        'if it.code != "LW130"}',
    ),
    Mistake(
        "hazards",
        "each thread is told",
        'what = "" if it.code in _ALIKE else',
        'what = "" if False else',
    ),
    Mistake("hazards", "two peers are one", 'it.what.partition(", descriptor")[0]', '""'),
    Mistake("hazards", "each descriptor is another", '.partition(", descriptor")[0]', ""),
    Mistake(
        "hazards",
        "holders part what is one",
        "else (it.where or it.who,)",
        "else (it.where, it.who)",
    ),
    Mistake(
        "hazards",
        "unknown ones are one",
        'nobody = "" if any(place) else str(number)',
        'nobody = ""',
    ),
    Mistake("hazards", "the first is counted too", "len(group) - 1)", "len(group))"),
    Mistake("hazards", "a refusal has no end", "for line in lines[:4]]", "for line in lines]"),
    Mistake("resources", "mentions lead back", "and not way(other, key, leads)", ""),
    Mistake(
        "resources", "needs count twice", "list(dict.fromkeys(needs(key)))", "list(needs(key))"
    ),
    Mistake(
        "resources",
        "mentions are not heard",
        "    for other in mentions(key):",
        "    for other in ():",
    ),
    Mistake(
        "resources",
        "mentions lead nowhere",
        "return (*needs(to), *mentions(to))",
        "return needs(to)",
    ),
    Mistake(
        "resources",
        "needs lead nowhere",
        "return (*needs(to), *mentions(to))",
        "return mentions(to)",
    ),
    Mistake(
        "resources",
        "the last way is taken",
        "            if there not in came:\n",
        "            if there != start:\n",
    ),
    Mistake("resources", "circles are let be", "        if back:\n", "        if False:\n"),
    Mistake("resources", "a circle has no beginning", "Cycle([asker, *back])", "Cycle(back)"),
    Mistake("resources", "a wait has no end", "self._for[asker].remove(wanted)", "pass"),
    Mistake("resources", "the last one shares too", "left if count <= 1 else", ""),
    Mistake("resources", "the first one takes all", "left * SHARE", "left"),
    Mistake("resources", "there is less than no time", "max(0.0, left if", "(left if"),
    Mistake(
        "jobs",
        "the old come first",
        "(own.slot, -own.generation, own.row)",
        "(own.slot, own.generation, own.row)",
    ),
    Mistake(
        "jobs",
        "twins are both first",
        "(it.slot, -it.generation, it.row) < mine",
        "(it.slot, -it.generation) < mine[:2]",
    ),
    Mistake(
        "jobs",
        "the stuck are waited for",
        "and not (it.busy_since and now - it.busy_since > STUCK)",
        "",
    ),
    Mistake("jobs", "the busy are stuck", "now - it.busy_since > STUCK", "now > it.busy_since"),
    Mistake("jobs", "sleepers are stuck", "it.busy_since and now", "now"),
    Mistake("jobs", "stuck at once on the bound", "> STUCK)", ">= STUCK)"),
    Mistake(
        "jobs",
        "the first run is at once",
        "(last or first) + every",
        "last + every if last else first",
    ),
    Mistake("jobs", "what was before is forgotten", "(last or first) + every", "first + every"),
    Mistake(
        "jobs",
        "each missed run is made up",
        "every * max(0, math.floor((now - was_due) / every))",
        "0.0",
    ),
    Mistake(
        "jobs",
        "runs go back",
        "max(0, math.floor((now - was_due) / every))",
        "math.floor((now - was_due) / every)",
    ),
    Mistake("jobs", "runs are rounded up", "math.floor", "math.ceil"),
]
