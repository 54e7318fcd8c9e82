"""Tells who it is: when it was imported, made, and asked."""

import json
import os
import signal
import subprocess

import tornado.web


def who() -> dict:
    status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return {
        "uids": os.getresuid(),
        "gids": os.getresgid(),
        "groups": sorted(os.getgroups()),
        "home": os.environ.get("HOME"),
        "user": os.environ.get("USER"),
        "capabilities": status["CapEff"].strip(),
        "proc": os.stat("/proc/self/fd").st_uid,
    }


AT_IMPORT = who()


class Who(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(json.dumps({"import": AT_IMPORT, "now": who(), "pid": os.getpid()}))


class Leave(tornado.web.RequestHandler):
    """Starts a program that ignores TERM and outlives its worker."""

    def get(self) -> None:
        child = subprocess.Popen(
            ["sleep", "300"], preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)
        )
        self.write(json.dumps({"pid": os.getpid(), "child": child.pid}))


def make_app() -> tornado.web.Application:
    return tornado.web.Application([("/", Who), ("/leave", Leave)], log_function=lambda _: None)
