"""leeward.cli.settings: the table is complete, and fits the rest of the house."""

from __future__ import annotations

from leeward._core.config import NEEDS_RESTART, Config
from leeward.cli import values
from leeward.cli.settings import TABLE


def test_every_setting_says_what_it_is_for_and_why_its_default_is_so() -> None:
    for setting in TABLE:
        assert setting.doc.endswith((".", "?")), setting.key
        assert setting.precedent, setting.key
        assert bool(setting.metavar) is (setting.parse is not values.switch), setting.key


def test_no_key_flag_or_variable_stands_twice() -> None:
    for names in (
        [setting.key for setting in TABLE],
        [flag for setting in TABLE for flag in setting.flags],
        [setting.env for setting in TABLE] + [s.also_env for s in TABLE if s.also_env],
    ):
        assert len(names) == len(set(names))


def test_every_default_is_a_value_that_its_own_parser_takes_back() -> None:
    for setting in TABLE:
        if setting.default in ("", 0o666):
            continue
        assert setting.parse(setting.default) == setting.default, setting.key


def test_the_flag_is_the_key_with_dashes() -> None:
    for setting in TABLE:
        if setting.flags:
            assert setting.flag == f"--{setting.toml}"


def test_settings_and_config_agree_on_names_and_defaults() -> None:
    of_config = {"target": "", **Config.DEFAULTS}
    derived = {"host", "port", "uds", "config", "env_file"}
    for setting in TABLE:
        if setting.key in derived:
            continue
        assert setting.key in of_config, setting.key
        # A tenth of none; and what a server has of its own, whose default is Tornado's.
        theirs = ("max_requests_jitter", "max_body", "max_header", "decompress")
        if setting.key not in ("target", "name", *theirs):
            assert of_config[setting.key] == setting.default, setting.key


def test_what_needs_a_restart_is_marked_so() -> None:
    marked = {setting.key for setting in TABLE if setting.needs_restart}
    assert marked == {*NEEDS_RESTART, "host", "port", "uds"}
