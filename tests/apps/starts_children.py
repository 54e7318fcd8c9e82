"""Starts other processes in every way that applications do."""

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import tornado.web

IGNORES_TERM = "import signal,time;signal.signal(signal.SIGTERM,signal.SIG_IGN);print('on',flush=True);time.sleep(3600)"


#: Says that TERM came, then ends.
POLITE = "trap 'echo once > $MARKS/term.$$; exit' TERM; echo on; sleep 3600 & wait"


def fork() -> int:
    """Once this has returned, the child has come out of its fork."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, b"!")
        time.sleep(3600)
        os._exit(0)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    return pid


def daemon(command: list[str]) -> int:
    """Its parent ends at once, as daemons do it: somebody else gets the child."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid:
            os.write(writer, b"%d" % pid)
            os._exit(0)
        if command:
            os.execvp(command[0], command)  # closes the pipe, which is what is waited for
        os.close(writer)
        time.sleep(3600)
        os._exit(0)
    os.wait()
    os.close(writer)
    with open(reader) as told:
        return int(told.read())


class Start(tornado.web.RequestHandler):
    def get(self, how: str) -> None:
        if how == "subprocess":
            pid = subprocess.Popen(["sleep", "3600"]).pid
        elif how == "stubborn":
            child = subprocess.Popen([sys.executable, "-c", IGNORES_TERM], stdout=subprocess.PIPE)
            child.stdout.readline()
            pid = child.pid
        elif how == "own-session":
            pid = subprocess.Popen(["sleep", "3600"], start_new_session=True).pid
        elif how == "shell":
            pid = subprocess.Popen("sleep 3600 & wait", shell=True).pid
        elif how == "polite":
            child = subprocess.Popen(["sh", "-c", POLITE], stdout=subprocess.PIPE)
            child.stdout.readline()
            pid = child.pid
        elif how == "fork":
            pid = fork()
        elif how == "fork-in-thread":
            with ThreadPoolExecutor(1) as pool:
                pid = pool.submit(fork).result()
        elif how == "daemon":
            pid = daemon(["sleep", "3600"])
        elif how == "forked-daemon":
            pid = daemon([])
        elif how == "multiprocessing":
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
            child.start()
            pid = child.pid
        self.write(str(pid))


class StartIn(Start):
    """Only in the worker that is meant; 0 in others."""

    def get(self, worker: str, how: str) -> None:
        if int(worker) == os.getpid():
            super().get(how)
        else:
            self.write("0")


class Pid(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(str(os.getpid()))


def make_app() -> tornado.web.Application:
    return tornado.web.Application(
        [("/", Pid), ("/start/(.*)", Start), ("/start-in/(.*)/(.*)", StartIn)]
    )
