"""TARGET, the string by which a user names the application, taken apart.

    module   module:attr   module:attr.sub   module:factory()   module:factory("dev", n=2)
    path/file.py           path/file.py:attr …

Nothing is imported or opened here.
"""

from __future__ import annotations

import os
from keyword import iskeyword
from typing import Any

from leeward._core.record import Record, field
from leeward.errors import TargetError

FORMS = "Write module:attr, module:factory, module:factory() or file.py:attr"


class Target(Record):
    """module: dotted name, or the path of a file if `is_file`; attribute: "" if not named."""

    text: str
    module: str
    is_file: bool
    attribute: str = ""
    called: bool = False
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


def package_of(path: str) -> tuple[str, str]:
    """Of the `__main__.py` of a package its dotted name, and the directory that it is found in.

    ("", the file's directory) for any other file: only this one is never run but as
    ``python -m package``, and its relative imports say so.
    """
    folder, name = os.path.split(os.path.abspath(path))
    inside: list[str] = []
    if name == "__main__.py":
        while os.path.isfile(os.path.join(folder, "__init__.py")):
            folder, last = os.path.split(folder)
            inside.insert(0, last)
    return ".".join(inside), folder


def parse(text: str) -> Target:
    """Raises TargetError that says which part is wrong and what was expected."""
    # A path may hold a colon, an argument too: the file's suffix decides first.
    head, suffix, tail = text.partition(".py:")
    if suffix:
        module, attribute = head + ".py", tail
    elif text.endswith(".py"):
        module, attribute = text, ""
    else:
        module, _, attribute = text.partition(":")
    is_file = module.endswith(".py")
    if not module or (text.endswith(":") and not attribute):
        raise TargetError(f"{text!r} does not name an application", FORMS)
    if not is_file and not all(part.isidentifier() for part in module.split(".")):
        hint = f"{module}.py, if that is the file" if "/" not in module else "path/to/file.py:attr"
        raise TargetError(f"{module!r} is no module name", f"{FORMS}; here {hint}")
    if not attribute:
        return Target(text, module, is_file)
    return _attribute(text, module, is_file, attribute)


def _is_name(word: str) -> bool:
    return word.isidentifier() and not iskeyword(word)


def _attribute(text: str, module: str, is_file: bool, attribute: str) -> Target:
    if attribute.isascii() and all(map(_is_name, attribute.split("."))):
        return Target(text, module, is_file, attribute)
    import ast  # 6 ms, and most have no need of it

    try:
        node = ast.parse(attribute.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise TargetError(f"{attribute!r} in {text!r} is no name and no call", FORMS) from None
    called, args, kwargs = False, (), {}
    if isinstance(node, ast.Call):
        called = True
        try:
            args = tuple(ast.literal_eval(argument) for argument in node.args)
            if any(word.arg is None for word in node.keywords):
                raise ValueError("**")
            kwargs = {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}
        except (ValueError, TypeError, SyntaxError):
            raise TargetError(
                f"the arguments in {attribute!r} must be literals: strings, numbers, tuples …",
                "Write a function without arguments for the rest and name that",
            ) from None
        node = node.func
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise TargetError(f"{attribute!r} in {text!r} is no name and no call", FORMS)
    path = ".".join([node.id, *reversed(names)])
    return Target(text, module, is_file, path, called, args, kwargs)
