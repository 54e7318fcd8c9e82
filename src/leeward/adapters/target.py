"""From TARGET to an application: make the process ready for it, import it, look at it.

Used where the application is imported: in the zygote, and in each worker of an
instance that spawns.  A factory is found here and called later, in the worker,
with its loop running.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from leeward._core.config import Config
from leeward._core.programs import USUAL
from leeward._core.record import Record
from leeward.adapters import blame
from leeward.adapters.fingerprints import changed_since, fingerprints
from leeward.errors import TargetError
from leeward.naming import FORMS, Target, package_of, parse

__all__ = ["Application", "changed_since", "fingerprints", "load", "prepare"]

KIND, FACTORY = "Tornado application", "factory"


class Application(Record):
    """What was found.

    kind:     "Tornado application"; "factory" as long as nobody called it.
    found:    "factory make_app() in chat.py", for people.
    value:    the object itself, or the factory as the module has it.
    factory:  to be called without arguments in the worker, may give an
              awaitable; None if `value` is the application.
    """

    kind: str
    found: str
    value: object
    factory: Callable[[], Any] | None = None


def prepare(config: Config) -> None:
    """Working directory, `sys.path` and `sys.argv` as the application expects them.

    The directory is entered by the path that was typed and put on `sys.path` by
    the path that it turned out to have: a process that imports something late
    stays with its release when a ``current`` link is swapped under it.
    Raises TargetError.
    """
    if config.chdir:
        try:
            os.chdir(config.chdir)
        except OSError as error:
            raise TargetError(
                f"cannot enter {config.chdir}: {error.strerror}", "Set the directory: --chdir DIR"
            ) from None
    here = os.getcwd()
    target = parse(config.target)
    first = [here]
    if target.is_file:
        _, folder = package_of(os.path.join(here, target.module))
        first = [folder] if folder == here else [folder, here]
    sys.path[:] = [*first, *(entry for entry in sys.path if entry not in first)]
    sys.argv = [config.target, *config.args]


def load(config: Config) -> Application:
    """Import TARGET and find the application in it.  Call `prepare` first.

    Raises TargetError in at most 8 lines; KeyboardInterrupt and SystemExit of the
    application are such errors too.
    """
    target = parse(config.target)
    try:
        module = _file(target) if target.is_file else importlib.import_module(target.module)
    except TargetError:
        raise
    except BaseException as error:
        raise _import_failed(target, error) from None
    try:
        return _found(target, module)
    except TargetError:
        raise
    except Exception as error:  # a module's __getattr__, a property, a strange signature
        raise blame.tell(error, f"looking at {target.text}") from None


# --- importing -------------------------------------------------------------------------


def _file(target: Target) -> ModuleType:
    """Import a file under its stem and leave it in `sys.modules`, so that pickles work."""
    path = os.path.abspath(target.module)
    folder, name = os.path.split(path)
    stem = name.removesuffix(".py")
    if not os.path.isfile(path):
        near = _near(name, _names(folder))
        raise TargetError(f"{target.module}: no such file in {os.getcwd()}{near}", _CHDIR)
    loaded = sys.modules.get(stem)
    if stem in sys.stdlib_module_names or loaded is not None:
        other = getattr(loaded, "__file__", None) or "the standard library"
        raise TargetError(
            f"{target.module} would hide the module {stem!r} of {other}", f"Rename {name}"
        )
    spec = importlib.util.spec_from_file_location(stem, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{target.module} is no Python file", FORMS)
    module = importlib.util.module_from_spec(spec)
    sys.modules[stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(stem, None)
        raise
    return sys.modules.get(stem, module)


_CHDIR = "Is the directory right? Set it with --chdir DIR"


def _import_failed(target: Target, error: BaseException) -> TargetError:
    if isinstance(error, ModuleNotFoundError) and not blame.frames(error.__traceback__):
        missing = error.name or target.module
        if target.module == missing or target.module.startswith(f"{missing}."):
            return _not_found(target, missing)
        if missing.startswith(f"{target.module}."):
            return TargetError(str(error), _CHDIR)
    what = f"importing {target.module}"
    if isinstance(error, SystemExit):
        lines = [f"{target.module} called sys.exit({error.code!r}) while it was imported"]
        return TargetError(
            "\n".join([*lines, *blame.frames(error.__traceback__)]),
            'Put what only a program does under: if __name__ == "__main__":',
        )
    remedy = ""
    if isinstance(error, ImportError) and "no known parent package" in str(error):
        remedy = "The file belongs to a package: name it as package.module"
    return blame.tell(error, what, remedy)


def _not_found(target: Target, missing: str) -> TargetError:
    parent, _, last = missing.rpartition(".")
    folder = os.path.join(os.getcwd(), *parent.split(".")) if parent else os.getcwd()
    near = _near(last, [name.removesuffix(".py") for name in _names(folder)])
    return TargetError(f"there is no module {missing!r} in {os.getcwd()} or sys.path{near}", _CHDIR)


def _names(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))[:1000]
    except OSError:
        return []
    packages = [n for n in names if os.path.isfile(os.path.join(folder, n, "__init__.py"))]
    return [name for name in names if name.endswith(".py")] + packages


def _near(word: str, names: list[str]) -> str:
    match = difflib.get_close_matches(word, names, 1, 0.5)
    return f"; did you mean {match[0]}?" if match else ""


# --- looking ---------------------------------------------------------------------------


def _found(target: Target, module: ModuleType) -> Application:
    where = target.module
    if not target.attribute:
        return _usual(target, module)
    value: Any = module
    for name in target.attribute.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            if value is module:
                _hidden(target, module)
            owner = where if value is module else type(value).__name__
            near = _near(name, [n for n in dir(value) if not n.startswith("__")])
            raise TargetError(
                f"{owner} has no {name!r}{near}", _candidates(target, module)
            ) from None
    if target.called:
        return _called(target, value)
    return _judge(target, value, target.attribute)


def _usual(target: Target, module: ModuleType) -> Application:
    for name in USUAL:
        value = getattr(module, name, None)
        if value is None or isinstance(value, ModuleType):
            continue  # a package's submodule `app` is no application
        return _judge(target, value, name)
    _hidden(target, module)
    program = "; a program of its own: --kind script" if target.is_file else ""
    for folder in getattr(module, "__path__", ()):
        main = os.path.join(folder, "__main__.py")
        if os.path.isfile(main):
            program = f"; what python -m {target.module} runs: leeward serve {blame.shown(main)}"
    raise TargetError(
        f"{target.module} has none of {', '.join(USUAL)}: which is the application?",
        _candidates(target, module) + program,
    )


def _hidden(target: Target, module: ModuleType) -> None:
    """Raises TargetError if what was meant stands here, behind a module that was loaded before."""
    top = target.module.partition(".")[0]
    here = os.path.join(os.getcwd(), top)
    found = getattr(sys.modules.get(top, module), "__file__", None) or "the interpreter"
    if target.is_file or os.path.dirname(found) in (os.getcwd(), here):
        return
    for path in (f"{here}.py", os.path.join(here, "__init__.py")):
        if os.path.isfile(path):
            raise TargetError(
                f"{target.module} is found in {found}, which hides {blame.shown(path)}",
                f"Give yours another name than {top}",
            )


def _candidates(target: Target, module: ModuleType) -> str:
    """ "It has chat:make_server, …": what could be meant, applications first."""
    name = module.__name__
    names = [key for key, value in vars(module).items() if _is_application(value)]
    names += [
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == name and "app" in key.lower()
    ]
    if not names:
        return f"{FORMS}, a function that returns a tornado.web.Application"
    return "It has " + ", ".join(dict.fromkeys(names[:6])) + f": write {target.module}:{names[0]}"


def _is_application(value: object) -> bool:
    # Without importing Tornado: who has not imported it has no object of it.
    util, server = sys.modules.get("tornado.httputil"), sys.modules.get("tornado.httpserver")
    if util is None or not isinstance(value, util.HTTPServerConnectionDelegate):
        return False
    return server is None or not isinstance(value, server.HTTPServer)


def _judge(target: Target, value: Any, name: str) -> Application:
    """The application that `value` is or will make.  Raises TargetError if neither."""
    what = f"{target.module}:{name}"
    if _is_application(value):
        return Application(KIND, f"{name} in {target.module}", value)
    server = sys.modules.get("tornado.httpserver")
    if server is not None and isinstance(value, server.HTTPServer):
        raise TargetError(
            f"{what} is a tornado.httpserver.HTTPServer, which would listen itself",
            "Name the application that it was made with",
        )
    if isinstance(value, type):
        raise TargetError(f"{what} is a class, not an application", f"To call it: {what}()")
    if inspect.iscoroutine(value):
        raise TargetError(f"{what} is a coroutine object", "Name the async function itself")
    if not callable(value):
        kind = "a module" if isinstance(value, ModuleType) else f"of type {type(value).__name__}"
        raise TargetError(
            f"{what} is {kind}, expected a tornado.web.Application or a function that makes one",
            "" if target.attribute else FORMS,
        )
    _takes_nothing(what, value)
    return Application(FACTORY, f"factory {name}() in {target.module}", value, value)


def _takes_nothing(what: str, value: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(value)
    except (ValueError, TypeError):
        return  # a builtin that does not tell: the call will
    try:
        signature.bind()
    except TypeError:
        names = list(signature.parameters)
        if names[:3] == ["scope", "receive", "send"]:
            raise TargetError(f"{what} is an ASGI application: not served yet") from None
        if names[:2] == ["environ", "start_response"] or hasattr(value, "wsgi_app"):
            raise TargetError(
                f"{what} is a WSGI application",
                "Wrap it: tornado.web.FallbackHandler with tornado.wsgi.WSGIContainer",
            ) from None
        raise TargetError(
            f"{what}{signature} cannot be called without arguments",
            f"Write them, literals only: {what}(…), or name a function without any",
        ) from None


def _called(target: Target, value: Any) -> Application:
    what = f"{target.module}:{target.attribute}"
    if not callable(value):
        raise TargetError(f"{what} is of type {type(value).__name__} and cannot be called")
    try:
        inspect.signature(value).bind(*target.args, **target.kwargs)
    except TypeError as error:
        raise TargetError(f"{target.text} does not fit its parameters: {error}") from None
    except ValueError:
        pass  # a builtin that does not tell: the call will
    call = target.text[target.text.index(target.attribute) :]
    factory = functools.partial(value, *target.args, **target.kwargs)
    return Application(FACTORY, f"factory {call} in {target.module}", value, factory)
