"""TARGET as a user types it: what is found, and what an error says.

Each case runs in an interpreter of its own, because it imports, changes
`sys.path` and the working directory.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import leeward
from leeward.errors import TargetError
from leeward.naming import parse

ROOT = str(Path(leeward.__file__).parent.parent)
CODE = """
import json, sys
sys.path.insert(0, {root!r})
import leeward
del sys.path[0]
from leeward._core.config import Config
from leeward.adapters.target import load, prepare
from leeward.errors import TargetError
config = Config(target={target!r}, chdir={chdir!r}, args=("--flag",))
try:
    prepare(config)
    it = load(config)
    made = None
    if it.factory is not None and {call!r}:
        made = it.factory()
    print("\\0" + json.dumps(["found", it.kind, it.found, type(it.value).__name__, repr(made)]))
except TargetError as error:
    print("\\0" + json.dumps(["error", str(error)]))
"""
APP = "import tornado.web\napp = tornado.web.Application()\n"


@pytest.fixture
def load(tmp_path):
    """load(files, target) → what `load` found or said."""

    def run(files, target, call=False, chdir=None):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        code = CODE.format(root=ROOT, target=target, chdir=chdir or str(tmp_path), call=call)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, cwd="/"
        )
        assert "\0" in done.stdout, done.stderr
        return json.loads(done.stdout.rpartition("\0")[2])

    return run


def said(answer):
    """The text of an error, which keeps to 8 lines."""
    assert answer[0] == "error", answer
    assert answer[1].count("\n") < 8, answer[1]
    assert "importlib" not in answer[1] and "leeward/adapters" not in answer[1]
    return answer[1]


# --- found -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["app", "application"])
def test_a_bare_module_gives_its_application(load, name):
    """`chat` finds app and application by their names."""
    answer = load({"chat.py": APP.replace("app =", f"{name} =")}, "chat")
    assert answer[1:4] == ["Tornado application", f"{name} in chat", "Application"]


@pytest.mark.parametrize("name", ["make_app", "create_app"])
def test_a_bare_module_gives_its_factory(load, name):
    """`chat` finds make_app and create_app, and does not call them."""
    answer = load({"chat.py": f"def {name}(): raise SystemExit"}, "chat")
    assert answer[1:3] == ["factory", f"factory {name}() in chat"]


def test_a_submodule_called_app_is_no_application(load):
    """A package whose `app` is a module is asked for its `application`."""
    files = {"pkg/__init__.py": "from . import app\n" + APP.replace("app =", "application =")}
    answer = load({**files, "pkg/app.py": ""}, "pkg")
    assert answer[2] == "application in pkg"


def test_a_dotted_attribute_is_followed(load):
    """`pkg.mod:site.app` walks from attribute to attribute."""
    files = {"pkg/__init__.py": "", "pkg/mod.py": APP + "class site: app = app\n"}
    assert load(files, "pkg.mod:site.app")[2] == "site.app in pkg.mod"


def test_a_call_gets_its_literal_arguments(load):
    """`chat:make("dev", n=2)` is called with them, later."""
    files = {"chat.py": "def make(kind, n=1): return (kind, n)"}
    answer = load(files, 'chat:make("dev", n=2)', call=True)
    assert answer[2] == 'factory make("dev", n=2) in chat'
    assert answer[4] == "('dev', 2)"


def test_an_async_factory_is_a_factory(load):
    """`async def make_app()` is found and not awaited."""
    assert load({"chat.py": "async def make_app(): pass"}, "chat:make_app")[1] == "factory"


def test_a_file_is_imported_under_its_stem(load):
    """`web/chat.py` is the module `chat`: pickles work, its neighbours import, argv is set."""
    code = """
