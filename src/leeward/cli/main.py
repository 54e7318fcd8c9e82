"""Leeward runs a Python network service on every core, and keeps it calm.

  leeward serve chat:make_app --workers auto

Exit codes: 0 done · 1 a bug in leeward · 2 usage or configuration · 3 the
application failed to load · 4 an address cannot be had · 5 crash loop · 6 no
such instance.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from leeward.cli import output
from leeward.errors import TYPED, LeewardError, UsageError, shortened

F = TypeVar("F", bound=Callable[..., Any])

#: In the order in which a person meets them.  Each is a module of this package
#: with a `command`, imported when it is asked for.
VERBS = (
    *(
        "serve",
        "check",
        "ps",
        "conns",
        "logs",
        "reload",
        "rollback",
        "recycle",
        "drain",
        "scale",
        "stop",
    ),
    *("kill", "set", "config"),
)

#: A disk is full, or may not be written to.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
#: The system has no more to give: descriptors, memory, processes.  EFBIG: `ulimit -f`, which
#: holds for memfds too.
_NO_MORE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EFBIG})


class Option(click.Option):
    """Its help stands as it is: click dedents it with `inspect`, a fifth of a verb's time."""

    def __init__(self, *words: Any, help: str = "", **settings: Any) -> None:
        super().__init__(*words, **settings)
        self.help = help


def option(*words: str, **settings: Any) -> Callable[[F], F]:
    """`click.option` that makes one of ours."""
    return click.option(*words, cls=Option, **settings)


def _say_help(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    """Click's own ends by exit code 1 where the reader has left."""
    if value and not ctx.resilient_parsing:
        output.say(ctx.get_help())
        ctx.exit()


#: One for all: click compares it with what was given by its identity.
_HELP = Option(
    ["--help"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_help,
    help="Show this message and exit.",
)


class Verb(click.Command):
    """A command whose module docstring is its manual page, printed as it stands."""

    #: An unset variable of a shell script shall not make "all" of "these".
    refuses_empty = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Raises `UsageError` too, for what was given and is empty."""
        rest = super().parse_args(ctx, args)
        for it in self.params if self.refuses_empty else ():
            given = ctx.get_parameter_source(str(it.name)) is ParameterSource.COMMANDLINE
            if given and ctx.params[str(it.name)] == "":
                word = it.opts[0] if isinstance(it, click.Option) else str(it.name).upper()
                raise UsageError(f"{word} is empty", "give it a value, or leave it out")
        return rest

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write("\n")
        for line in (self.help or "").strip().splitlines():
            formatter.write(f"  {line}".rstrip() + "\n")

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return _HELP

    def get_short_help_str(self, limit: int = 45) -> str:
        return (self.help or "").strip().split("\n")[0].rstrip(".")


class Leeward(click.Group):
    """The verbs, each loaded when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = import_module(f"leeward.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in VERBS and not name.startswith("-"):
            from leeward.cli.values import nearest

            if ":" in name or name.endswith(".py"):
                raise UsageError(f"{name!r} is no command", f"leeward serve {' '.join(args)}")
            raise UsageError(f"{name!r} is no command{nearest(name, VERBS)}", "leeward --help")
        return super().resolve_command(ctx, args)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        Verb.format_help_text(self, ctx, formatter)  # type: ignore[arg-type]

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return _HELP


def name_argument(function: Any) -> Any:
    """NAME of a running instance: as an argument or as --name; "" when neither is given."""
    function = click.argument("name", required=False, default="")(function)
    return option("--name", "named", metavar="NAME", default="", help="The same as NAME.")(function)


def chosen(name: str, named: str) -> str:
    """The one name that was given.  Raises `UsageError` for two different ones."""
    if name and named and name != named:
        raise UsageError(f"NAME is {name!r} and --name is {named!r}: which one?")
    return name or named


def slot_of(word: str) -> int:
    """The number of a slot.  Raises `UsageError`."""
    # int() takes other scripts' digits too, and raises a bare ValueError beyond 4300 of them.
    if not (word.isascii() and word.isdecimal() and len(word) < 10):
        raise UsageError(f"expected the number of a slot such as 0, found {word!r}")
    return int(word)


@click.command(cls=Leeward, help=__doc__, invoke_without_command=True, no_args_is_help=False)
@option("--version", is_flag=True, help="Version of leeward and of Python.")
@click.pass_context
def cli(ctx: click.Context, version: bool) -> None:
    if version:
        import leeward

        python = ".".join(map(str, sys.version_info[:3]))
        output.say(f"leeward {leeward.__version__} (Python {python})")
    elif ctx.invoked_subcommand is None:
        output.say(ctx.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line; returns its exit code.  The one place that prints errors."""
    output.open_standard_streams()
    try:
        code = cli.main(
            args=list(sys.argv[1:] if argv is None else argv),
            prog_name="leeward",
            standalone_mode=False,
        )
    except LeewardError as error:
        output.complain(str(error))
        return error.exit_code
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        ctx = getattr(error, "ctx", None)
        output.complain(f"{spoken(error)}\n{ctx.command_path if ctx else 'leeward'} --help")
        return UsageError.exit_code
    except (click.Abort, KeyboardInterrupt):
        output.complain("interrupted")
        return 130
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            where = f"{error.filename}: " if error.filename else ""
            output.complain(f"{where}{error.strerror}")
            return 1
        if isinstance(error, OSError) and error.errno in _NO_MORE:
            output.complain(f"cannot start: {error.strerror}\nSee what is allowed: ulimit -a")
            return 1
        if isinstance(error, OSError) and error.errno == errno.E2BIG:
            # Whose it is cannot be told here: the shell's, --env-file's, or ARGS.
            output.complain(
                "the environment is too large to start a process with "
                f"({error.strerror})\nSee which variables are long: env | wc -c; ulimit -s"
            )
            return UsageError.exit_code
        import traceback

        output.complain(f"this is a bug in leeward, please report it\n{traceback.format_exc()}")
        return 1
    return code if isinstance(code, int) else 0


def spoken(error: click.ClickException) -> str:
    """Click's complaint in our words: the guilty flag and a suggestion."""
    if isinstance(error, click.NoSuchOption):
        from leeward.cli.values import nearest

        options = error.possibilities or []
        name = shortened(error.option_name, TYPED)
        return f"no such option: {name}" + nearest(error.option_name, options)
    words = shortened(error.format_message().rstrip("."), TYPED)
    return words[:1].lower() + words[1:]
