"""The settings of each generation: as they were resolved, and as `leeward set` has them now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from leeward._core import tuning
from leeward._core.config import Config


class Configs:
    """By the number of the generation; what is read is in force, what is written is resolved."""

    def __init__(self) -> None:
        #: What was set while running.  It outlives every reload, and no restart.
        self.overrides: dict[str, Any] = {}
        self._resolved: dict[int, Config] = {}
        self._in_force: dict[int, Config] = {}

    def __getitem__(self, number: int) -> Config:
        return self._in_force[number]

    def __setitem__(self, number: int, config: Config) -> None:
        self._resolved[number] = config
        self._in_force[number] = self.in_force(config)

    def __delitem__(self, number: int) -> None:
        del self._resolved[number], self._in_force[number]

    def __iter__(self) -> Iterator[int]:
        return iter(tuple(self._resolved))

    def resolved(self, number: int) -> Config:
        return self._resolved[number]

    def in_force(self, config: Config) -> Config:
        """What `config` comes to with what was set while running."""
        return tuning.tuned(config, self.overrides)

    def change(self, changes: tuning.Overrides) -> None:
        """changes:  as `tuning.parse` returns them."""
        self.overrides = tuning.merged(self.overrides, changes)
        for number, config in self._resolved.items():
            self._in_force[number] = self.in_force(config)
