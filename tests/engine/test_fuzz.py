"""The parser against Tornado's own, for some seconds; `make fuzz` does it for longer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engine.explain import REFUSALS
from engine.fuzz import check
from engine.grammar import PRODUCTIONS, Grammar
from engine.mutants import MUTANTS, Mutant, build, noticed
from engine.sides import Connected, Ours, Simulated, quiet, same, tornado_serve

from leeward.engine.rules import LEGAL, STRICTER

SEED = 20
INPUTS = 10_000
#: Each mistake must be noticed within so many.
BOUND = 6_000


@pytest.fixture
def tornado_side() -> Iterator[Simulated]:
    quiet()
    side = Simulated()
    yield side
    side.close()


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "uncached"])
def test_it_reads_what_tornado_reads(cached: bool, tornado_side: Simulated) -> None:
    """Every difference has its rule."""
    grammar, ours = Grammar(SEED + cached), Ours(cached=cached)
    met = {name for _ in range(INPUTS) for name in check(grammar.input(), ours, tornado_side)}
    assert met <= {rule.name for rule in (*STRICTER, *LEGAL)}
    assert met >= {"target-form", "host-invalid", "bare-cr", "chunk-extension", "trailer"}
    assert set(grammar.count) == PRODUCTIONS


def test_without_a_quick_way_it_is_the_same(
    tornado_side: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Tornado whose headers are made otherwise: all is left to it."""
    grammar, ours = Grammar(SEED), Ours()
    monkeypatch.setattr(ours.parser, "_build", None)
    for _ in range(INPUTS // 5):
        check(grammar.input(), ours, tornado_side)


def test_the_simulated_stream_is_like_a_real_one(tornado_side: Simulated) -> None:
    """Tornado's server over sockets, cut as the input is cut, comes to the same verdicts."""
    grammar, real = Grammar(SEED), Connected(tornado_serve)
    for _ in range(150):
        case = grammar.input()
        simulated = tornado_side(case.pieces)
        served = real(case.pieces)
        assert same(simulated, served), (case.pieces, simulated, served)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda it: it.name.replace(" ", "-"))
def test_a_mistake_is_noticed(mutant: Mutant, tornado_side: Simulated) -> None:
    """A planted bug leads to a difference that no rule explains."""
    grammar = Grammar(SEED)
    inputs = (grammar.input() for _ in range(BOUND))
    assert noticed(mutant, inputs, tornado_side) is not None, f"nobody notices: {mutant.name}"


def test_a_faithful_copy_survives(tornado_side: Simulated) -> None:
    """What is noticed is the mistake, not the way it is made."""
    same_line = "from __future__ import annotations\n"
    head, body = build(Mutant("faithful", "head", same_line, same_line + "\n"))
    assert head.Parser is not Ours().parser.__class__
    grammar, ours = Grammar(SEED), Ours(head, body)
    for _ in range(500):
        check(grammar.input(), ours, tornado_side)


def test_the_list_of_mistakes_is_long_and_its_names_are_distinct() -> None:
    assert len({it.name for it in MUTANTS}) == len(MUTANTS) >= 25


def test_every_refusal_of_stricter_is_judged_apart() -> None:
    """A rule without a predicate of its own could wave anything through."""
    others = {"transfer-encoding-1.0", "connection-close", "after-close", "expect-1.0"}
    assert set(REFUSALS) == {rule.name for rule in STRICTER} - others
