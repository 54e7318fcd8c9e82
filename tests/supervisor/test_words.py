"""What a worker or a zygote says is not believed further than it can be: its code is not ours."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from leeward._core import commands as c
from leeward._core import messages as m
from leeward._core.config import Config
from leeward._core.generation import Limits
from leeward._core.hazards import Hazard
from leeward._core.record import replace
from leeward._core.roster import Death, Process
from leeward._core.supervisor import Supervisor
from leeward._core.worker import State
from leeward._supervisor import stacks
from leeward._supervisor.children import Children
from leeward._supervisor.guard import Guard
from leeward._supervisor.loop import Loop
from leeward._supervisor.processes import Processes
from leeward._supervisor.report import Facts
from leeward._supervisor.rings import Rings
from leeward._supervisor.say import Voice
from leeward._sys.channel import Channel
from leeward._sys.page import Page
from leeward._sys.posix import POSIX, memfd_create


class Said(Voice):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__("pretty", "info", -1)
        self.lines: list[str] = []

    def say(self, text: str, level: str = "info", **identity: object) -> None:
        self.lines.append(text)


class Stage:
    """Real `Processes` with real children, which tests give words to.

    signals:  (pid, number) of each that was sent, a group's pid negative.
    """

    def __init__(self) -> None:
        self.voice = Said()
        self.signals: list[tuple[int, int]] = []
        posix = replace(POSIX, kill=self._kill, killpg=lambda pid, n: self._kill(-pid, n))
        self.loop = Loop(Guard(self.voice, time.monotonic))
        self.page = Page.create()
        config = Config(target="chat:app")
        children = Children(posix, {}, "/c.sock")
        rings = Rings(children, self.loop, posix, self.voice, lambda: config)
        self.core = Supervisor(workers=2)
        self.core.offer(limits=Limits(), start="zygote", may_change_mode=False, workers=2)
        self.core.generations[1].mode = "zygote"
        self.processes = Processes(
            self.core, posix, self.loop, children, self.page, (), self.voice, rings
        )
        self.processes.configs[1] = config
        self.processes.facts[1] = Facts()
        self.born: list[subprocess.Popen[bytes]] = []
        self.channels: dict[int, Channel] = {}
        self.zygote = self.add("zygote", State.STARTING, self.child())

    def _kill(self, pid: int, number: int) -> None:
        self.signals.append((pid, number))

    def child(self, code: str = "import time; time.sleep(60)") -> int:
        """A process whose parent we are, as a supervisor is of its workers."""
        one = subprocess.Popen([sys.executable, "-ISc", code], stdout=subprocess.PIPE)
        self.born.append(one)
        return one.pid

    def grandchild(self) -> int:
        """A process that somebody else is the parent of."""
        code = "import os,time\np=os.fork()\nif p: print(p,flush=True)\ntime.sleep(60)"
        self.child(code)
        out = self.born[-1].stdout
        assert out is not None
        return int(out.readline())

    def add(self, role: str, state: State, pid: int = 0) -> Process:
        it = self.core.roster.add(role, 1, Limits(), state, 0.0)
        it.pid, it.slot, it.row = pid, it.id, it.id
        ours, self.channels[it.id] = Channel.pair()
        self.processes._hear(it.id, ours)
        return it

    def unborn(self) -> Process:
        """A worker that the zygote was asked for."""
        it = self.add("worker", State.SPAWNING)
        it.zygote = self.zygote.id
        return it

    def serving(self) -> Process:
        it = self.unborn()
        pid = self.child()
        self.says(it, m.Hello(pid), m.Ready("", ""))
        assert (it.pid, it.state) == (pid, State.SERVING)
        return it

    def says(self, it: Process, *messages: m.Message) -> None:
        for message in messages:
            self.channels[it.id].send(message)
        self.processes._listen(it.id)

    def carry_out(self) -> None:
        """The kills that were decided."""
        commands, self.core._out = self.core._out, []
        for command in commands:
            if isinstance(command, c.Kill):
                self.processes.kill(command)

    def close(self) -> None:
        for process in list(self.channels):
            self.channels[process].close()
            self.processes._deafen(process)
        for one in self.born:
            with contextlib.suppress(ChildProcessError):
                for pid in subprocess.run(
                    ["ps", "-o", "pid=", "--ppid", str(one.pid)], capture_output=True, check=False
                ).stdout.split():
                    os.kill(int(pid), signal.SIGKILL)
                one.kill()
                one.communicate()
        self.loop.close()
        os.close(self.page.fd)


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


# --- whose pid is it? ---------------------------------------------------------------------


def test_only_our_own_children_get_signals() -> None:
    """Not who is another's, nor who has been reaped; a dead child that is not reaped is ours."""
    sent: list[int] = []
    posix = replace(
        POSIX, kill=lambda pid, n: sent.append(pid), killpg=lambda pid, n: sent.append(-pid)
    )
    children = Children(posix, {}, "/c.sock")
    stage = Stage()
    other, mine = stage.grandchild(), stage.child()
    dead = subprocess.Popen(["true"])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    for pid in (other, os.getpid(), os.getppid(), 1, 0, -1, 2**31, 2**63):
        children.signal(pid, signal.SIGTERM)
        children.kill_group(pid)
    assert sent == []
    for pid in (mine, dead.pid):
        children.kill_group(pid)
    assert sent == [mine, -mine, dead.pid, -dead.pid]
    dead.wait()
    children.kill_group(dead.pid)
    assert len(sent) == 4
    stage.close()


