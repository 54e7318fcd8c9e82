"""--user and --group: from names to the numbers that a child becomes."""

from __future__ import annotations

import grp
import os
import pwd

from leeward._core.record import Record
from leeward.cli.layers import Value
from leeward.cli.values import nearest, quoted
from leeward.errors import UsageError

#: The greatest uid and gid; the one above means "leave it as it is" to setresuid(2).
MOST = 2**32 - 2


class Account(Record):
    """uid, gid:  -1 for the one that we have already.  groups: all that it is in.

    env:  HOME, USER and LOGNAME of whom we become; the caller's would mislead.
    """

    uid: int = -1
    gid: int = -1
    groups: tuple[int, ...] = ()
    env: tuple[tuple[str, str], ...] = ()


def account(user: Value, group: Value) -> Account:
    """Whom to become.  Raises UsageError: unknown, incomplete, or not allowed."""
    if not user.value and not group.value:
        return Account()
    entry, uid = _user(user) if user.value else (None, -1)
    gid = _group(group) if group.value else -1
    if entry is not None and gid == -1:
        gid = entry.pw_gid
    if gid == -1:
        raise UsageError(
            f"{user.origin}: user {uid} is not in the password file, so it has no group",
            f"--user {uid} --group GROUP",
        )
    if os.geteuid() != 0:
        _check_it_is_us(user, group, uid, gid)
        return Account()
    if entry is None:
        return Account(uid, gid, (gid,))
    env = (("HOME", entry.pw_dir), ("USER", entry.pw_name), ("LOGNAME", entry.pw_name))
    return Account(uid, gid, tuple(sorted(os.getgrouplist(entry.pw_name, gid))), env)


def _user(user: Value) -> tuple[pwd.struct_passwd | None, int]:
    try:
        if (number := _number(user)) is not None:
            return pwd.getpwuid(number), number
        entry = pwd.getpwnam(user.value)
    except KeyError:
        if number is not None:
            return None, number  # containers run as numbers without a name
        hint = nearest(user.value, [each.pw_name for each in pwd.getpwall()])
        raise UsageError(
            f"{user.origin}: there is no user {quoted(user.value)}{hint}",
            f"useradd --system {user.value} makes one",
        ) from None
    return entry, entry.pw_uid


def _group(group: Value) -> int:
    if (number := _number(group)) is not None:
        return number
    try:
        return grp.getgrnam(group.value).gr_gid
    except KeyError:
        hint = nearest(group.value, [each.gr_name for each in grp.getgrall()])
        raise UsageError(f"{group.origin}: there is no group {quoted(group.value)}{hint}") from None


def _number(who: Value) -> int | None:
    """A uid or gid written as a number; None for a name."""
    if not (who.value.isascii() and who.value.isdigit()):
        return None
    if len(who.value) > 10 or int(who.value) > MOST:
        raise UsageError(f"{who.origin}: expected a name or 0 to {MOST}, found {quoted(who.value)}")
    return int(who.value)


def _check_it_is_us(user: Value, group: Value, uid: int, gid: int) -> None:
    """Without root's right nothing can change; harmless where nothing has to."""
    if uid not in (-1, os.geteuid()):
        raise UsageError(
            f"{user.origin}: only root can become another user, this is user {os.geteuid()}",
            f"sudo leeward serve …, or without --user: sudo -u {user.value} leeward serve …",
        )
    if group.value and gid != os.getegid():
        raise UsageError(
            f"{group.origin}: only root can change the group, this is group {os.getegid()}",
            f"sudo leeward serve …, or without --group: sg {group.value} -c 'leeward serve …'",
        )
