"""What one test has done to the loggers, the next does not see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engine.sides import loud


@pytest.fixture(autouse=True, scope="module")
def _loggers_as_they_were() -> Iterator[None]:
    yield
    loud()
