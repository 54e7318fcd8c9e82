"""Mistakes that the comparison with Tornado must notice: a kept list, and how to make one live.

Each `Mutant` is a substitution in the text of one module of the parser.  The
mutated text is executed as a fresh module, and so are those that build on it; the
real ones stay untouched.  When the code moves on and a text is no longer there,
`build` says so: adapt the line, do not drop the mistake.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from engine.explain import Unexplained, explain
from engine.grammar import Input
from engine.sides import Ours, Simulated

import leeward.engine

#: In the order in which they build on each other.
MODULES = ("fields", "body", "head")
_PLACE = Path(leeward.engine.__file__).parent


class Mutant(NamedTuple):
    name: str
    module: str
    old: str
    new: str


def build(mutant: Mutant) -> tuple[ModuleType, ModuleType]:
    """The modules head and body, with this one mistake in what they are made of."""
    fresh = rebuild(mutant, MODULES)
    return fresh["head"], fresh["body"]


def rebuild(mutant: Mutant, modules: tuple[str, ...]) -> dict[str, ModuleType]:
    """`modules` anew, each built on the ones before it, with this one mistake."""
    fresh: dict[str, ModuleType] = {}
    for name in modules:
        text = (_PLACE / f"{name}.py").read_text(encoding="utf-8")
        if name == mutant.module:
            if text.count(mutant.old) != 1 or mutant.old == mutant.new:
                raise LookupError(f"{mutant.name}: {text.count(mutant.old)} times in {name}.py")
            text = text.replace(mutant.old, mutant.new)
        full = f"leeward.engine.{name}"
        fresh[full] = ModuleType(full)
        code = compile(text, f"<{name}, {mutant.name}>", "exec", dont_inherit=True)
        real = {it: sys.modules[it] for it in fresh}
        # `from leeward.engine import fields` asks the package, not sys.modules.
        kept = {it.rpartition(".")[2]: sys.modules[it] for it in fresh}
        sys.modules.update(fresh)
        vars(leeward.engine).update({it.rpartition(".")[2]: made for it, made in fresh.items()})
        try:
            exec(code, fresh[full].__dict__)
        finally:
            sys.modules.update(real)
            vars(leeward.engine).update(kept)
    return {name: fresh[f"leeward.engine.{name}"] for name in modules}


def noticed(mutant: Mutant, inputs: Iterable[Input], tornado_side: Simulated) -> int | None:
    """How many inputs it takes until one shows the mistake, or None."""
    head, body = build(mutant)
    sides = [Ours(head, body), Ours(head, body, cached=False)]
    for count, case in enumerate(inputs, 1):
        try:
            explain(case.wire, sides[count % 2](case.pieces), tornado_side)
        except Unexplained:
            return count
        except Exception:
            # The mistake raises what is no refusal: noticed as well.
            return count
    return None


MUTANTS = (
    # --- the head's end -----------------------------------------------------------------------
    Mutant(
        "two LF do not end a head",
        "head",
        'buffer.find(b"\\n\\n", start',
        'buffer.find(b"\\n\\r\\r", start',
    ),
    Mutant("the end is off by one", "head", "after = at + 3", "after = at + 2"),
    # --- the head ---------------------------------------------------------------------------
    Mutant(
        "control characters are plain",
        "head",
        "range(0x20, 0x7F)",
        "range(0x01, 0x0A), 0x0B, 0x0C, *range(0x0E, 0x80)",
    ),
    Mutant("values keep their white space", "head", 'value.strip(" \\t")', "value"),
    Mutant("the last of several headers wins", "head", "len(found) != len(lines) or ", ""),
    Mutant("names may hold spaces", "head", "map(fields.TOKEN.fullmatch, names)", "names"),
    Mutant("a line needs no colon", "head", "if not colon:", "if False:"),
    Mutant("targets may hold tabs", "head", '"\\t" in target', "False"),
    Mutant("every version is 1.1", "head", 'elif version != "HTTP/1.1":', "elif False:"),
    Mutant(
        "1.0 is kept as 1.1",
        "head",
        'if version != "HTTP/1.1":\n            return',
        "if 0: return",
    ),
    Mutant("close is not asked for", "fields", '"Connection", "Content', '"Content'),
    Mutant(
        "a host that was refused is good",
        "head",
        "        fields.check_host(host, version)\n        if host",
        "        if host",
    ),
    Mutant("CR are dropped", "fields", "_BARE_CR.search(text)", "False"),
    # --- framing --------------------------------------------------------------------------
    Mutant(
        "a length beside a coding",
        "fields",
        "if coding is not None:\n            raise",
        "if False:\n            raise",
    ),
    Mutant("any coding is chunked", "fields", 'if coding.lower() != "chunked":', "if False:"),
    Mutant("codings are compared with their case", "fields", "coding.lower() !=", "coding !="),
    Mutant("unequal lengths", "fields", "if any(it != first for it in others):", "if False:"),
    Mutant("lengths in other digits", "fields", 'r"[0-9]+"', 'r"[+-]?[0-9_]+"'),
    Mutant("lengths without a bound", "fields", "length > most", "False"),
    Mutant("close is not heard", "fields", 'option is None or "close" not in option', "True"),
    Mutant("HTTP/1.0 is kept", "fields", 'option == "keep-alive" and', "True and"),
    Mutant("100 for everybody", "fields", 'expect.lower() == "100-continue"', "True"),
    Mutant("a star is for all", "fields", ' and method == "OPTIONS"', ""),
    Mutant(
        "hosts with commas",
        "fields",
        "A-Za-z0-9\\-._~!$&'()*+;=]|%",
        "A-Za-z0-9\\-._~!$&'()*+,;=/@]|%",
    ),
    # --- chunked bodies --------------------------------------------------------------------
    Mutant("chunks end anyhow", "body", "if end != 0:", "if False:"),
    Mutant("sizes are decimal", "body", "int(digits, 16)", "int(digits)"),
    Mutant(
        "sizes of any length", "body", "match is None or len(match[1]) > _DIGITS", "match is None"
    ),
    Mutant(
        "chunks without a bound",
        "body",
        "        if self._total > self.limit:\n            raise",
        "        if False:\n            raise",
    ),
    Mutant("white space behind a size", "body", 'rb"([0-9a-fA-F]+)"', 'rb"([0-9a-fA-F]+)[ \\t]*"'),
    Mutant(
        "trailers are not looked at",
        "body",
        "if match is None or match[1].lower() in _FORBIDDEN:",
        "if False:",
    ),
    Mutant(
        "a trailer ends the body",
        "body",
        "        if not line:\n            self.done",
        "        if True:\n            self.done",
    ),
)
