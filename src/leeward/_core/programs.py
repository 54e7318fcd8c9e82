"""Is a file an application to be imported, or a program that serves by itself?

Told by its text: to find out by running it would open its port.  The command line
asks once and writes the answer into `Config.kind`, so that no two processes judge
differently.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from leeward._core.record import Record

#: Looked for, in this order, where TARGET names no attribute.
USUAL = ("app", "application", "make_app", "create_app")

#: Methods and functions by which a Tornado program opens its port or forks; the port is the
#: first argument of `listen` and `bind`, which others have methods of, too.
_OPENS = frozenset({"bind_sockets", "add_sockets", "add_socket", "fork_processes"})
#: Keywords of Tornado's own `bind`.
_BIND = frozenset({"port", "address", "family", "backlog", "flags", "reuse_port"})
_RUNS = frozenset({"run_forever", "run_until_complete", "run_sync"})
#: What a loop is called whose `start()` a program calls: `loop`, `self.io_loop`, `main_loop`;
#: a `refresh_loop` is somebody's PeriodicCallback.
_LOOP = re.compile(r"_*(?:main_?)?(?:io_?)?loop", re.IGNORECASE)
#: A loop that one of these runs may end by itself: beside an application it is no service,
#: unless the file opens a port too.
_MAY_END = frozenset({"run_until_complete", "run_sync", "run"})
#: What the last line of a program calls, as of `ServerApp.launch_instance()`.
_LAUNCH = re.compile(r"(?:main|run|cli|serve|start|launch)(?:_|$)")


class Look(Record):
    """What the text of a file shows.

    usual:   the first of `USUAL` that importing the file would define, or "".
    serves:  "listen() in line 12", the first call by which it would serve; or "".
    at_once: merely importing the file would run that call.
    runs:    "its last line, 12": what makes it a program where the call stands in another file.
    broken:  it is no Python; whoever loads it will say why.
    """

    usual: str = ""
    serves: str = ""
    at_once: bool = False
    runs: str = ""
    broken: bool = False

    @property
    def is_program(self) -> bool:
        return bool(self.serves and self.at_once) or bool(
            not self.usual and (self.serves or self.runs)
        )


def look(source: bytes | str) -> Look:
    """What `source` shows."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return Look(broken=True)
    names = set(_names(tree.body))
    usual = next((name for name in USUAL if name in names), "")
    calls = [call for node in tree.body for call in _serving(node)]
    if not calls:
        return Look(usual, runs=_runs(tree.body))
    first = min(calls, key=lambda call: call.lineno)
    serves = f"{_called(first)}() in line {first.lineno}"
    if usual and all(_called(call) in _MAY_END for call in calls):
        return Look(usual, serves)
    functions = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(_serving(node))
    }
    at_once = any(_serves_now(node, functions) for node in _unguarded(tree.body))
    return Look(usual, serves, at_once)


# --- what importing would define ----------------------------------------------------------


def _names(body: list[ast.stmt]) -> Iterator[str]:
    for node in _unguarded(body):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from (it.id for it in ast.walk(target) if isinstance(it, ast.Name))
        elif isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.decorator_list or not _needs_arguments(node.args):
                yield node.name
        elif isinstance(node, ast.ImportFrom):
            yield from (name.asname or name.name for name in node.names)


def _needs_arguments(args: ast.arguments) -> bool:
    positional = len(args.posonlyargs) + len(args.args) - len(args.defaults)
    return positional > 0 or None in args.kw_defaults


