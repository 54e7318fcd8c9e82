"""Mistakes that the weather must notice: a kept list, and how to make one live.

Each `Mutant` is a substitution in the text of one `_core` module.  The mutated
text is executed as a fresh module, and so is every module that builds on it, so
nothing of the real ones is touched.  A mutant that means the same as the
original is not listed.  When the code moves on and a text is no longer there,
`build` says so: adapt the line, do not drop the mistake.
"""

from __future__ import annotations

import ast
import json
import sys
import time
from functools import cache
from pathlib import Path
from textwrap import dedent
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from core import crews, loops
from core.world import REAL, Core, live

#: In the order in which they build on each other.
MODULES = ("worker", "generation", "roster", "supervisor", "vitals", "admission")


#: By mutant, the world that notices it soonest: 200 mutants cost 2 s with it, 8 s
#: with a few sharp worlds for all.  When `World` or the code changes a known world
#: may notice no more and the search goes on behind it: it costs time only.
#: `python tests/core/mutants.py` searches anew.
KNOWN = Path(__file__).with_name("mutants.json")
#: So many more worlds may pass before a mutant counts as survivor.
PATIENCE = 300


class Mutant(NamedTuple):
    name: str
    module: str
    old: str
    new: str


@cache
def _source(module: str) -> str:
    path = getattr(REAL, module).__file__
    return Path(path).read_text(encoding="utf-8")


@cache
def _code(module: str) -> CodeType:
    return compile(_source(module), f"<{module}>", "exec", dont_inherit=True)


@cache
def _functions(module: str) -> list[tuple[int, int, str, str]]:
    """(first line, last line, class or "", name) of the functions and methods of a module."""
    found = []
    for top in ast.parse(_source(module)).body:
        inner = top.body if isinstance(top, ast.ClassDef) else [top]
        for it in inner:
            if isinstance(it, ast.FunctionDef):
                first = min([it.lineno, *(line.lineno for line in it.decorator_list)])
                owner = top.name if isinstance(top, ast.ClassDef) else ""
                found.append((first, it.end_lineno or first, owner, it.name))
    return found


def build(mutant: Mutant) -> Core:
    """The modules with this one mistake in them."""
    source = _source(mutant.module)
    if source.count(mutant.old) != 1 or mutant.old == mutant.new:
        raise LookupError(f"{mutant.name}: {source.count(mutant.old)} times in {mutant.module}.py")
    text = source.replace(mutant.old, mutant.new)
    line = source[: source.index(mutant.old)].count("\n") + 1
    last = line + mutant.old.count("\n")
    place = [it for it in _functions(mutant.module) if it[0] <= line and last <= it[1]]
    fresh: dict[str, ModuleType] = {}
    # Modules that the mutated one builds on stay the real ones.
    for name in MODULES[MODULES.index(mutant.module) :]:
        if name == mutant.module:
            code = _code(name) if place else compile(text, f"<{name}, {mutant.name}>", "exec")
        elif name in ("generation", "vitals", "admission"):
            continue  # build on nothing
        else:
            code = _code(name)
        fresh[name] = _execute(name, code, fresh)
    for first, end, owner, name in place:
        # The one function alone: compiling whole modules took half of the time of all mutants.
        end += text.count("\n") - source.count("\n")
        lines = text.split("\n")[first - 1 : end]
        module = fresh[mutant.module]
        made: dict[str, Any] = {}
        code = compile(dedent("\n".join(lines)), f"<{mutant.name}>", "exec")
        exec(code, module.__dict__, made)
        setattr(getattr(module, owner) if owner else module, name, made[name])
    return REAL._replace(**fresh)


def _execute(name: str, code: CodeType, fresh: dict[str, ModuleType]) -> ModuleType:
    full = f"leeward._core.{name}"
    module = ModuleType(full)
    names = {f"leeward._core.{it}": made for it, made in fresh.items()} | {full: module}
    real = {it: sys.modules[it] for it in names}
    sys.modules.update(names)
    try:
        exec(code, module.__dict__)
    finally:
        sys.modules.update(real)
    return module


def noticed(mutant: Mutant) -> int | None:
    """The seed of the first world that breaks on this mistake, or None."""
    core = build(mutant)
    known = (seed for name, seed in _known().items() if name == mutant.name)
    for seed in (*known, *range(PATIENCE)):
        if breaks(seed, core, mutant.module):
            return seed
    return None


@cache
def _known() -> dict[str, int]:
    found: dict[str, int] = json.loads(KNOWN.read_text(encoding="utf-8"))
    return found


