"""The slot stands in a file's name where one would look for it."""

from __future__ import annotations

import pytest

from leeward._core.slots import with_slot


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/var/log/app.log", "/var/log/app.w2.log"),
        ("/var/log/app.json.log", "/var/log/app.json.w2.log"),
        ("/var/log.d/app", "/var/log.d/app.w2"),
        ("app.log", "app.w2.log"),
        ("/var/log/.app", "/var/log/.app.w2"),
    ],
)
def test_before_the_last_extension(path: str, named: str) -> None:
    """And at the end where there is none; directories do not count."""
    assert with_slot(path, 2) == named
