"""leeward.cli.layers: flags, variables and files, and who is named when one of them is wrong."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from leeward.cli import layers, toml
from leeward.errors import UsageError


def test_a_flag_that_was_not_given_is_not_in_its_layer() -> None:
    layer = layers.flag_layer({"workers": "4", "bind": (), "name": None, "no_wait": False})
    assert {key: value.value for key, value in layer.items()} == {"workers": 4}
    assert layer["workers"].origin == "flag --workers"


def test_a_bad_flag_is_named() -> None:
    with pytest.raises(UsageError, match="^--graceful-timeout: expected a duration"):
        layers.flag_layer({"graceful_timeout": "soon"})


def test_variables_are_settings_and_an_empty_one_is_not_set() -> None:
    layer = layers.environment_layer(
        {"LEEWARD_WORKERS": "3", "LEEWARD_NAME": "", "LEEWARD_DRAIN_WINDOW": "5s", "PATH": "/bin"}
    )
    assert {key: value.value for key, value in layer.items()} == {"workers": 3, "drain_window": 5.0}
    assert layer["workers"].origin == "environment LEEWARD_WORKERS"


def test_web_concurrency_counts_where_our_own_variable_is_silent() -> None:
    layer = layers.environment_layer({"WEB_CONCURRENCY": "5"})
    assert layer["workers"].value == 5
    layer = layers.environment_layer({"WEB_CONCURRENCY": "5", "LEEWARD_WORKERS": "2"})
    assert layer["workers"].value == 2
    with pytest.raises(UsageError, match="^WEB_CONCURRENCY: expected"):
        layers.environment_layer({"WEB_CONCURRENCY": "lots"})


def test_what_a_worker_carries_is_no_setting() -> None:
    environ = {"LEEWARD_SLOT": "1", "LEEWARD_GENERATION": "2", "LEEWARD_INSTANCE": "/x.sock:1"}
    assert layers.environment_layer(environ) == {}


def test_a_kubernetes_service_called_leeward_breaks_nothing() -> None:
    environ = {
        "LEEWARD_SERVICE_HOST": "10.0.0.1",
        "LEEWARD_SERVICE_PORT": "80",
        "LEEWARD_SERVICE_PORT_HTTP": "80",
        "LEEWARD_PORT": "tcp://10.0.0.1:80",
        "LEEWARD_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "LEEWARD_PORT_8000_TCP_PROTO": "tcp",
        "LEEWARD_PORT_8000_TCP_PORT": "8000",
        "LEEWARD_PORT_8000_TCP_ADDR": "10.0.0.1",
        "LEEWARD_CHAT_SERVICE_HOST": "10.0.0.2",
        "LEEWARD_CHAT_PORT": "tcp://10.0.0.2:80",
    }
    assert layers.environment_layer(environ) == {}
    assert layers.environment_layer({"LEEWARD_PORT": "9000"})["port"].value == 9000


def test_an_unknown_variable_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match='LEEWARD_WORKES: .*did you mean "LEEWARD_WORKERS"'):
        layers.environment_layer({"LEEWARD_WORKES": "3"})
    with pytest.raises(
        UsageError, match="LEEWARD_ZZZ: no setting is called so\nleeward serve --help"
    ):
        layers.environment_layer({"LEEWARD_ZZZ": "3"})


def test_leeward_toml_wins_over_pyproject_which_counts_only_with_our_table(tmp_path: Path) -> None:
    assert layers.find_file(None, str(tmp_path), []) == ("", ())
    project = tmp_path / "pyproject.toml"
    project.write_text("[tool.other]\n")
    assert layers.find_file(None, str(tmp_path), []) == ("", ())
    project.write_text("[tool\n")
    assert layers.find_file(None, str(tmp_path), []) == ("", ())
    project.write_text("[tool]\nleeward = { workers = 2 }\n")
    assert layers.find_file(None, str(tmp_path), []) == (str(project), ("tool", "leeward"))
    own = tmp_path / "leeward.toml"
    own.write_text("")
    assert layers.find_file(None, str(tmp_path), []) == (str(own), ())
    named = layers.Value(str(project), "flag --config")
    assert layers.find_file(named, str(tmp_path), []) == (str(project), ("tool", "leeward"))
    with pytest.raises(UsageError, match=r"--config .*gone\.toml: no such file"):
        gone = layers.Value(str(tmp_path / "gone.toml"), "flag --config")
        layers.find_file(gone, str(tmp_path), [])


def from_file(tmp_path: Path, text: str, *table: str) -> layers.Layer:
    path = tmp_path / "leeward.toml"
    path.write_text(text)
    return layers.file_layer(str(path), table, "leeward.toml")


def test_keys_of_a_file_take_dashes_or_underscores_and_know_their_line(tmp_path: Path) -> None:
    layer = from_file(
        tmp_path,
        '# one\ngraceful-timeout = "10s"\n\ndrain_window = 2\nbind = [\n "127.0.0.1:0"\n]\n'
        'env-file = "app.env"\nworkers = "auto"\n',
    )
    assert {key: value.value for key, value in layer.items()} == {
        "graceful_timeout": 10.0,
        "drain_window": 2.0,
        "bind": ("127.0.0.1:0",),
        "env_file": str(tmp_path / "app.env"),
        "workers": 0,
    }
    assert layer["drain_window"].origin == "leeward.toml:4"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "\nworkes = 2\n",
            r"leeward\.toml:2: no setting is called 'workes'; did you mean \"workers\"",
        ),
        (
            "\n\nzzzzzz = 2\n",
            r"leeward\.toml:3: no setting is called 'zzzzzz'\nleeward serve --help",
        ),
        ("#\nworkers = true\n", r"leeward\.toml:2: workers: expected 1 to"),
        ('"start" = "frok"\n', r"leeward\.toml:1: start: expected auto, zygote or spawn"),
        ('config = "x"\n', r"leeward\.toml:1: no setting is called 'config'"),
        ("[workers]\nx = 1\n", r"leeward\.toml:1: workers: expected"),
        ("drain-window = 1\ndrain_window = 2\n", r"leeward\.toml:2: drain-window stands twice"),
        ("a = 1\nb =\n", r"leeward\.toml:2: not TOML: Invalid value \(column 4\)"),
        ("a = [1,", r"leeward\.toml.*not TOML"),
    ],
)
def test_a_fault_in_a_file_is_named_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"^{words}"):
        from_file(tmp_path, text)


def test_faults_in_pyproject_are_found_in_our_table_only(tmp_path: Path) -> None:
    text = "[tool.other]\nworkes = 1\n[tool.leeward]\nworkers = 2\n[tool.leeward.x]\n"
    with pytest.raises(UsageError, match=r"leeward\.toml:5: no setting is called 'x'"):
        from_file(tmp_path, text, "tool", "leeward")
    with pytest.raises(UsageError, match=r"\[tool\.leeward\] is not a table"):
        from_file(tmp_path, "[tool]\nleeward = 1\n", "tool", "leeward")
    with pytest.raises(UsageError, match=r"^leeward\.toml:2: \[tool\] is not a table"):
        from_file(tmp_path, "#\ntool = 5\n", "tool", "leeward")


LONG = "9" * 5000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#\nworkers = " + "[" * 5000 + "]" * 5000, r"2: brackets within brackets"),
        ('x = """[[\n"""\ny = \'[\'#[\nz = ' + "{a=" * 3000, r"4: brackets within brackets"),
        (
            f"a = '{LONG}9'\n#{LONG}9\nworkers = {LONG}\n",
            r"3: expected a whole number that 64 bits",
        ),
        ("\nworkers = 0x" + "f" * 5000, r"2: workers: expected no number beyond 64 bits"),
        ("bind = [1, 0x" + "f" * 5000 + "]", r"1: bind: expected no number beyond 64 bits"),
        ("host = 'a'\nbind.x = 1", r"2: bind: "),
        ("host = 'a'\n[bind.x]\ny = 1", r"2: bind: "),
        ("host = 'a'\nuser" + ".a" * 11000 + " = 1", r"2: user: "),
        ("\nmax-body = 10000000000000000000000000", r"2: max-body: expected a size"),
        ("min-body-rate = " + "9" * 400, r"1: min-body-rate: expected a size"),
        ("max-body = 9223372036854775808", r"1: max-body: expected a size"),
    ],
)
def test_numbers_and_brackets_that_python_cannot_take_are_named_with_their_line(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(UsageError, match=rf"^leeward\.toml:{words}"):
        from_file(tmp_path, text)


@pytest.mark.parametrize("shape", ["[|1|]", "{a=|1|}"])
def test_brackets_are_either_read_or_refused_however_many(tmp_path: Path, shape: str) -> None:
    """The walk for the lines needs less of the stack than what has read the document."""
    opens, value, closes = shape.split("|")
    for depth in range(100, 1000, 3):
        text = f"x = {opens * depth}{value}{closes * depth}\n"
        with pytest.raises(UsageError, match=r"^leeward\.toml:1: (brackets|no setting)"):
            from_file(tmp_path, text)


@pytest.mark.parametrize(
    "words",
    [
        b"tool = 5\n",
        b"tool = true\n",
        b"tool = 'leeward'\n",
        b"a = " + b"[" * 5000 + b"]" * 5000,
        b"a = " + LONG.encode(),
        b"a = '\xff'\n",
        b"#" * (1 << 20) + b"\n",
    ],
)
def test_a_pyproject_that_does_not_speak_of_us_is_not_our_complaint(
    tmp_path: Path, words: bytes
) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_bytes(words)
    assert layers.find_file(None, str(tmp_path), []) == ("", ())
    if not words.startswith(b"tool"):
        project.write_bytes(b"[tool.leeward]\n" + words)
        assert layers.find_file(None, str(tmp_path), [])[0] == str(project)
        with pytest.raises(UsageError, match=r"^pyproject\.toml(:2)?: "):
            layers.file_layer(str(project), ("tool", "leeward"), "pyproject.toml")


def test_a_pyproject_that_may_not_be_read_is_told_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: object, **more: object) -> object:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "pyproject.toml").touch()
    notes: list[str] = []
    monkeypatch.setattr("builtins.open", refused)  # root may read everything
    assert layers.find_file(None, str(tmp_path), notes) == ("", ())
    assert notes == [f"{tmp_path}/pyproject.toml is not read: Permission denied"]


def test_a_file_is_bounded_and_read_in_a_time_that_grows_with_it_alone(tmp_path: Path) -> None:
    """Counted, as time is not to be trusted: each newline is looked at once, not once for a key."""

    class Counting(str):
        counted = 0

        def count(self, what: str, start: int = 0, end: int = 0) -> int:  # type: ignore[override]
            Counting.counted += end - start
            return super().count(what, start, end)

    text = Counting("".join(f"k{number} = 1\n" for number in range(1000)))
    walk = toml._Walk(text)
    walk.document()
    assert walk.lines["k999",] == 1000
    assert 0 < Counting.counted <= len(text)
    with pytest.raises(UsageError, match=r"^leeward\.toml: more than 1 MiB"):
        from_file(tmp_path, "#" * (1 << 20) + "\n")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="^x: is no regular file"):
        layers.file_layer(str(tmp_path), (), "x")
    (tmp_path / "bad.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(UsageError, match=r"^x:1: not UTF-8"):
        layers.file_layer(str(tmp_path / "bad.toml"), (), "x")


def test_a_settings_file_that_is_no_file_is_told(tmp_path: Path) -> None:
    """A link that leads nowhere, say: without it a reload would undo every setting."""
    (tmp_path / "leeward.toml").symlink_to("gone")
    with pytest.raises(UsageError, match=r"leeward\.toml is not a file: ls -l"):
        layers.find_file(None, str(tmp_path), [])
