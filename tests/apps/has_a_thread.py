"""A thread runs before any fork: forking would leave it behind."""

import threading
import time

from hello import make_app  # noqa: F401

threading.Thread(target=time.sleep, args=(3600,), name="metrics", daemon=True).start()
