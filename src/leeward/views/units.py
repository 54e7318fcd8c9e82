"""Numbers as a tired person reads them."""

from __future__ import annotations


def span(seconds: float | None) -> str:
    """How long: 250ms, 12s, 4m05s, 3h20m, 12d04h."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def size(count: int | None) -> str:
    """Bytes: 812K, 25M, 1.3G."""
    if count is None:
        return "-"
    if count < 1024 * 1024:
        return f"{count // 1024}K"
    if count < 1024**3:
        return f"{count / 1024**2:.0f}M"
    return f"{count / 1024**3:.1f}G"


def cpu(seconds: float | None) -> str:
    """CPU time: 0.4s, 12s, 4m05s."""
    if seconds is None:
        return "-"
    return f"{seconds:.1f}s" if seconds < 10 else span(seconds)


def number(count: int | None) -> str:
    return "-" if count is None else str(count)


def plural(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")
