"""Which line of the application it was.

Two ways lead there.  The stack, while it happens: the innermost frame of the
application, and the innermost of a library (`Origins.site`).  And the holder,
afterwards: a variable of one of the application's modules from which the object can be
reached; the line is the one that assigns it (`holders`).  The second costs some
milliseconds, and is asked only once something has been found.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import gc
import itertools
import os
import sys
import sysconfig
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from types import FrameType, FunctionType, ModuleType
from typing import Any, cast

from leeward._core.record import Record
from leeward._sys.files import read
from leeward.adapters.blame import shown

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
#: Objects that are looked at, from the application's variables inwards: 30 ms.
_MOST = 50_000
#: Steps from a variable to what it holds: client, pool, connection, socket and their dicts.
_DEPTH = 8
#: Larger containers are the application's data, not what holds a client.
_LARGE = 2_000
#: What holds nothing, and modules, which hold everything.
_PLAIN = (str, int, float, bytes, type(None), ModuleType)
_CONTAINERS = (list, tuple, dict, set, frozenset, deque)
#: Bytes of a module's source that are parsed for the line of a variable.
_SOURCE = 4 * 1024 * 1024


class Site(Record):
    """where: the application's line, "shop.py:3".  library: the library's.  "": none.

    direct:  the application itself has called what happens: no library did, and not more
             than one module of the standard library.
    """

    where: str = ""
    library: str = ""
    direct: bool = False


NOWHERE = Site()


class Holder(Record):
    """name: "shop.CLIENT".  where: the line that assigns it.  kind: the type of its value."""

    name: str
    where: str
    kind: str

    @property
    def words(self) -> str:
        return f"{self.name}, a {self.kind}"


class Origins:
    """Tells the application's files from those of libraries.

    package:  the top-level package of TARGET: an application that is installed like a
              library is an application all the same.
    """

    def __init__(self, package: str = "") -> None:
        paths = sysconfig.get_paths()
        self._standard = tuple({paths[key] + os.sep for key in ("stdlib", "platstdlib")})
        importing = (f"{place}importlib{os.sep}" for place in self._standard)
        self._nobodys = (_OURS, "<frozen ", *importing)
        self._own = tuple(
            f"{place}{package}{end}" for place in _PACKAGES for end in (os.sep, ".py") if package
        )
        self.kind = functools.lru_cache(maxsize=4096)(self._kind)

    def _kind(self, path: str) -> str:
        """ "application", "package", "standard", or "" for what is nobody's: ours, importlib."""
        if path.startswith(self._nobodys):
            return ""
        for own in self._own:
            if own in path:
                return "application"
        for place in _PACKAGES:
            if place in path:
                return "package"
        return "standard" if path.startswith(self._standard) else "application"

    def site(self, frame: FrameType | None) -> Site:
        """Of a stack, from its innermost frame outwards."""
        library = standard = text = ""
        through: set[str] = set()
        while frame is not None:
            path = frame.f_code.co_filename
            kind = self.kind(path)
            if not kind:
                pass  # most of a stack of imports
            elif kind == "application" and path.startswith("<"):
                # The code of an `exec`, a dataclass, a session: the line that runs it says more.
                text = text or f"{path}:{frame.f_lineno}"
            elif kind == "application":
                where = f"{shown(path)}:{frame.f_lineno}"
                return Site(where, library or standard, not library and len(through) < 2)
            elif kind == "package":
                library = library or f"{_short(path)}:{frame.f_lineno}"
            elif kind == "standard":
                through.add(path)
                standard = standard or f"{_short(path)}:{frame.f_lineno}"
            frame = frame.f_back
        return Site(text, library or standard, bool(text) and not library and len(through) < 2)

    def site_of(self, line: tuple[str, int], by: tuple[str, int]) -> Site:
        """Of an import: the application's line that runs, and the line whose import it is."""
        kind = self.kind(by[0])
        library = f"{_short(by[0])}:{by[1]}" if kind in ("package", "standard") else ""
        return Site(f"{shown(line[0])}:{line[1]}", library, kind != "package")

    def of_code(self, function: object) -> str:
        """Where a function of the application is defined, "" for anybody else's."""
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        if code is None or self.kind(code.co_filename) != "application":
            return ""
        return f"{shown(code.co_filename)}:{code.co_firstlineno}"

    def modules(self) -> Iterator[tuple[dict[str, Any], str]]:
        """The variables of the application's modules, and their files."""
        for name, module in list(sys.modules.items()):
            # Lazy modules are imported, or raise, when they are asked for anything.
            if issubclass(type(module), ModuleType):
                names = object.__getattribute__(module, "__dict__")
                path = names.get("__file__")
                if type(path) is str and self.kind(path) == "application":
                    yield names, path
                elif name == "__main__" and not path:  # `python -c`, a session
                    yield names, ""

    def literals(self) -> set[object]:
        """The numbers and bytes that stand in the source of the application's modules."""
        paths = {path for _, path in self.modules() if path}
        nodes = itertools.chain.from_iterable(map(ast.walk, map(_tree, paths)))
        values = (node.value for node in nodes if isinstance(node, ast.Constant))
        return {value for value in values if isinstance(value, int | bytes)}


