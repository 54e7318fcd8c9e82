"""The name of a spare: what is written is read back, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from leeward._core import spares

# Linux keeps 15 bytes of a process's name (TASK_COMM_LEN, with the closing zero), and has no
# pid above 2**22 (PID_MAX_LIMIT).
KEPT, LAST_PID = 15, 2**22


@pytest.mark.parametrize("zygote", [1, 4711, LAST_PID])
def test_a_spare_names_its_zygote(zygote: int) -> None:
    assert spares.zygote_of(spares.name(zygote)) == zygote


def test_the_kernel_keeps_all_of_the_name() -> None:
    assert len(spares.name(LAST_PID).encode()) <= KEPT


@pytest.mark.parametrize(
    "comm", [None, "", "spare", "spare ", "spare x", "spare 1x", "spare -1", "a spare 1", "zygote"]
)
def test_who_is_called_otherwise_is_no_spare(comm: str | None) -> None:
    assert spares.zygote_of(comm) is None
