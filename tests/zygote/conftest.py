"""Plays the supervisor for one zygote: a real process, a channel, a page, a listener."""

import contextlib
import os
import select
import signal
import socket
import sys
from pathlib import Path

import pytest

import leeward
from leeward._core.config import Config
from leeward._core.messages import Begin, Descriptor, Fork, Forked, NotForked, Watched
from leeward._sys import bootstrap, prctl, procfs
from leeward._sys.channel import Channel
from leeward._sys.page import Page

ROOT = str(Path(leeward.__file__).parent.parent)
TIMEOUT = 20.0


class Played:
    """One process (a zygote, or a spawned worker) and what it was given."""

    def __init__(self, directory, target, role="zygote", env=None, flags=(), **settings):
        self.channel, theirs = Channel.pair()
        self.page = Page.create()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.log = Path(directory) / f"log-{os.urandom(4).hex()}"
        self.generation = 3
        self.config = Config(
            target=target,
            chdir=str(directory),
            interpreter=(sys.executable, *flags),
            root=ROOT,
            **settings,
        )
        command = bootstrap.command(self.config, ROOT, role, theirs.fileno(), os.getpid())
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        log = os.open(self.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        self.pid = os.posix_spawn(
            command[0],
            command,
            {**environ, **(env or {})},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), theirs.fileno()),
            ],
            setsid=True,
            setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGPIPE],
        )
        os.close(log)
        theirs.close()
        self.pids = [self.pid]
        self.reaped = {}
        self.workers = {}

    def begin(self, baseline=(), rehearse=False):
        self.channel.send(
            Begin(
                config=self.config.to_json(),
                generation=self.generation,
                supervisor=os.getpid(),
                page=Descriptor(self.page.fd),
                listeners=(Descriptor(self.listener.fileno()),),
                addresses=("127.0.0.1:0",),
                baseline=baseline,
                rehearse=rehearse,
            )
        )
        return self

    def says(self, timeout=TIMEOUT):
        while isinstance(message := self.channel.wait(timeout), Watched):
            os.close(message.stack)
        assert message is not None, f"silent; its log:\n{self.log.read_text()}"
        return message

    def fork(self, worker=1, slot=0):
        """The zygote's answer and the channel of the worker."""
        ours, theirs = Channel.pair()
        self.channel.send(Fork(worker, slot, 1, slot, (Descriptor(theirs.fileno()),)))
        theirs.close()
        answer = self.says()
        assert isinstance(answer, Forked | NotForked), answer
        if isinstance(answer, Forked):
            self.pids.append(answer.pid)
        self.workers[worker] = ours
        return answer, ours

    def ask(self, path="/"):
        with socket.create_connection(self.listener.getsockname(), TIMEOUT) as client:
            client.sendall(
                b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode()
            )
            answer = b""
            while part := client.recv(65536):
                answer += part
        return answer.partition(b"\r\n\r\n")[2].decode()

    def ends(self, pid=None, timeout=TIMEOUT):
        """Wait status of our child `pid`."""
        pid = pid or self.pid
        if pid not in self.reaped:
            pidfd = os.pidfd_open(pid)
            try:
                poll = select.poll()
                poll.register(pidfd, select.POLLIN)
                assert poll.poll(timeout * 1000), f"{pid} lives; its log:\n{self.log.read_text()}"
            finally:
                os.close(pidfd)
            self.reaped[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return self.reaped[pid]

    def spares(self):
        """The pids of those that are not reaped; adopted by us, as a supervisor adopts them."""
        name = f"spare {self.pid}"
        return [it for it in procfs.children_of(os.getpid()) if procfs.comm(it) == name]

    def close(self):
        for pid in dict.fromkeys([*self.pids, *self.spares()]):
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                if pid not in self.reaped:
                    os.kill(pid, signal.SIGKILL)
                    self.ends(pid)
        for channel in (self.channel, *self.workers.values()):
            channel.close()
        self.page.close()
        self.listener.close()


@pytest.fixture
def play(tmp_path):
    """Start a zygote or a spawned worker on an application whose code is given."""
    was = prctl.get_child_subreaper()
    prctl.set_child_subreaper(True)
    played = []

    def start(code, target="chat:make_app", **more):
        (tmp_path / "chat.py").write_text(code)
        played.append(Played(tmp_path, target, **more))
        return played[-1]

    yield start
    for it in played:
        it.close()
    prctl.set_child_subreaper(was)