@pytest.mark.parametrize("known", [True, False])
def test_a_worker_that_names_another_pid_is_ended_and_nobody_else(
    stage: Stage, known: bool
) -> None:
    """Root's SIGKILL would go wherever it says: to sshd, or to the supervisor."""
    stranger = stage.grandchild()
    it = stage.serving() if known else stage.unborn()
    pid = it.pid or stage.child()
    stage.says(it, m.Hello(stranger))
    assert it.pid != stranger and it.state is State.KILLING
    stage.carry_out()
    stage.says(stage.zygote, m.Forked(it.id, pid))
    stage.carry_out()
    assert set(stage.signals) == {(pid, signal.SIGKILL), (-pid, signal.SIGKILL)}


@pytest.mark.parametrize("pid", [0, -1, 1, 2**31, 2**63, 10**30])
def test_what_cannot_be_its_pid_is_not_taken(stage: Stage, pid: int) -> None:
    it = stage.unborn()
    stage.says(it, m.Hello(pid))
    assert it.pid == 0 and it.state is State.KILLING


def test_a_pid_is_told_once_for_all(stage: Stage) -> None:
    """Told twice, by the zygote and by itself: the same, or it is ended under the first."""
    it, pid, other = stage.unborn(), stage.child(), stage.child()
    stage.says(stage.zygote, m.Forked(it.id, pid))
    stage.says(it, m.Hello(pid))
    assert (it.pid, it.state) == (pid, State.STARTING)
    stage.says(stage.zygote, m.Forked(it.id, other))
    stage.carry_out()
    assert it.pid == pid and {abs(pid) for pid, _ in stage.signals} == {pid}


def test_the_pid_of_another_worker_is_not_taken(stage: Stage) -> None:
    """Its end would be taken for the sibling's."""
    sibling, it = stage.serving(), stage.unborn()
    stage.says(it, m.Hello(sibling.pid))
    assert it.pid == 0 and it.state is State.KILLING
    assert sibling.state is State.SERVING


