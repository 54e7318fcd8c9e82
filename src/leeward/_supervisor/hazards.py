"""What is said of an audit: two lines for each hazard, by how much it matters.

In a room of its own, which is entered only if something was found.
"""

from __future__ import annotations

import contextlib

from leeward._core.config import Config
from leeward._core.hazards import CODES, MOST, WARNED, Hazard, level, two_lines, verdict
from leeward._core.messages import Loaded
from leeward._core.record import asdict


def readable(findings: tuple[str, ...]) -> list[Hazard]:
    """Those of them that are what `Loaded` says; the code that they come from is not ours."""
    found = []
    for text in findings[:MOST]:
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            hazard = Hazard.from_json(text)
            if hazard.code in CODES and all(isinstance(it, str) for it in asdict(hazard).values()):
                found.append(hazard)
    return found


def told(
    message: Loaded, findings: list[Hazard], config: Config
) -> tuple[list[tuple[str, str]], str]:
    """[(level, lines)], and why it may be forked unless `message.hazards` says otherwise."""
    said: list[tuple[str, str]] = []
    warned = 0
    for hazard in findings:
        found = verdict(hazard, config.hazards, config.start)
        warned += found == WARNED
        said.append((level(found), two_lines(hazard, found)))
    if unread := len(message.findings) - len(findings):
        said.append(("error", f"{unread} hazards cannot be read"))
    if message.more:
        said.append(("warning", f"and {message.more} hazards more"))
    hazards = "a hazard" if warned == 1 else f"{warned} hazards"
    return said, f"in spite of {hazards}" if warned else "safe to fork"