def breaks(seed: int, core: Core, module: str = "") -> bool:
    """Any exception counts: a broken rule, an `IllegalEvent`, a `KeyError`."""
    try:
        if module == "vitals":  # loops have a world of their own
            loops.live(seed, core.vitals)
        elif module == "admission":  # and so has accepting
            crews.live(seed, core.admission)
        else:
            live(seed, core)
    except Exception:
        return True
    return False


def _search(mutant: Mutant) -> int:
    """Of the first few worlds that notice the mutant, the quickest."""
    core = build(mutant)
    took: dict[int, float] = {}
    for seed in range(20 * PATIENCE):
        began = time.process_time()
        if breaks(seed, core, mutant.module):
            took[seed] = time.process_time() - began
        if len(took) == 5:
            break
    if not took:
        raise SystemExit(f"nothing notices {mutant.name}")
    return min(took, key=took.__getitem__)


def _table(name: str, old: str, new: str) -> Mutant:
    return Mutant(name, "worker", old, new)


def _watch(name: str, old: str, new: str) -> Mutant:
    return Mutant(name, "vitals", old, new)


def _accept(name: str, old: str, new: str) -> Mutant:
    return Mutant(name, "admission", old, new)


def _decision(name: str, old: str, new: str) -> Mutant:
    return Mutant(name, "supervisor", old, new)


_SPAWNING = "    S.SPAWNING: {\n        E.FORKED: S.STARTING,\n"
_STARTING = (
    "        E.READY: S.SERVING,\n        E.DRAIN: S.DRAINING,\n        E.KILL: S.KILLING,\n"
)
_DRAINING = (
    "        E.READY: S.DRAINING,\n        E.DRAIN: S.DRAINING,\n        E.KILL: S.KILLING,\n"
)
_KILLING = "    S.KILLING: {\n        E.FORKED: S.KILLING,\n        E.READY: S.KILLING,\n"

