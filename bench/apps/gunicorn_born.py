"""gunicorn's settings: count the births of workers that were loaded before the fork."""

from __future__ import annotations

from typing import Any


def post_fork(server: Any, worker: Any) -> None:
    from light import born

    born()