def _unguarded(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that importing executes, those in `if`, `try` and `with` included."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            if not _is_main_guard(node.test):
                yield from _unguarded(node.body)
            yield from _unguarded(node.orelse)
        elif isinstance(node, ast.Try):
            for part in (node.body, node.orelse, node.finalbody):
                yield from _unguarded(part)
            for handler in node.handlers:
                yield from _unguarded(handler.body)
        elif isinstance(node, ast.With | ast.For | ast.While):
            yield from _unguarded(node.body)


def _is_main_guard(test: ast.expr) -> bool:
    return any(isinstance(it, ast.Name) and it.id == "__name__" for it in ast.walk(test))


# --- a program, whoever serves for it ------------------------------------------------------


def _runs(body: list[ast.stmt]) -> str:
    """What of it is for the one who runs the file, and nobody who imports it.

    Nothing where an `import *` may bring an application.
    """
    brought = [it for node in body if isinstance(node, ast.ImportFrom) for it in node.names]
    if any(it.name == "*" for it in brought):
        return ""
    for node in body:
        if isinstance(node, ast.If) and _is_main_guard(node.test) and _calls(node.body):
            return f'its `if __name__ == "__main__"` in line {node.lineno}'
    if body and _is_launch(body[-1]):
        return f"its last line, {body[-1].lineno}"
    return ""


def _calls(body: list[ast.stmt]) -> bool:
    return any(isinstance(it, ast.Call) for node in body for it in ast.walk(node))


def _is_launch(node: ast.stmt) -> bool:
    """`main()`, `sys.exit(main())`, `raise SystemExit(main())`."""
    value = node.exc if isinstance(node, ast.Raise) else getattr(node, "value", None)
    if not isinstance(value, ast.Call):
        return False
    name = _called(value)
    if name in ("exit", "SystemExit"):
        return _calls([ast.Expr(it) for it in value.args])
    return isinstance(node, ast.Expr) and _LAUNCH.match(name) is not None


# --- by what it would serve ----------------------------------------------------------------


def _serving(node: ast.AST) -> Iterator[ast.Call]:
    """The calls below `node` by which a program serves."""
    for each in ast.walk(node):
        if isinstance(each, ast.Call) and _is_serving(each):
            yield each


def _serves_now(node: ast.stmt, functions: set[str]) -> bool:
    """Does a plain statement serve by itself, or by one of `functions`, which do?"""
    if not isinstance(node, ast.Expr | ast.Assign):
        return False
    calls = [it for it in ast.walk(node) if isinstance(it, ast.Call)]
    return any(
        _is_serving(call) or (isinstance(call.func, ast.Name) and call.func.id in functions)
        for call in calls
    )


def _is_serving(call: ast.Call) -> bool:
    name = _called(call)
    if name in _OPENS or name in _RUNS:
        return True
    if name in ("listen", "bind"):
        return _gives_a_port(call, name)
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    if name == "run":
        return isinstance(owner, ast.Name) and owner.id in ("asyncio", "uvloop")
    # IOLoop.current().start(), ioloop.IOLoop.instance().start(), server.io_loop.start()
    return name == "start" and owner is not None and _is_loop(owner)


def _is_loop(owner: ast.expr) -> bool:
    name: str = getattr(owner, "attr", "") or getattr(owner, "id", "")
    return "IOLoop" in ast.dump(owner) or _LOOP.fullmatch(name) is not None


def _gives_a_port(call: ast.Call, name: str) -> bool:
    """By position or by `port=`.

    Of the same names are structlog's and loguru's `bind(service=...)`, SQLAlchemy's
    `listen(engine, "connect", f)`, `inspect.Signature.bind(*args, **kwargs)`, zmq's and
    tkinter's `bind("...")`.
    """
    keywords = {it.arg for it in call.keywords}
    if not call.args:
        if name == "bind":
            return "port" in keywords <= _BIND
        return not keywords.isdisjoint(("port", None))
    first = call.args[0]
    if isinstance(first, ast.Starred):
        return name == "listen"
    if name == "bind" and not keywords <= _BIND:
        return False
    if len(call.args) > 2 and not _says_port(first):
        return False
    return _may_be_port(first)


def _may_be_port(node: ast.expr) -> bool:
    """Or a raw socket's ("", 80)?  Only what is something else for certain is none."""
    if isinstance(node, ast.Constant):
        return type(node.value) is int or (isinstance(node.value, str) and node.value.isdigit())
    if isinstance(node, ast.Name):
        is_class = node.id[:1].isupper() and not node.id.isupper()
        return not is_class and node.id not in ("self", "cls")
    texts_and_collections = ast.JoinedStr | ast.List | ast.Dict | ast.Set | ast.ListComp
    return not isinstance(node, texts_and_collections | ast.Lambda)


def _says_port(node: ast.expr) -> bool:
    """A number, or something with "port" in its names: of three arguments more is asked."""
    if isinstance(node, ast.Constant):
        return True
    words = ast.dump(node).lower()
    return "port" in words or "id='int'" in words


def _called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""
