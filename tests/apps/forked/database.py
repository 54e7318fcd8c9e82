"""A database that is written at import, and by each process as it starts."""

import os
import sqlite3

PATIENCE = float(os.environ.get("PATIENCE", "20"))
DATABASE = sqlite3.connect(os.environ["DATABASE"], timeout=PATIENCE)  # LW113
DATABASE.execute("INSERT INTO starts VALUES ('import')")


def begin():
    DATABASE.execute("INSERT INTO starts VALUES (?)", [str(os.getpid())])
    DATABASE.commit()


def work(word):
    found = DATABASE.execute("SELECT count(*) FROM starts WHERE who = ?", [str(os.getpid())])
    return "right" if found.fetchone() == (1,) else "lost"