import pickle, sys, near
class Thing: pass
assert sys.modules[__name__].Thing is Thing and __name__ == "chat"
assert type(pickle.loads(pickle.dumps(Thing()))) is Thing
assert sys.argv == ["web/chat.py", "--flag"], sys.argv
import top
"""
    files = {"web/chat.py": code + APP, "web/near.py": "", "top.py": ""}
    assert load(files, "web/chat.py")[2] == "app in web/chat.py"


def test_a_file_with_a_dash_is_served(load):
    """`my-app.py:app` needs no module name that Python could spell."""
    assert load({"my-app.py": APP}, "my-app.py:app")[0] == "found"


def test_the_working_directory_comes_first(load):
    """A module of the application wins over one of the same name further down sys.path."""
    files = {"chat.py": "import tornado, sys; assert tornado.mine\ndef app(): pass"}
    assert load({**files, "tornado.py": "mine = True"}, "chat:app")[0] == "found"


def test_a_swapped_link_is_followed_once(load, tmp_path):
    """A process stays with the release that `current` meant when it started."""
    (tmp_path / "r1").mkdir()
    (tmp_path / "current").symlink_to("r1")
    code = "import sys\nassert sys.path[0].endswith('/r1'), sys.path\ndef app(): pass"
    answer = load({"r1/chat.py": code}, "chat", chdir=str(tmp_path / "current"))
    assert answer[0] == "found"


# --- refused ---------------------------------------------------------------------------


def test_a_missing_module_names_its_neighbour(load):
    """A typing error is answered by the nearest file and by --chdir."""
    text = said(load({"chat.py": ""}, "chta:app"))
    assert "no module 'chta'" in text and "did you mean chat?" in text and "--chdir" in text


def test_a_missing_file_names_its_neighbour(load):
    """The same for a file."""
    text = said(load({"chat.py": ""}, "chta.py"))
    assert "chta.py: no such file" in text and "did you mean chat.py?" in text


def test_a_missing_import_inside_is_told_apart(load):
    """The target is there; what it imports is not: file, line and interpreter are named."""
    text = said(load({"chat.py": "\nimport no_such_thing\n"}, "chat"))
    assert "chat.py:2 in <module>: import no_such_thing" in text
    assert "No module named 'no_such_thing'" in text and sys.executable in text


def test_a_missing_attribute_lists_what_is_there(load):
    """The nearest name, and the applications of the module."""
    text = said(load({"chat.py": APP + "def make_app(): pass"}, "chat:mke_app"))
    assert "chat has no 'mke_app'; did you mean make_app?" in text
    assert "chat:app" in text


def test_a_module_without_an_application_says_which_names_count(load):
    """None of the usual names: the candidates by type."""
    text = said(load({"chat.py": APP.replace("app =", "site =")}, "chat"))
    assert "make_app" in text and "write chat:site" in text


def test_what_is_suggested_for_a_file_can_be_typed(load):
    """Its path, as its directory need not be where modules are looked for."""
    text = said(load({"sub/chat.py": APP}, "sub/chat.py:nope"))
    assert "write sub/chat.py:app" in text


def test_a_package_that_is_a_program_says_how_it_is_run(load):
    files = {"shop/__init__.py": "", "shop/__main__.py": "raise SystemExit(1)\n"}
    text = said(load(files, "shop"))
    assert "what python -m shop runs: leeward serve shop/__main__.py" in text


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("app = 3", "of type int"),
        ("app = 'x'", "of type str"),
        ("class app: pass", "is a class, not an application\nTo call it: chat:app()"),
        ("async def f(): pass\napp = f()\napp.close()", "is a coroutine object"),
        ("async def app(scope, receive, send): pass", "is an ASGI application"),
        ("def app(environ, start_response): pass", "is a WSGI application"),
        ("def app(config): pass", "chat:app(config) cannot be called without arguments"),
        (
            "import tornado.web as w, tornado.httpserver as h\napp = h.HTTPServer(w.Application())",
            "HTTPServer, which would listen itself",
        ),
        ("import json as app", "is a module"),
    ],
)
def test_what_is_no_application_is_named_by_its_type(load, code, words):
    """Each with the type and what to do instead."""
    assert words in said(load({"chat.py": code}, "chat:app"))


def test_arguments_that_do_not_fit_are_refused_early(load):
    """Before any worker has been started for them."""
    text = said(load({"chat.py": "def app(a): pass"}, "chat:app(1, 2)"))
    assert "does not fit its parameters" in text


def test_an_exception_at_import_shows_the_applications_frames(load):
    """A deep stack keeps its first and last frames, the cause, and 8 lines."""
    deep = "def f(n):\n    return f(n - 1) if n else {}['key']\n"
    code = "import deep\ntry: deep.f(20)\nexcept KeyError as e:\n    raise ValueError('no') from e"
    text = said(load({"chat.py": code, "deep.py": deep}, "chat"))
    assert text.startswith("importing chat failed: ValueError: no\n  chat.py:4 in <module>")
    assert "because of KeyError: 'key'" in text


def test_many_frames_are_summed_up(load):
    """The outermost frame, a count, the innermost ones."""
    code = "def f(n):\n    return f(n - 1) if n else 1 / 0\nf(50)"
    text = said(load({"chat.py": code}, "chat"))
    assert "chat.py:3 in <module>: f(50)" in text and "… 49 frames …" in text


def test_a_library_that_raises_is_named_last(load):
    """The application's line first, then where in the library."""
    text = said(load({"chat.py": "import json\njson.loads('{')"}, "chat"))
    assert "chat.py:2 in <module>: json.loads('{')" in text and "raised in" in text


