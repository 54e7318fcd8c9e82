"""`python -m leeward`: the command line."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        # The directory that `-m` puts first is the application's: its `types.py`
        # or `select.py` must not become ours, imported lazily later on.
        del sys.path[0]
    from leeward.cli.main import main

    sys.exit(main())
