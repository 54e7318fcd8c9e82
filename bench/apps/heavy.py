"""The same application, grown up: it imports numpy and pandas and uses them."""

from __future__ import annotations

import os

import light
import numpy as np
import pandas as pd
from light import asgi, make_app, plain_app

__all__ = ["asgi", "make_app", "plain_app"]

_TABLE = pd.DataFrame({"key": np.arange(1000) % 7, "value": np.arange(1000.0)})


def work() -> str:
    total = _TABLE.groupby("key")["value"].sum().iloc[3]
    return f"{os.getpid()} {total}"


light.work = work
