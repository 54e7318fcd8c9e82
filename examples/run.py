#!/usr/bin/env python3
"""Install leeward from this clone into a virtual environment and run an example.

    python3 examples/run.py chat                 on every core, at 127.0.0.1:8000
    python3 examples/run.py chat -w 2 -b :9000   anything after the name goes to `leeward serve`
    python3 examples/run.py wrong_start          the same client against plain Tornado and leeward

Needs nothing but Python 3.11 or newer with its `venv` (Debian: python3-venv).
The environment is `.venv` in the clone, the same one that `make setup` makes; it
is made on the first run and kept.  This file is read by interpreters that may be
too old, so it keeps to what Python 3.6 understands.
"""

import argparse
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WANTED = (3, 11)
CANDIDATES = ("python3.13", "python3.12", "python3.11", "python3")
#: What each example serves, from the root of the clone.
EXAMPLES = {
    "chat": "examples/chat/chat.py:make_app",
    "resources": "examples/resources/counter.py:make_app",
}
#: Those that show something and end: exit code 0 if it is as it should be.
SHOWS = {
    "wrong_start": "examples/wrong_start/client.py",
    "full_and_stuck": "examples/full_and_stuck/client.py",
    "vanishing_clients": "examples/vanishing_clients/client.py",
    "fork_side_effects": "examples/fork_side_effects/client.py",
}


def find_python(asked):
    """The path of an interpreter that is new enough, or leave with what to install.

    Each candidate is run, not only looked up: a pyenv shim exists for versions
    that are not switched on, and answers only with an error.
    """
    for name in (asked,) if asked else CANDIDATES:
        path = shutil.which(name)
        if path is None:
            continue
        probe = f"import sys; print(sys.executable, sys.version_info >= {WANTED!r})"
        answer = subprocess.run(
            [path, "-c", probe], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
        executable, _, new_enough = answer.stdout.decode().strip().rpartition(" ")
        if new_enough == "True":
            return executable
    sys.exit(
        "leeward needs Python 3.11 or newer and found none as {}.\n"
        "On Debian 12 and later: apt-get install python3 python3-venv".format(
            asked or ", ".join(CANDIDATES)
        )
    )


def make_venv(venv, asked=None):
    """Make the virtual environment at `venv` unless a working one is there."""
    inside = os.path.join(venv, "bin", "python")
    if os.path.exists(inside) and not subprocess.call([inside, "-c", "import pip"]):
        return
    python = find_python(asked)
    # Debian ships `venv` without `ensurepip`: said here in one line, because
    # venv's own words come after it has left half an environment behind.
    if subprocess.call([python, "-c", "import ensurepip"], stderr=subprocess.DEVNULL):
        sys.exit(f"{python} has no ensurepip.\nOn Debian: apt-get install python3-venv")
    print(f"making {venv} with {python}", flush=True)
    subprocess.check_call([python, "-m", "venv", "--clear", venv])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "name", nargs="?", choices=sorted([*EXAMPLES, *SHOWS]), help="the example to run"
    )
    parser.add_argument("--venv", default=os.path.join(ROOT, ".venv"))
    parser.add_argument("--python", help="the interpreter that makes the environment")
    parser.add_argument("--make-venv", metavar="DIR", help="only make an environment at DIR")
    options, flags = parser.parse_known_args()
    if options.make_venv:
        make_venv(options.make_venv, options.python)
        return
    if not options.name:
        parser.error("which example? one of: " + ", ".join(sorted([*EXAMPLES, *SHOWS])))
    make_venv(options.venv, options.python)
    leeward = os.path.join(os.path.abspath(options.venv), "bin", "leeward")
    if not os.path.exists(leeward):
        pip = [os.path.join(options.venv, "bin", "python"), "-m", "pip", "install", "--quiet"]
        print("installing leeward into " + options.venv, flush=True)
        subprocess.check_call([*pip, "--editable", ROOT])
    if options.name in SHOWS:
        python = os.path.join(os.path.abspath(options.venv), "bin", "python")
        os.execv(python, [python, os.path.join(ROOT, SHOWS[options.name]), *flags])
    if not any(flag == "-w" or flag.startswith("--workers") for flag in flags):
        flags = ["--workers", "auto", *flags]
    os.chdir(ROOT)
    os.execv(leeward, [leeward, "serve", EXAMPLES[options.name], *flags])


if __name__ == "__main__":
    main()
