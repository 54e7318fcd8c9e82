"""The same modules under tornado.process.fork_processes: python bare.py MODULE PROCESSES CALLS"""

import importlib
import mmap
import os
import sys
import time

from tornado.process import fork_processes

module = importlib.import_module(sys.argv[1])
processes, calls = map(int, sys.argv[2:])
up = mmap.mmap(-1, processes)
me = fork_processes(processes, max_restarts=0)
if hasattr(module, "begin"):
    module.begin()
up[me] = 1
while 0 in up[:]:  # all of them at once, or there is nothing to mix up
    time.sleep(0.001)
answers = []
for number in range(calls):
    try:
        answers.append(module.work(f"{me}-{number}"))
    except Exception as error:
        answers.append(f"lost: {type(error).__name__}")
    if answers[-1].startswith(("lost", "hung", "crossed")):
        break
os.write(1, " ".join(dict.fromkeys(answers)).encode() + b"\n")
os._exit(0)
