"""Zygotes and workers from the supervisor's side: channels, births, words, deaths.

Carries out the commands that concern processes and turns what processes say
and how they end into calls on the decisions.  `leeward._worker` and
`leeward._zygote` are the same lives from the inside.

More than 400 lines: births, words and deaths read and write the same few tables.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Iterable

from leeward._core import commands as c
from leeward._core import messages as m
from leeward._core.config import Config, Listener
from leeward._core.record import replace
from leeward._core.roster import Death, Process
from leeward._core.supervisor import Supervisor
from leeward._core.worker import State
from leeward._supervisor import guard, stacks, words
from leeward._supervisor.certificates import Certificates
from leeward._supervisor.children import Children, Reaped, is_spare, may_signal, program
from leeward._supervisor.configs import Configs
from leeward._supervisor.ends import STAGES, Coroner
from leeward._supervisor.loop import Loop
from leeward._supervisor.report import End, Facts
from leeward._supervisor.rings import Rings
from leeward._supervisor.say import Voice
from leeward._sys.channel import Channel, ChannelFull, discard
from leeward._sys.page import OUT, Page
from leeward._sys.posix import Posix
from leeward.errors import ChannelClosed

#: "No such file or directory" helps only him who is told which: an interpreter whose
#: environment a deploy has removed, or /dev/null in a bare chroot.
_OF_A_FILE = frozenset({errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOEXEC})

#: Frames in the log of a process that is killed for its silence.
LAST_FRAMES = 8


class Processes:
    """The children of one instance.

    `configs`: the settings of each generation that may still start something.
    """

    def __init__(
        self,
        core: Supervisor,
        posix: Posix,
        loop: Loop,
        children: Children,
        page: Page,
        listeners: tuple[Listener, ...],
        voice: Voice,
        rings: Rings,
    ) -> None:
        self.configs = Configs()
        self.facts: dict[int, Facts] = {}
        self.ends: dict[int, End] = {}
        self.certificates = Certificates()
        #: Rung by workers that wake; -1: nobody is to ring.
        self.bell = -1
        #: Nobody is ready any more, because a stop is near or has begun.
        self.withdrawn = False
        #: By worker: its resources that fail their checks, and why.
        self.ailing: dict[int, dict[str, str]] = {}
        #: Told (process, error) when a process has taken a renewed certificate or not.
        self.on_renewed: Callable[[int, str], None]
        #: Told the process that works by changed settings now.
        self.on_tuned: Callable[[int], None]
        self._core = core
        self._posix = posix
        self._loop = loop
        self._children = children
        self._page = page
        self._listeners = listeners
        self._voice = voice
        self._rings = rings
        self._coroner = Coroner()
        self._began = posix.time()
        self._channels: dict[int, Channel] = {}
        #: memfds that hold a process's stack if its start takes too long.
        self._stacks: dict[int, int] = {}
        #: Where starts hung, by the failure that they ended with.
        self._hung: dict[str, str] = {}
        #: Workers that accept: since their Ready, until they say Closed or end.
        self.accepting: set[int] = set()
        #: Workers that have accepted their last, and live.
        self._closed: set[int] = set()
        #: Strays whose end nobody is told of.
        self._silent: set[int] = set()
        #: Ended processes may have left children; looked for when nobody is
        #: being born, because a newborn is a child we do not know yet either.
        self._search_due: Process | None = None

    # --- commands -----------------------------------------------------------------------

    def start_zygote(self, command: c.StartZygote) -> None:
        self._start(command.process, command.generation, "zygote")

    def start_worker(self, command: c.StartWorker) -> None:
        self._page.row(command.row).clear()
        self._page.used = max(self._page.used, command.row + 1)
        fork, ends = self._rings.order(command)
        self._order(command, fork)
        for fd in ends:
            os.close(fd)

    def _order(self, command: c.StartWorker, fork: m.Fork) -> None:
        if command.zygote is None:
            if self._start(command.process, command.generation, "worker"):
                self._send(command.process, fork)
            return
        try:
            ours, theirs = Channel.pair()
        except OSError as error:
            self._not_started(command.process, error)
            return
        self._hear(command.process, ours)
        fd = m.Descriptor(theirs.fileno())
        # If the zygote cannot be told, it is dying or stuck: its death or the
        # fork's deadline says so.
        self._send(command.zygote, replace(fork, channel=(fd,)))
        theirs.close()

    def drain(self, command: c.Drain) -> None:
        it = self._core.roster.get(command.process)
        if it is None:
            return
        if it.role == "zygote":
            self._deafen(it.id)  # the end of its channel is what it leaves by
        elif it.role == "stray":
            self._children.signal(it.pid, signal.SIGTERM)
        else:
            window = self._config(it.generation).drain_window
            # One that was handed in goes on without us.
            refuse = command.reason == "stop" and all(it.made for it in self._listeners)
            self._send(it.id, m.Drain(command.reason, command.timeout, window, refuse))
            if it.ready_at is None:
                # Still importing: it cannot read, and has accepted nothing.
                # SIGTERM has its default action until just before it accepts.
                self._children.signal(it.pid, signal.SIGTERM)
            # The worker itself says what it has to finish; a line of ours would repeat it.
            self._say(it, f"told to drain ({command.reason})", "debug")

    def aside(self, command: c.Aside) -> None:
        it = self._core.roster.get(command.process)
        if it is not None:
            self._send(it.id, m.Aside())
            self._say(it, f"aside for {it.aside_for:.10g} s: accepts no more, keeps what it has")

    def kill(self, command: c.Kill) -> None:
        it = self._core.roster.get(command.process)
        if it is None:
            return
        if it.role == "stray":
            self._children.signal(it.pid, signal.SIGKILL)
        else:
            self._children.kill_group(it.pid)
            if it.role == "worker":
                # Not only when it is reaped: the kernel may hold it until nobody knows it here.
                self._page.row(it.row).accepts = OUT
        if it.failure:
            stack = self._stacks.get(it.id)
            self._hung = {it.failure: "" if stack is None else stacks.where(stack, LAST_FRAMES)}
            self._say(it, f"{self.explained(it.failure)}", "warning")

    def explained(self, why: str) -> str:
        """`why` a start failed and, if it hung, where."""
        hung = self._hung.get(why)
        return f"{why}; it hung in\n{hung}" if hung else why

    def stack(self, process: int) -> int | None:
        """The memfd that its stack is written into, if it has one."""
        return self._stacks.get(process)

    def forget(self, command: c.Forget) -> None:
        self.accepting.discard(command.process)
        self._closed.discard(command.process)
        self.ailing.pop(command.process, None)
        self._deafen(command.process)
        self._unwatch(command.process)
        self._rings.ended(command.process)

    # --- what happens --------------------------------------------------------------------

    def ended(self, reaped: Reaped) -> None:
        """A child was reaped."""
        it = next((it for it in self._core.roster if it.pid == reaped.pid), None)
        if it is None:
            if self._awaits_a_pid():
                self._children.keep_unclaimed(reaped)
            else:
                self._coroner.unknown(reaped.status)
            return
        if it.id in self._channels:
            self._listen(it.id)  # its last words before its death
        death = Death("died")
        try:
            served = it.role == "worker" and self._page.row(it.row).accepted > 0
            if it.role == "worker":
                self._page.row(it.row).accepts = OUT  # its siblings wait for it no more
            loading = it.role == "zygote" and it.state is State.STARTING
            death = self._coroner.death(reaped.status, served, loading)
            self._tell_end(it, death)
        finally:  # whatever the words do: its slot is free
            self._search_due = it
            self.accepting.discard(it.id)
            self._core.died(it.id, death, self._posix.monotonic())

    def _awaits_a_pid(self) -> bool:
        """Is there one that a zygote was asked for, and has not told of?"""
        return any(not it.pid and it.state is not State.GONE for it in self._core.roster)

    def search_strays(self) -> None:
        """Finds what ended processes have left behind, if it is time to look."""
        roster = self._core.roster
        living = [it for it in roster if it.state is not State.GONE]
        # No pid yet: told to drain or killed while it was being born.
        unborn = any(it.state is State.SPAWNING or not it.pid for it in living)
        if self._search_due is None or unborn:
            return
        dead, self._search_due = self._search_due, None
        known = {it.pid for it in living}
        for pid in self._children.strays(known):
            spare = is_spare(pid)
            if not spare:
                whose = "zygote" if dead.role == "zygote" else "worker"
                self._voice.say(f"outlived its {whose}: {program(pid)}", "warning", pid=pid)
            it = self._core.stray(pid, dead, self._posix.monotonic())
            if spare:
                # On its way already, unless it is stopped.  Its end is awaited like any other's:
                # until then it has the listeners.
                self._children.signal(pid, signal.SIGKILL)
                self._silent.add(it)

    def keep_only(self, generations: Iterable[int]) -> None:
        """Forgets what is known of generations that are no more."""
        for number in set(self.configs) - set(generations):
            del self.configs[number]
            self.certificates.forget(number)
            baseline = self.facts.pop(number, Facts()).baseline
            if baseline is not None:
                os.close(baseline)

    # --- certificates ---------------------------------------------------------------------

    def fits(self, fds: tuple[int, ...]) -> bool:
        """May this certificate be shown without a reload?"""
        return self.certificates.fits(fds, (self._core.serving, self._core.candidate))

    def renew(self, fds: tuple[int, ...]) -> set[int]:
        """Has every process show this certificate.  The workers whose word is to be awaited."""
        self.certificates.replace(fds)
        for it in self._core.roster:
            if it.id in self._channels:
                mine = self.certificates.of(it.generation)
                self._send(it.id, m.Renew(tuple(map(m.Descriptor, mine))))
        serve = (it.id for it in self._core.roster.of("worker") if it.state is State.SERVING)
        return {it for it in serve if it in self._channels}

    def hand_on_certificate(self, generation: int, to: int) -> None:
        """Have the older `to`, which was loaded with another one, show the certificate in force.

        Its zygote reads this before it is asked for the first worker.
        """
        fds = self.certificates.hand_on(generation, to)
        if fds:
            for it in self._core.roster.of("zygote", to):
                self._send(it.id, m.Renew(tuple(map(m.Descriptor, fds))))

    def withdraw(self) -> None:
        """Has every worker say that it is not ready, those that are born later too."""
        self.withdrawn = True
        for it in self._core.roster.of("worker"):
            self._send(it.id, m.Withdraw())

    def tune(self) -> set[int]:
        """Has every process obey the settings in force.  Returns who is to say that it does."""
        for it in self._core.roster:
            if it.role != "stray" and it.id in self._channels:
                self._send(it.id, m.Tune(self._config(it.generation).to_json()))
        serve = (it.id for it in self._core.roster.of("worker") if it.state is State.SERVING)
        return {it for it in serve if it in self._channels}

    def hand(self, process: int, message: m.Asked) -> bool:
        """Hands an asker on.  False if it reads nothing any more: what waits for it are orders."""
        channel = self._channels.get(process)
        if channel is None or channel.wants_write:
            return False
        self._send(process, message)
        return True

    def may_answer(self, process: int) -> bool:
        return process in self._channels and self._core.roster.get(process) is not None

    def called(self, process: int) -> str:
        it = self._core.roster.get(process)
        return "a worker" if it is None else f"worker {it.slot} (pid {it.pid})"

    def none_accepts(self) -> bool:
        """Has each worker closed its listeners, those that start included, or been killed?"""
        workers = self._core.roster.of("worker")
        return all(it.id in self._closed or it.state is State.KILLING for it in workers)

    # --- births ---------------------------------------------------------------------------

    def _config(self, generation: int) -> Config:
        return self.configs[generation]

    def _start(self, process: int, generation: int, role: str) -> bool:
        config = self._config(generation)
        try:
            pid, channel = self._children.start(config, role)
        except OSError as error:
            self._not_started(process, error)
            return False
        self._hear(process, channel)
        baseline = self.facts[generation].baseline
        self._send(
            process,
            m.Begin(
                config=config.to_json(),
                generation=generation,
                supervisor=self._posix.getpid(),
                page=m.Descriptor(self._page.fd),
                listeners=tuple(m.Descriptor(it.fd) for it in self._listeners),
                addresses=tuple(it.address for it in self._listeners),
                baseline=() if baseline is None else (m.Descriptor(baseline),),
                tls=tuple(map(m.Descriptor, self.certificates.of(generation))),
                bell=() if self.bell < 0 else (m.Descriptor(self.bell),),
                began=self._began,
            ),
        )
        self._core.forked(process, pid, self._posix.monotonic())
        return True

    def _not_started(self, process: int, error: OSError) -> None:
        why = str(error.strerror or error)
        if error.errno in _OF_A_FILE and error.filename:
            why = f"{os.fsdecode(error.filename)}: {why}"
        death = Death(f"could not be started: {why}", unborn=True)
        it = self._core.roster.get(process)
        if it is not None:
            self._say(it, death.why, "error")
        self._core.died(process, death, self._posix.monotonic())

    # --- words ------------------------------------------------------------------------------

    def _hear(self, process: int, channel: Channel) -> None:
        channel.largest = words.MESSAGE
        self._channels[process] = channel
        self._loop.watch(channel.fileno(), lambda events: self._listen(process))

    def _deafen(self, process: int) -> None:
        channel = self._channels.pop(process, None)
        if channel is not None:
            self._loop.unwatch(channel.fileno())
            channel.close()

    def _unwatch(self, process: int) -> None:
        stack = self._stacks.pop(process, None)
        if stack is not None:
            os.close(stack)

    def _send(self, process: int, message: m.Message) -> None:
        channel = self._channels.get(process)
        if channel is None:
            return
        # Closed or full: the process is dying or stuck, which its death or a
        # deadline tells; the end of a channel is a hint and no more.
        with contextlib.suppress(ChannelClosed, ChannelFull):
            channel.send(message)
        self._loop.watch(
            channel.fileno(), lambda events: self._listen(process), write=channel.wants_write
        )

    def _listen(self, process: int) -> None:
        channel = self._channels.get(process)
        it = self._core.roster.get(process)
        if channel is None or it is None:
            return
        try:
            channel.flush()
            messages = channel.receive()
        except ChannelClosed:
            self._loop.unwatch(channel.fileno())  # else its hang-up would wake us for ever
            return
        except m.BadMessage as error:
            self._say(it, f"said something that is no message: {error}", "error")
            if it.state is State.STARTING:
                # What it said (that it is loaded, ready) is lost: waiting for it
                # would end with the start time-out and with the wrong reason.
                self._core.failed(it.id, f"could not be understood: {error}")
                self._children.kill_group(it.pid)
            return
        self._loop.watch(
            channel.fileno(), lambda events: self._listen(process), write=channel.wants_write
        )
        for message in messages:
            if it.state is not State.GONE and words.may_say(it, message):
                self._heard(it, message)
            else:
                self._discard(it, message)

    def _heard(self, it: Process, message: m.Message) -> None:
        now = self._posix.monotonic()
        match message:
            case m.Watched(stack) if stacks.usable(stack):
                self._unwatch(it.id)
                self._stacks[it.id] = int(stack)
            case m.Loaded():
                self._loaded(it, message, now)
            case m.Forked(worker, pid) if self._asked_for(it, worker):
                self._born(self._core.roster.get(worker), pid, now)
            case m.Hello(pid):
                self._born(it, pid, now)
            case m.NotForked(worker, error) if self._asked_for(it, worker):
                self._not_forked(worker, error, now)
            case m.Ready():
                self._ready(it, message, now)
            case m.Failed(stage, text):
                why = f"{STAGES.get(stage, words.cut(stage))}\n{text}"
                self._core.failed(it.id, words.cut(why, words.FAILURE))
            case m.Closed():
                self.accepting.discard(it.id)
                self._closed.add(it.id)
            case m.Renewed(error):
                error = words.cut(error)
                if error:
                    self._say(it, f"keeps the old certificate: {error}", "error")
                self.on_renewed(it.id, error)
            case m.Tuned():
                self.on_tuned(it.id)
            case m.Ailing(resource, why):
                words.ails(self.ailing.setdefault(it.id, {}), resource, why)
            case m.Leaving(reason, limit):
                self._leaving(it, words.cut(reason), limit, now)
            case _:
                self._discard(it, message)

    def _discard(self, it: Process, message: m.Message) -> None:
        discard([message])
        if it.state is not State.GONE:  # else it is late and no more
            self._say(it, f"said {type(message).__name__}, which is not its to say", "error")

    def _leaving(self, it: Process, reason: str, limit: bool, now: float) -> None:
        waits = it.retiring or it.id in self._core.retirees
        if it.state is not State.ASIDE and (waits or not it.alive):
            return  # it has said so, or goes already
        self._say(it, f"asks to be replaced ({reason})")
        if limit:
            self._core.limit_reached(it.id, reason, now)
        else:
            self._core.leaving(it.id)

    def _asked_for(self, zygote: Process, worker: int) -> bool:
        """Was this zygote asked for it?  It may also tell of one that has been given up."""
        it = self._core.roster.get(worker)
        return zygote.role == "zygote" and (it is None or it.zygote == zygote.id)

    def _born(self, it: Process | None, pid: int, now: float) -> None:
        """It exists, and its pid is this: both its zygote and itself say so."""
        if it is not None and pid and it.pid == pid:
            return
        if it is not None and (it.pid or not self._may_be(it, pid)):
            self._core.condemn(it.id, f"named a pid that is not its own: {str(pid)[:20]}", now)
            return
        if it is not None:
            self._core.forked(it.id, pid, now)
        early = self._children.claim(pid)
        if not self._awaits_a_pid():
            for status in self._children.forget_unclaimed():
                self._coroner.unknown(status)
        if early is not None:
            self.ended(early)

    def _may_be(self, it: Process, pid: int) -> bool:
        """We kill by this pid, as root it may be: is it none that its zygote could not kill?

        We may have other children: what a shell had started before its `exec`, and, as PID 1,
        whatever was orphaned.
        """
        living = [other for other in self._core.roster if other.state is not State.GONE]
        if any(other.pid == pid for other in living):
            return False
        if self._children.is_unclaimed(pid):
            return True  # dead and reaped: there is nothing to kill
        zygote = None if it.zygote is None else self._core.roster.get(it.zygote)
        return zygote is not None and self._children.owns(pid) and may_signal(zygote.pid, pid)

    def _not_forked(self, worker: int, error: str, now: float) -> None:
        it = self._core.roster.get(worker)
        if it is not None and not it.pid:
            self._say(it, f"could not be forked: {error}", "error")
            death = Death(f"could not be forked: {error}", unborn=True)
            self._core.died(worker, death, now)

    def _loaded(self, it: Process, message: m.Loaded, now: float) -> None:
        facts = self.facts[it.generation]
        facts.kind, facts.found = words.cut(message.kind), words.cut(message.found)
        facts.load_ms = message.load_ms
        self._keep_baseline(facts, message.baseline)
        self._say(it, f"loaded {facts.found} in {message.load_ms} ms")
        self._mixed(it, message.changed)
        why = self._tell_hazards(it, message)
        self._unwatch(it.id)
        self._core.loaded(it.id, tuple(map(words.cut, message.hazards)), now, why)

    def _tell_hazards(self, it: Process, message: m.Loaded) -> str:
        """In two lines each.  Returns why it may be forked, if it may."""
        if not message.findings:
            return "safe to fork"
        try:
            from leeward._supervisor.hazards import readable, told

            findings = readable(message.findings)
            self.facts[it.generation].findings = tuple(found.to_json() for found in findings)
            said, why = told(message, findings, self._config(it.generation))
        except Exception as error:
            # The zygote has decided by them; only the words are missing.
            more = f"hazards found, which cannot be told: {guard.told(error)}"
            self._say(it, f"{len(message.findings)} {more}", "warning")
            return "in spite of what was found"
        for level, text in said:
            self._say(it, text, level)
        return why

    def _ready(self, it: Process, message: m.Ready, now: float) -> None:
        facts = self.facts[it.generation]
        facts.kind, facts.found = words.cut(message.kind), words.cut(message.found)
        self._keep_baseline(facts, message.baseline)
        self._unwatch(it.id)
        self.accepting.add(it.id)
        self._core.ready(it.id, now)
        if it.state is State.SERVING:
            self._say(it, "ready")
            if self.withdrawn:
                self._send(it.id, m.Withdraw())
            self._mixed(it, message.changed)

    def _keep_baseline(self, facts: Facts, baseline: tuple[m.Descriptor, ...]) -> None:
        for fd in baseline:
            if facts.baseline is None:
                facts.baseline = int(fd)
            else:
                os.close(fd)

    def _mixed(self, it: Process, changed: tuple[str, ...]) -> None:
        facts = self.facts[it.generation]
        new = words.new_files(facts.changed, changed)
        if new:
            facts.changed |= new
            shown = ", ".join(sorted(new)[:3]) + (" …" if len(new) > 3 else "")
            self._say(
                it,
                f"generation {it.generation} is mixed: {shown} changed since it started",
                "warning",
            )

    # --- deaths -----------------------------------------------------------------------------

    def _tell_end(self, it: Process, death: Death) -> None:
        if it.id in self._silent:
            self._silent.discard(it.id)
            return
        if it.told:
            odd = death.why != "exited with code 0" and it.role == "worker"
            gone = "gone while it was aside" if it.told == "aside" else "gone"
            self._say(it, f"{gone} ({death.why})" if odd else gone)
            return
        why = it.failure.splitlines()[0] if it.failure else death.why
        self._say(it, f"died: {why}", "warning")
        if it.role == "worker":
            count = self.ends[it.slot].count + 1 if it.slot in self.ends else 1
            now = self._posix.monotonic()
            said = words.cut(": ".join(it.failure.splitlines()[:2]) or why)
            self.ends[it.slot] = End(it.generation, it.pid, said, now, count)

    def _say(self, it: Process, text: str, level: str = "info") -> None:
        """A line with the process's identity, the same everywhere."""
        if it.role == "worker":
            self._voice.say(text, level, worker=it.slot, gen=it.generation, pid=it.pid)
        elif it.role == "zygote":
            self._voice.say(f"zygote {text}", level, gen=it.generation, pid=it.pid)
        else:
            self._voice.say(text, level, pid=it.pid)