@functools.lru_cache(maxsize=1024)  # sysconfig takes 50 µs to tell its paths
def _short(path: str) -> str:
    """A library's file from its package on: "redis/connection.py"."""
    for place in _PACKAGES:
        if place in path:
            return path.rpartition(place)[2]
    paths = sysconfig.get_paths()
    for key in ("stdlib", "platstdlib"):
        path = path.removeprefix(paths[key] + os.sep)
    return path


# --- who holds it -----------------------------------------------------------------------


def holders(wanted: Iterable[object], origins: Origins) -> dict[int, Holder]:
    """By id: the variable of the application that is the fewest steps away from each.

    Goes forwards from the variables, by `gc.get_referents`: backwards, each step
    would look at the whole heap (30 ms for 60 MiB), and would first find lists and
    frames that nobody can make anything of.
    """
    missing = {id(it) for it in wanted}
    found: dict[int, Holder] = {}
    modules = list(origins.modules())
    own = {str(names.get("__name__")) for names, _ in modules}
    seen: set[int] = set()
    queue: deque[tuple[object, tuple[str, str, str, object], int]] = deque()
    for names, path in modules:
        for name, value in list(names.items()):
            queue.append((value, (str(names.get("__name__")), path, name, value), 0))
    while queue and missing and len(seen) < _MOST:
        it, start, depth = queue.popleft()
        # By `type`, not `isinstance`: proxies answer __class__ by calling who knows what.
        if id(it) in seen or issubclass(type(it), _PLAIN):
            continue
        seen.add(id(it))
        if id(it) in missing:
            missing.discard(id(it))
            found[id(it)] = _holder(*start, it)
        if depth < _DEPTH:
            with contextlib.suppress(Exception):  # what an object of theirs raises: not this way
                queue.extend((part, start, depth + 1) for part in _parts(it, own))
    return found


def _parts(it: object, own: set[str]) -> list[Any]:
    """What an object holds, and nothing that leads to everything."""
    kind: type = type(it)
    if kind is FunctionType:
        function = cast("FunctionType", it)
        return [function.__closure__, function.__defaults__, function.__kwdefaults__]
    if issubclass(kind, type):
        cls = cast("type", it)
        return list(vars(cls).values()) if cls.__module__ in own else []
    if issubclass(kind, _CONTAINERS) and len(cast("list[object]", it)) > _LARGE:
        return []
    if kind is threading.Condition:
        return [vars(it).get("_lock")]  # its waiters' locks are held because they wait
    if not gc.is_tracked(it):
        return []
    return [part for part in gc.get_referents(it) if part is not kind]


def _holder(module: str, path: str, name: str, value: object, it: object) -> Holder:
    line = assigned(path, name)
    if isinstance(value, type) and value.__module__ == module:
        # In the body of a class the line is that of the attribute.
        held = [key for key, own in vars(value).items() if own is it]
        line = next(filter(None, (assigned(path, key) for key in held)), line)
    kind = type(value)
    words = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    where = f"{shown(path)}:{line}" if line else shown(path)
    return Holder(f"{module}.{name}", where, words)


@functools.lru_cache(maxsize=64)
def _stores(path: str) -> dict[str, int]:
    """The first line of a file that binds each name: by assignment, `with`, `for`, `def`.

    `CLIENT = None` above the function that makes it is not where it was made.
    """
    lines: dict[str, int] = {}
    empty: dict[str, int] = {}
    tree = _tree(path)
    nothing = {id(name) for node in ast.walk(tree) for name in _set_to_none(node)}
    for node in ast.walk(tree):
        if id(node) in nothing and isinstance(node, ast.Name):
            empty.setdefault(node.id, node.lineno)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            lines[node.id] = min(node.lineno, lines.get(node.id, node.lineno))
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            lines.setdefault(node.name, node.lineno)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                empty.setdefault(alias.asname or alias.name, node.lineno)
    return empty | lines


def _tree(path: str) -> ast.Module:
    try:
        return ast.parse(read(path, _SOURCE) or b"")
    except (SyntaxError, ValueError, RecursionError):  # edited since it was imported
        return ast.Module([], [])


def _set_to_none(node: ast.AST) -> list[ast.expr]:
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else node
    if not isinstance(value, ast.Constant) or value.value is not None:
        return []
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []


def assigned(path: str, name: str) -> int:
    """The line of the file that first binds a name, 0 if none does."""
    return _stores(path).get(name, 0) if path else 0