MUTANTS = (
    # --- the table of a life ---------------------------------------------------------------
    _table("born is not starting", _SPAWNING, _SPAWNING.replace("S.STARTING", "S.SPAWNING")),
    _table(
        "a fork is waited for by KILL",
        "E.DEADLINE: S.GONE,\n        E.DIED: S.GONE,\n    },\n    S.STARTING",
        "E.DEADLINE: S.KILLING,\n        E.DIED: S.GONE,\n    },\n    S.STARTING",
    ),
    _table(
        "told of its birth once only",
        "        E.FORKED: S.STARTING,\n        E.READY",
        "        E.READY",
    ),
    _table("READY is not serving", "E.READY: S.SERVING", "E.READY: S.STARTING"),
    _table(
        "a hung start is gone",
        f"{_STARTING}        E.DEADLINE: S.KILLING",
        f"{_STARTING}        E.DEADLINE: S.GONE",
    ),
    _table(
        "a hung start may go on",
        f"{_STARTING}        E.DEADLINE: S.KILLING",
        f"{_STARTING}        E.DEADLINE: S.STARTING",
    ),
    _table("who is aside accepts", "E.ASIDE: S.ASIDE,", "E.ASIDE: S.SERVING,"),
    _table("aside fills its slot", "S.STARTING, S.SERVING)", "S.STARTING, S.SERVING, S.ASIDE)"),
    _table("a late birth word kills who is aside", "        E.FORKED: S.ASIDE,\n", ""),
    _table("a late birth word kills", "        E.FORKED: S.SERVING,\n", ""),
    _table(
        "serving cannot die",
        "        E.KILL: S.KILLING,\n        E.DIED: S.GONE,\n    },\n    S.ASIDE",
        "        E.KILL: S.KILLING,\n        E.DIED: S.SERVING,\n    },\n    S.ASIDE",
    ),
    _table(
        "READY on the way is unheard of",
        _DRAINING,
        _DRAINING.replace("        E.READY: S.DRAINING,\n", ""),
    ),
    _table(
        "READY undoes a drain",
        _DRAINING,
        _DRAINING.replace("E.READY: S.DRAINING", "E.READY: S.SERVING"),
    ),
    _table(
        "a drain is told once only",
        _DRAINING,
        _DRAINING.replace("        E.DRAIN: S.DRAINING,\n", ""),
    ),
    _table(
        "a late drain is not killed",
        f"{_DRAINING}        E.DEADLINE: S.KILLING",
        f"{_DRAINING}        E.DEADLINE: S.DRAINING",
    ),
    _table(
        "a late drain is forgotten",
        f"{_DRAINING}        E.DEADLINE: S.KILLING",
        f"{_DRAINING}        E.DEADLINE: S.GONE",
    ),
    _table(
        "READY undoes a kill",
        _KILLING,
        _KILLING.replace("E.READY: S.KILLING", "E.READY: S.SERVING"),
    ),
    _table(
        "the unkillable is waited for",
        "        E.DEADLINE: S.GONE,\n        E.DIED: S.GONE,\n    },\n    S.GONE",
        "        E.DEADLINE: S.KILLING,\n        E.DIED: S.GONE,\n    },\n    S.GONE",
    ),
    _table(
        "a starting worker fills no slot",
        "S.SPAWNING, S.STARTING, S.SERVING",
        "S.SPAWNING, S.SERVING",
    ),
    _table(
        "an unborn worker fills no slot",
        "S.SPAWNING, S.STARTING, S.SERVING",
        "S.STARTING, S.SERVING",
    ),
    _table(
        "a leaving worker fills its slot",
        "S.STARTING, S.SERVING)",
        "S.STARTING, S.SERVING, S.DRAINING)",
    ),
    # --- who is where --------------------------------------------------------------------------
    Mutant(
        "the dead still listen",
        "roster",
        "it is None or it.state is State.GONE else it",
        "it is None else it",
    ),
    Mutant(
        "who leaves is not replaced",
        "roster",
        "return self.alive and not self.retiring",
        "return self.alive",
    ),
    Mutant(
        "a state keeps the last one's deadline",
        "roster",
        "            self.deadline = self._deadline(now)\n",
        "",
    ),
    Mutant(
        "a start may take as long as a fork",
        "roster",
        "State.STARTING: self.limits.start",
        "State.STARTING: self.limits.fork",
    ),
    Mutant(
        "a kill has no deadline", "roster", "            State.KILLING: self.limits.kill,\n", ""
    ),
    Mutant(
        "rows are shared",
        "roster",
        'taken = {it.row for it in self.of("worker")}',
        'taken = {it.row for it in self.of("worker") if it.alive}',
    ),
    Mutant(
        "the dead are kept",
        "roster",
        "            del self.processes[it.id]\n",
        "            pass\n",
    ),
    Mutant(
        "starting counts as serving",
        "roster",
        "it.slot == slot and it.fills_its_slot and it.state is State.SERVING",
        "it.slot == slot and it.fills_its_slot",
    ),
    Mutant(
        "who retires counts as serving",
        "roster",
        "it.slot == slot and it.fills_its_slot and it.state is State.SERVING",
        "it.slot == slot and it.state is State.SERVING",
    ),
    Mutant(
        "a drained zygote forks on",
        "roster",
        'for it in self.of("zygote", generation) if it.alive)',
        'for it in self.of("zygote", generation))',
    ),
    Mutant(
        "the unborn are not coming",
        "roster",
        "it.state in (State.SPAWNING, State.STARTING)",
        "it.state in (State.STARTING,)",
    ),
    # --- what the system refuses ---------------------------------------------------------------
    _decision(
        "what is refused is held against the code",
        "(self._refused if unborn else self._strike)(it, why, now)",
        "self._strike(it, why, now)",
    ),
    _decision("refused zygotes are not paused", "all(it.over(now) for it in", "any(True for it in"),
    _decision(
        "refused workers are not paused",
        "not (generation.pauses.over(now) and generation.birth_pauses.over(now))",
        "not generation.pauses.over(now)",
    ),
    _decision(
        "a birth ends no row of refusals",
        "                self.generations[it.generation].birth_pauses.strikes = 0\n",
        "                pass\n",
    ),
    _decision("refused boots give up at once", ">= BOOT_TRIES and self", ">= 1 and self"),
    _decision("refused boots never give up", ">= BOOT_TRIES and self", ">= 1000 and self"),
    _decision("refused rolls give up at once", "now + pause > pauses.first + longest", "True"),
    _decision("refused rolls never give up", "now + pause > pauses.first + longest", "False"),
    _decision(
        "who is refused on the way back is lost",
        '                self.previous, self.lost = back, ""',
        "                pass",
    ),
    _decision(
        "refusals of before shorten the way back",
        "        generation.birth_pauses = Pauses()\n",
        "",
    ),
    Mutant(
        "a row of strikes began long ago",
        "generation",
        "            self.first = now\n",
        "            pass\n",
    ),
    # --- pauses -------------------------------------------------------------------------------
    Mutant("pauses do not double", "generation", "FIRST_PAUSE * 2.0 **", "FIRST_PAUSE * 1.0 **"),
    Mutant(
        "each of a wave is a strike",
        "generation",
        "        if now < self.not_before:\n            return None\n",
        "",
    ),
    Mutant(
        "strikes are never counted",
        "generation",
        "        self.strikes += 1\n",
        "        self.strikes = 1\n",
    ),
    Mutant(
        "strikes are always forgotten",
        "generation",
        "if not on_trial and now - self.last > quiet:",
        "if not on_trial:",
    ),
    Mutant("trials are forgiven", "generation", "if not on_trial and now", "if now"),
    Mutant("a pause is over at once", "generation", "return now >= self.not_before", "return True"),
    Mutant(
        "a pause is never over",
        "generation",
        "return now >= self.not_before",
        "return self.not_before == 0.0",
    ),
    # --- decisions: events ---------------------------------------------------------------------
    _decision(
        "a fork that waits behind others is late",
        "                    it.deadline = now + it.limits.fork\n",
        "                    it.deadline = it.deadline\n",
    ),
    _decision(
        "a resolver's answer is not noted",
        "        self.resolving = None\n        self._last_generation",
        "        self._last_generation",
    ),
    _decision(
        "an audit is not asked",
        'mode = start if start != "auto" else ("spawn" if',
        'mode = start if start != "auto" else ("zygote" if True else "spawn" if',
    ),
    _decision(
        "hazards are ignored",
        '("spawn", hazards[0]) if hazards else',
        '("spawn", hazards[0]) if not hazards and False else',
    ),
    _decision(
        "an explicit mode is not checked",
        '        if mode and self._mode_allowed(mode, "--start asks for it"):',
        "        if mode:",
    ),
    _decision("a change of mode is always allowed", 'if self.mode in ("", mode) or', "if True or"),
    _decision("a change of mode is never allowed", " or generation.may_change_mode:", ":"),
    _decision(
        "no worker at all", "self.workers = max(1, workers)", "self.workers = max(0, workers)"
    ),
    _decision("a later stop wins", "now + timeout < self.stop_by", "now + timeout > self.stop_by"),
    _decision(
        "a sharper stop is not told on",
        '            for it in self.roster:\n                it.told = ""\n',
        "",
    ),
    _decision(
        "the unborn escape the kill", "if unborn and it.state is State.KILLING:", "if False:"
    ),
    _decision(
        "up again and again",
        "if self.serving is None and it.generation == self.candidate:",
        "if it.generation == self.candidate:",
    ),
    _decision(
        "leaving is ignored",
        "            self.retirees.append(process)\n",
        "            pass\n",
    ),
    _decision(
        "nothing is kept",
        "forth = new.number > old.number",
        "forth = False",
    ),
    _decision(
        "what was left is gone back to",
        "forth = new.number > old.number",
        "forth = True",
    ),
    _decision("the cold is kept", " and self._warm(self.previous)", ""),
    _decision(
        "whatever is lost has settled",
        'self.lost = "settled" if now >= self.settled else why',
        'self.lost = "settled"',
    ),
    _decision("the settling never ends", "and now < self.settled and", "and"),
    _decision(
        "what is kept goes with the rest",
        "kept = (*current, self.previous)",
        "kept = tuple(current)",
    ),
    _decision(
        "the end of a settling wakes nobody",
        "            times.append(self.settled)\n",
        "            pass\n",
    ),
    _decision(
        "nothing goes back by itself",
        "if alone and strikes >= ROLL_TRIES and self.can_go_back(now):",
        "if False:",
    ),
    _decision(
        "one strike goes back",
        "if alone and strikes >= ROLL_TRIES and self.can_go_back(now):",
        "if alone and self.can_go_back(now):",
    ),
    _decision(
        "a crash loop goes back in the middle of a reload",
        "if alone and strikes >= ROLL_TRIES and self.can_go_back(now):",
        "if strikes >= ROLL_TRIES and self.can_go_back(now):",
    ),
    _decision(
        "an ended zygote is no end of the way back",
        "if self._on_its_way_back and self.roster.zygote(self.candidate or 0) is None:",
        "if False:",
    ),
    _decision(
        "two rollbacks go forth",
        "        if self._on_its_way_back:\n            return self.candidate\n",
        "",
    ),
    _decision(
        "a rollback leaves reloads waiting", "        self.queued = 0\n        if", "        if"
    ),
    _decision(
        "a rollback lets the resolver go on",
        "            self.resolving = None\n"
        "            self._out.append(c.StopResolving(GIVEN_UP))",
        "            pass",
    ),
    _decision(
        "old strikes are held against the old",
        "        generation.pauses, generation.zygote_pauses = Pauses(), Pauses()\n",
        "",
    ),
    _decision("all are replaced at once", "if busy or self.candidate is not None:", "if False:"),
    _decision(
        "nobody's turn comes",
        "            first.retiring = True\n",
        "            pass\n",
    ),
    _decision(
        "who is asked while it starts is forgotten",
        "[it.id for it in found if it.alive]",
        "[it.id for it in found if it.state is State.SERVING]",
    ),
    _decision(
        "the next goes before it was replaced",
        'any(it.retiring and it.alive for it in self.roster.of("worker"))',
        'any(it.retiring and not it.alive for it in self.roster.of("worker"))',
    ),
    _decision(
        "one slot recycles all",
        "found = [it.id for it in serving if slot in (None, it.slot)]",
        "found = [it.id for it in serving]",
    ),
    _decision(
        "strays are let be",
        '        self._send_away(it, "stop", timeout, now)\n        return it.id',
        "        return it.id",
    ),
    _decision("our kills are strikes", "        if killed_by_us:\n            return\n", ""),
    _decision("kills of served workers pause", " and not somebody_elses_kill:", ":"),
    _decision("kills of the newborn are excused", "death.served or age >= NEWBORN", "True"),
    _decision("kills of the unserved pause", "(death.served or age >= NEWBORN)", "death.served"),
    _decision(
        "young deaths are excused",
        "young = it.ready_at is None or age < YOUNG",
        "young = it.ready_at is None",
    ),
    _decision(
        "old deaths on trial are excused", "(young or it.generation == self.candidate)", "young"
    ),
    _decision(
        "unborn workers outlive their zygote",
        "            self._lose_unborn(it, now)\n",
        "            pass\n",
    ),
    _decision("nobody is the canary", "canary = not generation.ever_ready", "canary = False"),
    _decision("all are canaries", "canary = not generation.ever_ready", "canary = True"),
    _decision("a slot counts no workers", "self._ordinals.get(slot, 0) + 1", "1"),
    _decision(
        "who was set aside stays for ever",
        "            elif was is State.ASIDE:\n"
        '                self._send_away(it, "reload", it.limits.graceful, now)\n',
        "",
    ),
    _decision(
        "nobody is set aside",
        "if it.aside_for is None or it.state is not State.SERVING:",
        "if True:",
    ),
    _decision(
        "aside before it was replaced",
        "            self.leaving(it.id)\n            it.aside_for = seconds\n",
        "            self.leaving(it.id)\n            it.aside_for = seconds\n"
        "            it.step(Event.ASIDE, 0.0)\n            self._out.append(c.Aside(it.id))\n",
    ),
    _decision(
        "two of a slot are aside",
        "if self.is_aside(slot) is not None or slot >= self.workers:",
        "if slot >= self.workers:",
    ),
    _decision(
        "slots that are not there are looked at",
        "if self.is_aside(slot) is not None or slot >= self.workers:",
        "if self.is_aside(slot) is not None:",
    ),
    _decision(
        "a word of the one that is aside is not heard",
        "            it.deadline = it.since  # somebody has seen enough\n",
        "            pass\n",
    ),
    _decision(
        "whoever dies aside has failed",
        '                it.told = "aside"\n',
        "",
    ),
    _decision(
        "old generations linger",
        "for number in order[: max(0, len(order) - most)]:",
        "for number in order[:0]:",
    ),
    _decision(
        "the newest is hurried",
        "for number in order[: max(0, len(order) - most)]:",
        "for number in order[most:]:",
    ),
    _decision(
        "one too few may linger",
        "for number in order[: max(0, len(order) - most)]:",
        "for number in order[: max(0, len(order) - most + 1)]:",
    ),
    _decision(
        "recycled workers are an old generation",
        "if it.state is State.DRAINING and old:",
        "if it.state is State.DRAINING:",
    ),
    _decision(
        "hurried again and again",
        'slow = [it for it in draining[number] if it.told != "stop"]',
        "slow = draining[number]",
    ),
    # --- decisions: the plan -------------------------------------------------------------------
    _decision(
        "fill before trim",
        "            self._trim(now)  # before _fill: a slot that nobody comes for any more "
        "is free now\n"
        "            self._hurry(now)\n"
        "            self._retire(now)  # behind _trim: who was replaced just now makes room "
        "for the next\n"
        "            self._fill(now)\n",
        "            self._retire(now)\n            self._fill(now)\n            self._trim(now)\n"
        "            self._hurry(now)\n",
    ),
    _decision(
        "the end comes too early",
        "self.stopping and not self.roster.processes and not self._finished",
        "self.stopping and not self._finished",
    ),
    _decision(
        "pauses wake nobody",
        "times += [it.not_before for it in pauses if it.not_before > seen]",
        "pass",
    ),
    _decision(
        "deadlines wake nobody",
        "times = [it.deadline for it in self.roster if it.deadline is not None]",
        "times: list[float] = []",
    ),
    _decision(
        "the resolver has for ever",
        "            times.append(self.resolving)\n",
        "            pass\n",
    ),
    _decision(
        "slots change hands before READY",
        "self.roster.serves(slot, self.candidate):\n            return self.candidate",
        "self.roster.filled(slot, self.candidate):\n            return self.candidate",
    ),
    _decision(
        "deadlines come too early",
        "if it.deadline is None or now < it.deadline:",
        "if it.deadline is None or now < it.deadline - 1.0:",
    ),
    _decision(
        "a kill is decided and not asked for",
        "            if it.state is State.KILLING:\n"
        "                self._out.append(c.Kill(it.id))\n"
        "            if was",
        "            if was",
    ),
    _decision(
        "a hung start is no failure", "                self._judge(it, it.failure, now)\n", ""
    ),
    _decision(
        "a deaf zygote lives on",
        "                self._zygote_hangs(it, now)\n",
        "                pass\n",
    ),
    _decision(
        "a deaf zygote is no failure", "            self._judge(zygote, zygote.failure, now)\n", ""
    ),
    _decision("a stop repeats itself", 'elif it.told != "stop":', "else:"),
    _decision("a stop without time waits", ' or (left == 0.0 and it.role != "worker"):', ":"),
    _decision(
        "a roll ends after its first slot",
        "return next((s for s in slots if not self.roster.serves(s, self.candidate)), None)",
        "return None if self.roster.serves(0, self.candidate) else 0",
    ),
    _decision(
        "the settings' number is ignored",
        "            if new.workers != old.workers and not self.scaled:\n",
        "            if False:\n",
    ),
    _decision(
        "a number scaled by hand is lost",
        "            if new.workers != old.workers and not self.scaled:\n",
        "            if not self.scaled:\n",
    ),
    _decision(
        "what is scaled amid a roll-out is lost",
        "        self.workers = max(1, workers)\n        self.scaled = True\n",
        "        self.workers = max(1, workers)\n",
    ),
    _decision(
        "a number scaled once is for ever",
        "            self.queued = 0\n            self.scaled = False\n",
        "            self.queued = 0\n",
    ),
    _decision(
        "reloads are not merged", "            self.queued = 0\n", "            self.queued -= 1\n"
    ),
    _decision(
        "reloads overlap",
        "        idle = self.candidate is None and self.resolving is None\n        if self.queued",
        "        idle = self.resolving is None\n        if self.queued",
    ),
    _decision(
        "reloads are forgotten",
        "if self.queued and idle and self.serving is not None:",
        "if self.queued == 1 and idle and self.serving is not None:",
    ),
    _decision(
        "zygotes do not rest",
        'if generation.mode == "spawn" or resting or',
        'if generation.mode == "spawn" or',
    ),
    _decision(
        "only the candidate has a zygote",
        "current = [n for n in (self.serving, self.candidate) if n is not None]",
        "current = [self.serving if self.candidate is None else self.candidate]",
    ),
    _decision(
        "zygotes are never retired",
        "            if it.alive and not needed:\n",
        "            if False:\n",
    ),
    _decision(
        "generations are kept", "            del self.generations[number]\n", "            break\n"
    ),
    _decision(
        "no canary", "                return  # the canary first\n", "                continue\n"
    ),
    _decision(
        "a roll starts without end",
        "        if not self.roster.coming(self.candidate):\n",
        "        if True:\n",
    ),
    _decision(
        "the old leave before the new serve",
        "if belongs or (it.state is State.SERVING and not replaced):",
        "if belongs:",
    ),
    _decision(
        "the old never leave",
        "if belongs or (it.state is State.SERVING and not replaced):",
        "if belongs or it.state is State.SERVING:",
    ),
    _decision(
        "slots above n are kept",
        "if it.slot < self.workers and wanted is not None:",
        "if wanted is not None:",
    ),
    _decision(
        "the candidate's workers are unwanted",
        "it.generation in (wanted, self.candidate)",
        "it.generation == wanted",
    ),
    _decision(
        "workers are started during a pause",
        "not (generation.pauses.over(now) and generation.birth_pauses.over(now))",
        "not generation.birth_pauses.over(now)",
    ),
    _decision(
        "asked of a zygote that still loads",
        "(zygote is None or zygote.state is not State.SERVING)",
        "(zygote is None)",
    ),
    _decision(
        "a second drain gives more time",
        "            by = min(by, it.deadline)\n",
        "            pass\n",
    ),
    _decision(
        "failures of the past count",
        "if current and not it.told and not self.stopping:",
        "if not it.told and not self.stopping:",
    ),
    _decision(
        "drained workers fail",
        "if current and not it.told and not self.stopping:",
        "if current and not self.stopping:",
    ),
    _decision(
        "a canary gets a second try",
        "                self._fail_candidate(why)  # the canary died: one try is enough\n"
        "                return\n",
        "                pass\n",
    ),
    _decision(
        "a proven candidate gets one try",
        "if on_trial and not generation.ever_ready and not forking:",
        "if on_trial and not forking:",
    ),
    _decision(
        "a zygote's death is the canary's",
        "if on_trial and not generation.ever_ready and not forking:",
        "if on_trial and not generation.ever_ready:",
    ),
    _decision("boots give up at once", "strikes >= BOOT_TRIES:", "strikes >= 1:"),
    _decision("boots never give up", "strikes >= BOOT_TRIES:", "strikes >= 1000:"),
    _decision(
        "rolls never give up",
        "self.serving is not None and strikes >= ROLL_TRIES",
        "False",
    ),
    _decision(
        "pauses are not reported", "        elif pause is not None:\n", "        elif False:\n"
    ),
    _decision(
        "another zygote's unborn are lost",
        "worker.zygote == zygote.id and not worker.pid",
        "not worker.pid",
    ),
    _decision(
        "the born are lost with their zygote",
        "worker.zygote == zygote.id and not worker.pid",
        "worker.zygote == zygote.id",
    ),
    _decision("a failed candidate stays", "why))\n        self.candidate = None", "why))"),
    # --- limits and the condemned ----------------------------------------------------------------
    _decision("a limit is not heard", "        self.leaving(process)\n        gen", "        gen"),
    _decision("everybody rests", "if now - it.ready_at < YOUNG and not", "if not"),
    _decision(
        "nobody goes after a rest",
        "return it.state is State.SERVING and rests.over(now)",
        "return it.state is State.SERVING and not rests.strikes",
    ),
    _decision(
        "the end of a rest wakes nobody",
        "            times += [it for it in rests if it > seen]\n",
        "            pass\n",
    ),
    _decision(
        "who is condemned lives",
        "        it.step(Event.KILL, now)\n"
        "        self._out.append(c.Kill(it.id))\n"
        "        if it.ready_at",
        "        if it.ready_at",
    ),
    _decision(
        "no condemned worker speaks against the code",
        "it.generation == self.candidate:\n"
        "            self._judge(it, why, now)\n        it.failure",
        "False:\n            pass\n        it.failure",
    ),
    # --- loops -----------------------------------------------------------------------------------
    _watch(
        "the flag is never cleared",
        "self.awake, self._next = False, now + TICK",
        "self.awake, self._next = True, now + TICK",
    ),
    _watch(
        "no second look",
        "self.awake, self._next = False, now + TICK  # once more, see above",
        "self.awake, self._next = False, None",
    ),
    _watch("a ring is not heard", "self.awake, self._next = True, now\n", "pass\n"),
    _watch("ticks are rare", "(SOON if waits else TICK)", "(SOON if waits else 5 * TICK)"),
    _watch("the idle are suspects", "if not it.since or not bounds:", "if not bounds:"),
    _watch("suspects come late", ">= min(bounds) + grace", ">= max(bounds) + grace"),
    _watch(
        "a stall never ends",
        "turned, life.turns = pulse.turns != life.turns or not pulse.since, pulse.turns",
        "turned, life.turns = not pulse.since, pulse.turns",
    ),
    _watch(
        "every stall is told",
        'if stall.stage == "unsaid" and late and now >= slot.told_at + QUIET:',
        'if stall.stage == "unsaid" and late:',
    ),
    _watch(
        "a stall is told before its time",
        "late = bool(pulse.bounds.warn) and seconds >= pulse.bounds.warn",
        "late = bool(pulse.bounds.warn)",
    ),
    _watch("what is not told is not counted", "slot.more += seconds >= pulse.bounds.warn", "pass"),
    _watch(
        "what is not told counts twice", "            slot.more = 0\n        else", "        else"
    ),
    _watch("a debugged process is signalled", "if not seen.traced:  # a deb", "if True:  # a deb"),
    _watch("a stack is waited for for ever", " or now - self.since >= PATIENCE", ""),
    _watch("a stack is not waited for", "return details.written or now", "return True or now"),
    _watch("told and told again", '            stall.enter("told", now)\n', ""),
    _watch("nobody hears that it turns", "yield TurnsAgain(worker, seconds)", "pass"),
    _watch(
        "work is no excuse", "return pulse.bounds.kill_working or not stall.working", "return True"
    ),
    _watch(
        "work is always an excuse",
        "return pulse.bounds.kill_working or not stall.working",
        "return not stall.working",
    ),
    _watch("idleness is work", "> WORKS * spent", ">= 0.0"),
    _watch("work is idleness", "> WORKS * spent", "> 2.0 * spent"),
    _watch("killed while it is debugged", "< kill or seen.traced:", "< kill:"),
    _watch("killed early", "now - stall.began < kill", "now - stall.began < kill / 2"),
    _watch(
        "killed without its stack",
        '            yield Ask(worker)\n            stall.enter("sentenced", now, ',
        '            stall.enter("sentenced", now, ',
    ),
    _watch(
        "a step is C",
        "        answered = seen.written or seen.traced or",
        "        answered = seen.traced or",
    ),
    _watch("C is asked again and again", " or seen.traced or stall.twice", " or seen.traced"),
    _watch("what sleeps in C has no place", "        if seen.asleep:\n", "        if False:\n"),
    _watch("what works in C has no place", "known = seen.main is not None", "known = False"),
    _watch("condemned again and again", '            stall.enter("condemned", now)\n', ""),
    _watch(
        "a stopped process wakes us for ever",
        "        life.condemned_by = None\n        s",
        "        s",
    ),
    _watch("a stopped process stays", "times += [it.condemned_by for", "[it.condemned_by for"),
    _watch("more is never said", "slot.more and not slot.asked and now", "False and now"),
    _accept("nobody is polite", "        if not fewer:", "        if True:"),
    _accept("politeness has no end", "if streak.declined < MOST:", "if True:"),
    _accept("it is declined ever longer", "MOST = 2", "MOST = 6"),
    _accept("one is asked of many", "PART = 0.03", "PART = 0.5"),
    _accept("a burst is all hurry", "PER_RATE = 256.0", "PER_RATE = 8.0"),
    _accept("the stalled are waited for", "return now - it.busy_since <=", "return 0 <="),
    _accept("the silent are waited for", "elif silence is not None and now <", "elif now <"),
    _accept("silence is short", "min(2 * before.lasts, LONGEST_SILENCE)", "SILENCE / 2"),
    _accept(
        "what a third took proves nothing",
        "        if streak.declined >= MOST:\n",
        "        if False:\n",
    ),
    _accept("a storm falls on one", "min((1 << streak.rounds) - 1, RUN)", "0"),
    _accept("brief ones ask for no slack", "/ PER_RATE) + 2 * brief", "/ PER_RATE)"),
    _accept("nobody hurries", "self.haste_until = now + HASTE", "pass"),
    _accept("others never come first", "others and now - self._waits_since < YIELD", "False"),
    _accept("the first one waits for ever", "now - self._helpless_since >= SHED", "0 >= SHED"),
    _accept("503 goes on for ever", "        if count:\n", "        if False:\n"),
    _accept("a shortage is never forgotten", "or now - before > FORGOTTEN", ""),
    _accept("nothing is kept back", "caps.files - caps.kept_back:", "caps.files:"),
    _accept("one too many", "connections >= caps.conns", "connections > caps.conns"),
    _accept("all are evicted", "min(EVICT_MOST, evictable // EVICT_PART)", "evictable"),
    _accept("the silent go one by one", "EVICT_SILENT if silent else 1", "1"),
)

if __name__ == "__main__":
    found = {it.name: _search(it) for it in MUTANTS}
    KNOWN.write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
