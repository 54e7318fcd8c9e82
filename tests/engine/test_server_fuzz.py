"""The whole engine against Tornado's server, for some seconds; `make fuzz` does it for longer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engine.corpus import HOSTILE, LEGAL, TAIL, Case
from engine.fuzz import SIDES, check
from engine.grammar import PRODUCTIONS, Grammar
from engine.mutants import Mutant
from engine.server_mutants import MUTANTS, kind, noticed
from engine.server_side import Served
from engine.sides import Ours, Simulated, quiet, same

from leeward.engine import rules

SEED = 30
INPUTS = 2000
#: Each mistake must be noticed within so many.
BOUND = 3000

SERVERS = [name for name in SIDES if name != "parser"]


@pytest.fixture
def tornado_side() -> Iterator[Simulated]:
    quiet()
    side = Simulated()
    yield side
    side.close()


@pytest.mark.parametrize("name", SERVERS)
def test_it_serves_what_tornado_serves(name: str, tornado_side: Simulated) -> None:
    """Every difference has its rule: requests, bodies, answers, their order and the end."""
    grammar, server = Grammar(SEED + SERVERS.index(name)), SIDES[name]()
    met = {it for _ in range(INPUTS) for it in check(grammar.input(), server, tornado_side)}
    assert met <= {rule.name for rule in (*rules.STRICTER, *rules.LEGAL)}
    assert met >= {"target-form", "bare-cr", "chunk-extension", "trailer", "connection-close"}
    assert set(grammar.count) == PRODUCTIONS
    server.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", SERVERS)
def test_the_corpus(name: str) -> None:
    """The named inputs come to the same, octet by octet too, with the tail behind each."""
    quiet()
    parser, server = Ours(), SIDES[name]()
    for case in (*HOSTILE, *LEGAL):
        wire = case.wire + TAIL
        for pieces in ([wire], _octets(case)):
            ours, served = parser(pieces), server(pieces)
            assert same(ours, served), (case.name, ours, served)
    server.close()  # type: ignore[attr-defined]


def _octets(case: Case) -> list[bytes]:
    wire = case.wire + TAIL
    step = 1 + len(wire) // 2000
    return [wire[at : at + step] for at in range(0, len(wire), step)]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda it: it.name.replace(" ", "-"))
def test_a_mistake_is_noticed(mutant: Mutant, tornado_side: Simulated) -> None:
    """A planted bug leads to a difference that no rule explains."""
    grammar = Grammar(SEED)
    inputs = (grammar.input() for _ in range(BOUND))
    assert noticed(mutant, inputs, tornado_side) is not None, f"nobody notices: {mutant.name}"


def test_a_faithful_copy_survives(tornado_side: Simulated) -> None:
    """What is noticed is the mistake, not the way it is made."""
    same_line = "from __future__ import annotations\n"
    copy = kind(Mutant("faithful", "connection", same_line, same_line + "\n"))
    grammar, server = Grammar(SEED), Served(copy)
    for _ in range(500):
        check(grammar.input(), server, tornado_side)
    server.close()


def test_the_list_of_mistakes_is_long_and_its_names_are_distinct() -> None:
    assert len({it.name for it in MUTANTS}) == len(MUTANTS) >= 25