def test_an_exception_whose_text_raises_is_shown(load):
    """A broken __str__ does not break the report."""
    code = "class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E"
    assert "importing chat failed: chat.E" in said(load({"chat.py": code}, "chat"))


@pytest.mark.parametrize("code", ["x = (1,\n", "def f():\nx = 1", "x = 'a\n", "\u00e9 = = 2"])
def test_a_syntax_error_shows_its_line(load, code):
    """File and line, the text, a caret."""
    text = said(load({"chat.py": code}, "chat"))
    assert text.startswith("chat.py:") and "cannot be parsed" in text and "^" in text


def test_a_syntax_error_in_an_import_says_who_imports_it(load):
    """The guilty file first, then the way to it."""
    text = said(load({"chat.py": "import bad", "bad.py": "1 +"}, "chat"))
    assert text.startswith("bad.py:1 cannot be parsed") and "chat.py:1 in <module>" in text


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit(4)", "chat called sys.exit(4) while it was imported"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("class Odd(BaseException): pass\nraise Odd('x')", "chat.Odd: x"),
    ],
)
def test_whatever_is_raised_is_an_answer(load, code, words):
    """sys.exit, KeyboardInterrupt and strangers do not end the process."""
    text = said(load({"chat.py": code}, "chat"))
    assert words in text and "chat.py:" in text


def test_a_file_of_a_package_is_pointed_to_its_module(load):
    """A relative import in a file that was named as a file."""
    files = {"pkg/__init__.py": "", "pkg/mod.py": "from . import other"}
    assert "name it as package.module" in said(load(files, "pkg/mod.py"))


def test_a_file_that_hides_the_standard_library_is_refused(load):
    """`queue.py` would become everybody's queue."""
    assert "Rename queue.py" in said(load({"queue.py": APP}, "queue.py"))


@pytest.mark.parametrize(
    ("files", "target"),
    [
        ({"contextlib.py": APP}, "contextlib:app"),
        ({"contextlib.py": APP}, "contextlib"),
        ({"json/__init__.py": APP}, "json:app"),
    ],
)
def test_a_module_behind_one_that_was_loaded_before_is_told(load, files, target):
    """Not "logging has no 'app'", which is true of another file than was meant."""
    text, (name,) = said(load(files, target)), files
    assert f"hides {name}" in text and f"another name than {target.split(':')[0]}" in text


def test_a_missing_directory_is_named(load, tmp_path):
    """--chdir to nowhere."""
    text = said(load({}, "chat", chdir=str(tmp_path / "none")))
    assert "cannot enter" in text and "--chdir" in text


@pytest.mark.parametrize(
    "text",
    [
        *("", ":app", "chat:", "my-app:app", "a/b:app", "chat:1+1", "chat:f(x)", "chat:f(**{})"),
        *("chat:f()()", "chat:a[0]", "chat:(", "chat:\0"),
    ],
)
def test_nonsense_is_refused_before_anything_is_imported(text):
    """A TargetError, never another exception."""
    with pytest.raises(TargetError):
        parse(text)
