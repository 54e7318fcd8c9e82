"""The kernel's one door: every system call of leeward is made in here.

Each module knows one thing of Linux and decides nothing.  Nothing in here
imports asyncio, logging, multiprocessing or ssl, and only `prctl` loads ctypes,
inside its functions.
"""
