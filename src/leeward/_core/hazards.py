"""What a fork would make wrong, by code, and what is done about each.

The table is what the documentation, the log and `leeward check` are made from.  A
verdict is what follows by itself:

    repaired   put right before the fork or in the child; the zygote is kept
    isolated   no fork: each worker imports for itself and has its own
    told       several workers are what makes it wrong, however they come to be

`--hazards` sharpens or softens *isolated*: "refuse" does not start, "warn" forks all the
same, "ignore:CODE" takes a code for nothing at all.  A code's number never changes
its meaning; the pages are docs/reference/hazards/CODE.md.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

from leeward._core.record import Record, asdict, replace

REPAIRED, ISOLATED, TOLD = "repaired", "isolated", "told"
REFUSED, WARNED, IGNORED = "refused", "forked all the same", "ignored"

#: What `--hazards` may say beside ignore:CODE.
WORDS = ("spawn", "warn", "refuse")
IGNORE = "ignore:"
#: Hazards that are kept of an audit: a pool of a thousand connections is told of by its first.
MOST = 50


class Code(Record):
    """One row.

    code:     "LW101".
    name:     what it is, in a word or two.
    verdict:  REPAIRED, ISOLATED or TOLD.
    fault:    what goes wrong in forked workers, without a word.
    remedy:   what to do about it, in half a line.
    """

    code: str
    name: str
    verdict: str
    fault: str
    remedy: str


_OPEN = "make it in the factory, or as a resource: @leeward.per_worker"
_START = "start it in the factory, or in a resource: @leeward.per_worker"

TABLE: tuple[Code, ...] = (
    Code(
        "LW100",
        "not to be told",
        ISOLATED,
        "nobody knows what goes wrong: an object did not let itself be looked at",
        "report it, with what the line says",
    ),
    Code("LW101", "thread", ISOLATED, "it does not run in any worker", _START),
    Code("LW102", "executor", ISOLATED, "what is submitted to it never runs", _OPEN),
    Code("LW103", "queue listener", ISOLATED, "records are queued and never written", _START),
    Code("LW104", "native thread", ISOLATED, "its locks and its work are lost", _START),
    Code(
        "LW105",
        "native runtime",
        ISOLATED,
        "its first parallel computation hangs",
        "import it in the factory: then all the rest is forked",
    ),
    Code(
        "LW106",
        "CUDA",
        ISOLATED,
        "every call fails: cannot re-initialize CUDA in a forked process",
        "use the GPU from the factory on, not at import",
    ),
    Code("LW107", "timer", ISOLATED, "it never goes off: the kernel clears it", _START),
    Code("LW110", "connection", ISOLATED, "workers read each other's answers", _OPEN),
    Code("LW111", "TLS connection", ISOLATED, "the peer drops it: bad record MAC", _OPEN),
    Code("LW112", "client", ISOLATED, "its connections and threads are shared or missing", _OPEN),
    Code(
        "LW113",
        "SQLite connection",
        ISOLATED,
        "its locks are lost, and the file may be corrupted",
        _OPEN,
    ),
    Code(
        "LW120",
        "event loop",
        ISOLATED,
        "workers share its epoll set: they spin, or go deaf",
        "make it in the factory, where one runs already",
    ),
    Code(
        "LW121",
        "kernel events",
        ISOLATED,
        "an event wakes one worker, which is not the one it is for",
        _OPEN,
    ),
    Code("LW122", "io_uring", ISOLATED, "workers take each other's completions", _OPEN),
    Code(
        "LW130",
        "held lock",
        ISOLATED,
        "who holds it is not there to let it go: its first use hangs",
        "start the thread that takes it as a resource: @leeward.per_worker",
    ),
    Code(
        "LW131",
        "file lock",
        ISOLATED,
        "each worker believes that it has it, and keeps nobody out",
        "take it in the factory, or in a resource: @leeward.per_worker",
    ),
    Code(
        "LW140",
        "multiprocessing",
        ISOLATED,
        "its threads are missing, its pipes are shared",
        _OPEN,
    ),
    Code(
        "LW141",
        "child process",
        ISOLATED,
        "workers share its pipes and cannot wait for it",
        _START,
    ),
    Code(
        "LW142",
        "shared memory",
        TOLD,
        "forked workers write into one memory, spawned ones have each their own",
        "map it in the factory; if it is meant to be shared: --hazards ignore:LW142 --start zygote",
    ),
    Code(
        "LW150",
        "rotating log file",
        TOLD,
        "each worker rotates by itself, away from under the others: lines are lost",
        "let one process rotate it, or give each worker a file of its own",
    ),
    Code(
        "LW151",
        "log connection",
        REPAIRED,
        "records of several workers are mixed in one stream",
        "nothing: each worker connects for itself",
    ),
    Code(
        "LW152",
        "emptied log file",
        TOLD,
        "each process that opens it empties it: lines of the others are lost",
        "open it to append, or give each worker a file of its own",
    ),
    Code(
        "LW160",
        "buffered file",
        REPAIRED,
        "each worker writes what was in the buffer, once more",
        "nothing: it is written before the first fork",
    ),
    Code(
        "LW161",
        "file that cannot be written",
        ISOLATED,
        "each worker writes what is in the buffer, once more",
        "make room, or open it in the factory",
    ),
    Code(
        "LW162",
        "temporary directory",
        ISOLATED,
        "the first worker that ends deletes it for all",
        _OPEN,
    ),
    Code(
        "LW170",
        "random generator",
        REPAIRED,
        "all workers draw the same numbers",
        "nothing: each worker seeds it anew",
    ),
    Code(
        "LW171",
        "NumPy generator",
        REPAIRED,
        "all workers draw the same numbers",
        "nothing: each worker seeds it anew",
    ),
)

CODES = {row.code: row for row in TABLE}


class Hazard(Record):
    """One that was found.

    what:     one line, with enough to know it by.
    where:    "shop.py:12", the application's innermost line that led to it; "" if unknown.
    library:  "redis/connection.py:363", the library's innermost one.
    who:      "shop.CLIENT, a redis.client.Redis": what holds it.
    key:      "7:48213" (descriptor and inode), or "" where there is no descriptor.
    """

    code: str
    what: str
    where: str = ""
    library: str = ""
    who: str = ""
    key: str = ""

    @property
    def line(self) -> str:
        """All that is known, in a line."""
        places = "; ".join(filter(None, (self.where, self.library)))
        held = f", held by {self.who}" if self.who else ""
        return f"{self.code} {self.what}{held}" + (f" ({places})" if places else "")

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Hazard:
        return cls(**json.loads(text))


#: What a client's C code has: told of with it, if both come from the same line.
_PARTS = ("LW104", "LW120", "LW121")
#: Of these, one line of the application tells all: ten threads of one library, its epoll sets.
_ALIKE = (*_PARTS, "LW112", "LW130", "LW140")


def merged(hazards: Iterable[Hazard]) -> list[Hazard]:
    """One for what is one thing: the first of those that are alike says how many more."""
    groups: dict[tuple[str, ...], list[Hazard]] = {}
    hazards = list(hazards)
    clients = {it.where for it in hazards if it.code == "LW112" and it.where}
    held = {it.who for it in hazards if it.code != "LW130" and it.who}
    for number, it in enumerate(hazards):
        if it.code in _PARTS and it.where in clients:
            continue
        # A lock inside of something that was told of is held by its thread.
        if it.code == "LW130" and it.who in held:
            continue
        what = "" if it.code in _ALIKE else it.what.partition(", descriptor")[0]
        place = (it.where, it.library, it.who) if it.code in _ALIKE else (it.where or it.who,)
        nobody = "" if any(place) else str(number)
        groups.setdefault((it.code, what, *place, nobody), []).append(it)
    return [_counted(group[0], len(group) - 1) for group in groups.values()]


def _counted(hazard: Hazard, more: int) -> Hazard:
    return replace(hazard, what=f"{hazard.what}, and {more} more") if more else hazard


def policy(words: Iterable[str]) -> tuple[str, ...]:
    """`--hazards` in order: one of `WORDS`, then each ignore:CODE once.

    Raises ValueError, with what was expected, for what it cannot be.
    """
    chosen: list[str] = []
    ignored: list[str] = []
    for word in words:
        code = word.upper().removeprefix(IGNORE.upper())
        if word in WORDS:
            chosen.append(word)
        elif word.lower().startswith(IGNORE) and code in CODES:
            ignored.append(IGNORE + code)
        elif word.lower().startswith(IGNORE):
            known = f"{TABLE[0].code} … {TABLE[-1].code}"
            raise ValueError(f"there is no hazard {code!r}, only {known}{_nearest(code, CODES)}")
        else:
            near = _nearest(word, (*WORDS, *(IGNORE + row for row in CODES)))
            raise ValueError(f"expected {', '.join(WORDS)} or ignore:CODE, found {word!r}{near}")
    if len(set(chosen)) > 1:
        raise ValueError(f"{' and '.join(dict.fromkeys(chosen))} exclude each other")
    return (chosen[0] if chosen else "spawn", *sorted(set(ignored)))


def _nearest(word: str, known: Collection[str]) -> str:
    """What was meant, perhaps."""
    import difflib  # nobody needs it who makes no mistake, and the supervisor never does

    if IGNORE + word.upper() in known:
        return f": did you mean {IGNORE}{word.upper()}?"
    near = difflib.get_close_matches(word, list(known), 1, 0.75)
    return f": did you mean {near[0]}?" if near else ""


def verdict(hazard: Hazard, hazards: tuple[str, ...], start: str) -> str:
    """What becomes of it.  hazards: a `policy`.  start: as `--start`."""
    if IGNORE + hazard.code in hazards:
        return IGNORED
    by_itself = CODES[hazard.code].verdict
    if by_itself != ISOLATED:
        return by_itself
    if "refuse" in hazards:
        return REFUSED
    return WARNED if "warn" in hazards or start == "zygote" else ISOLATED


def level(found: str) -> str:
    """How loud `serve` says it, by its verdict."""
    quiet = {REPAIRED: "info", IGNORED: "debug"}
    return quiet.get(found, "warning")


def two_lines(hazard: Hazard, found: str) -> str:
    """What it is and where; what is done, and what to do."""
    code = CODES[hazard.code]
    page = f"docs/reference/hazards/{hazard.code}.md"
    so = "though" if found == WARNED else "as"
    return f"{hazard.line}\n{found}, {so} {code.fault}; {code.remedy} ({page})"


def in_full(hazard: Hazard, found: str) -> list[str]:
    """What `leeward check` prints."""
    code = CODES[hazard.code]
    rows = [
        ("at", "; ".join(filter(None, (hazard.where, hazard.library)))),
        ("held by", hazard.who),
        ("fault", code.fault),
        ("verdict", found),
        ("remedy", code.remedy),
        ("page", f"docs/reference/hazards/{hazard.code}.md"),
    ]
    head = f"{hazard.code} {code.name}: {hazard.what}"
    return [head, *(f"  {name:8} {text}" for name, text in rows if text)]


def refusal(found: Iterable[Hazard]) -> str:
    """Why it does not start, in at most six lines."""
    lines = [hazard.line for hazard in found]
    more = [f"  … and {len(lines) - 4} more: leeward check names them"] if len(lines) > 4 else []
    shown = [f"  {line}" for line in lines[:4]]
    count = "a hazard" if len(lines) == 1 else f"{len(lines)} hazards"
    return "\n".join([f"{count} of a fork, which --hazards refuse does not allow:", *shown, *more])
