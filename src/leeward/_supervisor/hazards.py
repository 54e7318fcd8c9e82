"""What is said of an audit: two lines for each hazard, by how much it matters.

In a room of its own, which is entered only if something was found.
"""

from __future__ import annotations

from leeward._core.config import Config
from leeward._core.hazards import WARNED, Hazard, level, two_lines, verdict
from leeward._core.messages import Loaded


def told(message: Loaded, config: Config) -> tuple[list[tuple[str, str]], str]:
    """[(level, lines)], and why it may be forked unless `message.hazards` says otherwise."""
    said: list[tuple[str, str]] = []
    warned = 0
    for text in message.findings:
        hazard = Hazard.from_json(text)
        found = verdict(hazard, config.hazards, config.start)
        warned += found == WARNED
        said.append((level(found), two_lines(hazard, found)))
    if message.more:
        said.append(("warning", f"and {message.more} hazards more"))
    hazards = "a hazard" if warned == 1 else f"{warned} hazards"
    return said, f"in spite of {hazards}" if warned else "safe to fork"
