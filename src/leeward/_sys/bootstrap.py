"""The one command line by which every leeward process is started."""

from __future__ import annotations

import os
from collections.abc import Sequence

from leeward._core.config import Config
from leeward._sys import procfs

#: Makes `leeward` importable from argv[1] and nothing else of that directory.
#:
#: The directory is on `sys.path` only while the package itself is imported: its
#: submodules are found through `leeward.__path__`.  What does not work: leaving
#: it there (it is a site-packages: an `asyncio.py` or `selectors.py` in it would
#: shadow the standard library under -I -S), and `python -m leeward` (the working
#: directory comes first, where the application has a `queue.py`).
BOOTSTRAP = """\
import sys
sys.path[:] = [entry for entry in sys.path if entry]
sys.path.insert(0, sys.argv[1])
import leeward
del sys.path[0]
from leeward._boot import main
main()
"""


def command(interpreter: Config | Sequence[str], root: str, role: str, *args: object) -> list[str]:
    """argv of a process that plays `role`; the first entry is the path to execute.

    interpreter:  executable and the user's flags, or the `Config` that holds them.
    root:         absolute path of the directory that holds the `leeward` package.
    role:         "supervisor" or "collector" (bare: -I -S), "zygote", "worker" or "resolve".
    args:         what the role needs, a descriptor number first.
    """
    words = interpreter.interpreter if isinstance(interpreter, Config) else interpreter
    bare = ["-I", "-S"] if role in ("supervisor", "collector") else []
    return [*words, *bare, "-c", BOOTSTRAP, root, role, *map(str, args)]


def environ_as_given() -> dict[str, str]:
    """This process's environment as whoever started it meant it, for the application to have.

    Where the locale is C, Python writes LC_CTYPE=C.UTF-8 into its own (PEP 538): a child of it
    is no more in the C locale, and so not in UTF-8 mode (PEP 540), as the application alone
    would be; and the supervisor, which runs isolated, does so in spite of PYTHONCOERCECLOCALE=0.
    """
    environ = dict(os.environ)
    given = procfs.environ_of(os.getpid())
    if given and "LC_CTYPE" not in given:
        environ.pop("LC_CTYPE", None)
    return environ
