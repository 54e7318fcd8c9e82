"""Starts other processes in every way that applications do."""

import multiprocessing
import os
import subprocess
import sys
import time

import tornado.web

IGNORES_TERM = "import signal,time;signal.signal(signal.SIGTERM,signal.SIG_IGN);print('on',flush=True);time.sleep(3600)"


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
        elif how == "fork":
            pid = os.fork()
            if pid == 0:
                time.sleep(3600)
                os._exit(0)
        elif how == "multiprocessing":
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
            child.start()
            pid = child.pid
        self.write(str(pid))


class Pid(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(str(os.getpid()))


def make_app() -> tornado.web.Application:
    return tornado.web.Application([("/", Pid), ("/start/(.*)", Start)])