def test_a_pid_that_its_zygote_could_not_signal_is_not_taken(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root's supervisor has inherited children of root: as PID 1, or from a shell's exec."""
    uids = {stage.zygote.pid: (9, 9, 9)}
    monkeypatch.setattr("leeward._sys.procfs.uids", lambda pid: uids.get(pid, (0, 0, 0)))
    it, pid = stage.unborn(), stage.child()
    stage.says(it, m.Hello(pid))
    assert it.pid == 0 and it.state is State.KILLING
    it, uids[pid] = stage.unborn(), (9, 9, 9)
    stage.says(it, m.Hello(pid))
    assert it.pid == pid


def test_a_worker_that_has_died_before_its_pid_was_told_is_found(stage: Stage) -> None:
    """By the zygote's word, although it is nobody's child any more."""
    it = stage.unborn()
    pid = stage.child("")
    stage.born[-1].stdout.read()  # type: ignore[union-attr]
    (reaped,) = [it for it in _reaped(stage, pid) if it.pid == pid]
    stage.processes.ended(reaped)
    stage.says(it, m.Watched(m.Descriptor(os.dup(0))))
    assert it.state is State.SPAWNING
    stage.says(stage.zygote, m.Forked(it.id, pid))
    assert it.state is State.GONE and it.pid == pid


def _reaped(stage: Stage, pid: int) -> Iterator[object]:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    yield from stage.processes._children.reap()


Word = Callable[[int, int], m.Message]


@pytest.mark.parametrize("word", [m.Forked, lambda worker, pid: m.NotForked(worker, "no")])
def test_only_its_zygote_tells_of_a_workers_birth(stage: Stage, word: Word) -> None:
    """Not a sibling, nor a zygote that was not asked for it."""
    other = stage.add("zygote", State.STARTING, stage.child())
    sibling, it, pid = stage.serving(), stage.unborn(), stage.child()
    for liar in (sibling, other):
        stage.says(liar, word(it.id, pid))
        assert (it.pid, it.state) == (0, State.SPAWNING)
        assert "which is not its to say" in stage.voice.lines[-1]
    stage.says(stage.zygote, m.Forked(it.id, pid))
    assert (it.pid, it.state) == (pid, State.STARTING)


def test_a_worker_that_lives_cannot_be_said_not_to_be(stage: Stage) -> None:
    """It would be forgotten, and live on."""
    it = stage.serving()
    stage.says(stage.zygote, m.NotForked(it.id, "no"))
    assert it.state is State.SERVING


# --- what is kept of it -------------------------------------------------------------------

FOUND = Hazard("LW101", "thread Poller").to_json()


def loaded(*findings: str, changed: tuple[str, ...] = ()) -> m.Loaded:
    return m.Loaded("app", "factory", 1, (), findings=findings, changed=changed)


def test_a_worker_cannot_say_that_it_has_loaded(stage: Stage) -> None:
    """Nothing of it is kept: `leeward ps` would read it again and again."""
    it, facts = stage.serving(), stage.processes.facts[1]
    stage.says(it, loaded("x", changed=("a.py",)))
    assert (facts.kind, facts.findings, facts.changed) == ("", (), set())
    assert "said Loaded, which is not its to say" in stage.voice.lines[-1]


def test_of_what_was_found_only_what_can_be_read_is_kept(stage: Stage) -> None:
    odd = ("x", "[]", "1", "[" * 9000, '{"code": "LW101"}', '{"code": "LW101", "what": []}')
    stage.says(stage.zygote, loaded(*odd, FOUND, '{"code": "LW999", "what": "new"}'))
    assert stage.processes.facts[1].findings == (FOUND,)
    assert "7 hazards cannot be read" in "\n".join(stage.voice.lines)
    assert stage.zygote.state is State.SERVING


@pytest.mark.parametrize("word", [m.Ready("", ""), loaded(FOUND), m.Hello(1), m.Closed()])
def test_what_comes_in_the_wrong_state_raises_nothing(stage: Stage, word: m.Message) -> None:
    """Each error inside us costs everybody a rest of 50 ms; and what came behind it was lost."""
    it = stage.unborn()
    stage.says(it, m.Ready("kind", ""))  # it has no pid yet
    assert it.state is State.SPAWNING and stage.processes.facts[1].kind == ""
    it = stage.serving()
    stage.says(stage.zygote, loaded())
    for each in (it, stage.zygote):
        stage.says(each, word, word)
    stage.says(it, m.Ready("other", ""), m.Ailing("redis", "down"))
    if it.state is State.SERVING:
        assert stage.processes.facts[1].kind != "other"
        assert stage.processes.ailing[it.id] == {"redis": "down"}


def test_what_ails_and_what_has_changed_is_bounded(stage: Stage) -> None:
    """A worker that goes on telling new names would fill our memory, and take all along."""
    it = stage.serving()
    long = "x" * 60_000
    for number in range(300):
        stage.says(it, m.Ailing(f"{number} {long}", long))
    ails = stage.processes.ailing[it.id]
    assert len(ails) <= 100 and all(len(name + why) < 3000 for name, why in ails.items())
    first = next(iter(ails))
    stage.says(it, m.Ailing(f"0 {long}", ""))
    assert first not in ails
    for number in range(30):
        fresh = stage.unborn()
        names = tuple(f"{number}/{place}.py" for place in range(100))
        stage.says(fresh, m.Hello(stage.child("")), m.Ready(long, long, changed=(*names, long)))
        assert fresh.state is State.SERVING
    facts = stage.processes.facts[1]
    assert 500 <= len(facts.changed) <= 600 and max(map(len, facts.changed)) <= 1000
    assert len(facts.kind + facts.found) <= 2000


def test_a_failure_and_a_reason_are_bounded(stage: Stage) -> None:
    it = stage.serving()
    stage.says(it, m.Failed("x" * 60_000, "y" * 60_000), m.Leaving("z" * 60_000, limit=True))
    assert len(it.failure) <= 64 * 1024
    assert len(stage.core.generations[1].rests.why) <= 1000
    stage.processes._tell_end(it, Death("died"))
    assert len(stage.processes.ends[it.slot].why) <= 1000


def test_a_message_that_no_worker_has_to_send_is_not_read(stage: Stage) -> None:
    """A MiB of JSON becomes 25 in memory, and 16 of them would become 400."""
    it = stage.serving()
    stage.says(it, m.Ailing("redis", "x" * 2_000_000))
    assert "said something that is no message" in stage.voice.lines[-1]


def test_who_asks_to_be_replaced_is_heard_once(stage: Stage) -> None:
    """Else one worker makes all others wait for their turn: each time counts as a strike."""
    it = stage.serving()
    for _ in range(10):
        stage.says(it, m.Leaving("has served 1 request", limit=True))
    assert stage.core.generations[1].rests.strikes == 1
    assert sum("asks to be replaced" in line for line in stage.voice.lines) == 1


# --- the descriptor of its stack ------------------------------------------------------------


def odd_descriptors() -> Iterator[int]:
    yield os.open("/dev/null", os.O_RDWR)
    yield os.pipe()[0]
    fd = memfd_create("stack")
    yield os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    yield os.open(f"/proc/self/fd/{fd}", os.O_PATH)
    os.write(fd, b"x")
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    yield fd


def test_only_a_memfd_that_can_be_emptied_is_taken_for_its_stack(stage: Stage) -> None:
    """Another may block us when it is read, or raise."""
    it = stage.serving()
    good = memfd_create("stack")
    for fd in (*odd_descriptors(), good):
        before = len(os.listdir("/proc/self/fd"))
        stage.says(it, m.Watched(m.Descriptor(fd)))
        held = stage.processes.stack(it.id)
        assert (held is not None) == (fd == good)
        assert len(os.listdir("/proc/self/fd")) == before + (fd == good)
    stage.says(it, m.Watched(m.Descriptor(os.pipe()[0])))
    assert stage.processes.stack(it.id) is not None


def test_a_stack_that_cannot_be_emptied_any_more_raises_nothing(stage: Stage) -> None:
    """Sealed behind our back: what is found out about other workers would be lost."""
    it = stage.serving()
    fd = memfd_create("stack")
    stage.says(it, m.Watched(m.Descriptor(fd)))
    os.write(fd, b"x")
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    held = stage.processes.stack(it.id)
    assert held is not None
    stacks.wipe(held)
