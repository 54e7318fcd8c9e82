"""Differential fuzzing: the engine against Tornado's own connection.

    python tests/engine/fuzz.py --inputs 100000 --seed 1 --side server

side:  `parser` alone, or the whole engine with its connections (`server`, `pieces` with
       bodies in small pieces, `application` behind a `tornado.web.Application`).

Each input of the grammar is given to both; where the verdicts differ, each
difference must be explained by one rule of STRICTER or LEGAL (`explain`).  Prints
how often each production and each rule was met; exits with 1 at the first
difference that is not explained, with the input that shows it, or when a production
was met too seldom.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tornado
from engine.explain import Unexplained, explain
from engine.grammar import PRODUCTIONS, Grammar, Input
from engine.server_side import Served, Wrong
from engine.sides import Ours, Side, Simulated, quiet

SIDES: dict[str, Callable[[], Side]] = {
    "parser": Ours,
    "server": Served,
    "pieces": lambda: Served(piece=7),
    "application": lambda: Served(application=True),
}

#: How often each production must be met in a long run.
OFTEN = 1000


class Difference(AssertionError):
    """An input on which the two differ, and no rule says why."""


def check(case: Input, side: Side, tornado_side: Simulated) -> list[str]:
    """The rules by which the side differs from Tornado on this input."""
    verdict = None
    try:
        verdict = side(case.pieces)
        return explain(case.wire, verdict, tornado_side)
    except (Unexplained, Wrong) as error:
        theirs = tornado_side([case.wire])
        text = f"{error}\n  pieces: {case.pieces}\n  ours: {verdict}\n  tornado: {theirs}"
        raise Difference(text) from None


def run(grammar: Grammar, inputs: int, side: Side, tornado_side: Simulated) -> Iterator[list[str]]:
    """Check so many inputs, one at each turn; raises Difference."""
    for _ in range(inputs):
        yield check(grammar.input(), side, tornado_side)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side", choices=SIDES, default="parser")
    args = parser.parse_args()
    quiet()
    grammar, side, theirs = Grammar(args.seed), SIDES[args.side](), Simulated()
    rules: Counter[str] = Counter()
    requests = 0
    start = time.monotonic()
    try:
        for names in run(grammar, args.inputs, side, theirs):
            rules.update(names)
            requests += len(theirs.heads)
    except Difference as error:
        print(f"tornado {tornado.version}, {args.side}, seed {args.seed}: {error}")
        return 1
    seldom = {it: grammar.count[it] for it in PRODUCTIONS if grammar.count[it] < OFTEN}
    seconds = time.monotonic() - start
    print(
        f"tornado {tornado.version}, {args.side}, seed {args.seed}: "
        f"{args.inputs} inputs in {seconds:.0f} s, "
        f"{requests} heads read by Tornado, no difference but these:"
    )
    for name, count in rules.most_common():
        print(f"  {name:24} {count}")
    print(f"{len(PRODUCTIONS)} productions, the least met {min(grammar.count.values())} times")
    theirs.close()
    if seldom and args.inputs >= 100_000:
        print(f"met less than {OFTEN} times: {seldom}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
