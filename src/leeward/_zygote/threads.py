"""Threads, and what has threads: executors, listeners of logging, pools of processes.

A thread does not survive a fork, but its locks and its promises do.  Native ones are
judged by where they run: OpenBLAS and Arrow join or restart their pools around a fork
(pthread_atfork), and importing numpy or pandas must not cost anybody the zygote.
Unknown ones count: to spawn is always right, and only slower.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from leeward._sys import procfs
from leeward._zygote import native
from leeward._zygote.look import Found, Look, key, opened
from leeward._zygote.objects import is_of, libraries
from leeward._zygote.origins import NOWHERE, Site
from leeward._zygote.watch import note_of

_LOCK = type(threading.Lock())
#: The queues that executors, and pools of multiprocessing, have.
_EXECUTORS = ("_call_queue", "_result_queue", "_executor_manager_thread_wakeup")
_QUEUES = ("_inqueue", "_outqueue", "_change_notifier")


def owners_of_threads(look: Look) -> Iterator[Found]:
    """What would be told as several threads and processes, and is one thing."""
    for it in look.objects["executor"]:
        threads = [*getattr(it, "_threads", ()), getattr(it, "_executor_manager_thread", None)]
        processes = list((getattr(it, "_processes", None) or {}).values())
        site = _take(look, threads, processes)
        pipes = [getattr(it, name, None) for name in _EXECUTORS]
        site, used = _pipes(look, pipes, site), len(processes) or sum(map(_alive, threads))
        if not used and pipes[0] is not None:
            # Nobody runs yet: each worker would start its own, all on the same pipes.
            yield Found("LW140", f"a {type(it).__name__} exists", site or NOWHERE, it)
        elif used:
            site = site or NOWHERE
            yield Found("LW102", f"a {type(it).__name__} is in use ({used} running)", site, it)
    for it in look.objects["listener"]:
        if (site := _take(look, [getattr(it, "_thread", None)], [])) is not None:
            yield Found("LW103", f"a {type(it).__name__} of logging runs", site, it)
    for it in look.objects["multiprocessing"]:
        handlers = ("_worker_handler", "_task_handler", "_result_handler", "_thread")
        pool = list(getattr(it, "_pool", None) or ())  # threads, in a ThreadPool
        threads = [*(getattr(it, name, None) for name in handlers), *pool]
        processes = [*pool, getattr(it, "_process", None)]
        site = _take(look, threads, processes)
        site = _pipes(look, (getattr(it, name, None) for name in _QUEUES), site)
        queue = type(it).__name__.endswith("Queue")
        if id(it) in look.pipes:
            continue
        if site is not None or queue:
            site = _pipes(look, [it], site)
            yield Found("LW140", f"a {_name(it)} exists", site or NOWHERE, it)


def pipes(look: Look) -> Iterator[Found]:
    """The ends of `multiprocessing.Pipe` that belong to nothing else."""
    for it in look.objects["pipe"]:
        if id(it) not in look.pipes and not it.closed:
            fd = it.fileno()
            look.descriptors.add(fd)
            what = f"the end of a pipe is open: a {_name(it)}, descriptor {fd}"
            yield Found("LW140", what, opened(look, fd, None)[0], it, key(fd))


def _pipes(look: Look, queues: Iterable[Any], site: Site | None) -> Site | None:
    """Queues and their pipes are told of with what they belong to; a pipe may know the line."""
    for queue in queues:
        for end in (getattr(queue, "_reader", None), getattr(queue, "_writer", None)):
            if end is None or end.closed:
                continue
            look.pipes.update((id(queue), id(end)))
            look.descriptors.add(end.fileno())
            if site is None or not site.where:
                found = opened(look, end.fileno(), None)[0]
                site = found if found.where else site
    return site


def _name(it: object) -> str:
    return f"{type(it).__module__}.{type(it).__qualname__}"


def _alive(thread: Any) -> bool:
    return isinstance(thread, threading.Thread) and thread.is_alive()


def _take(look: Look, threads: Iterable[Any], processes: Iterable[Any]) -> Site | None:
    """These are told of with what they belong to.  Where the first was started; None: none is."""
    running = [thread for thread in threads if _alive(thread)]
    look.threads.update(map(id, running))
    pids = {pid for it in processes if isinstance(pid := getattr(it, "pid", None), int)}
    look.processes.update(pids)
    sites = [note_of(look.watch.threads, thread, NOWHERE) for thread in running]
    sites += [site for it, site in look.watch.children if getattr(it, "pid", None) in pids]
    if not running and not pids:
        return None
    return next((site for site in sites if site.where), NOWHERE)


def python_threads(look: Look) -> Iterator[Found]:
    me = threading.get_ident()
    named = {thread.ident: thread for thread in threading.enumerate()}
    # Not `enumerate` alone: it does not know those of `_thread.start_new_thread`.
    for ident, frame in sys._current_frames().items():
        thread = named.get(ident)
        if ident == me or id(thread) in look.threads:
            continue
        name = repr(thread.name) if thread else "without a name"
        site = note_of(look.watch.threads, thread, NOWHERE)
        target, code = _runs(thread, frame)
        site = site if site.where or thread else look.watch.bare.get(code, site)
        if not site.where:
            site = Site(look.origins.of_code(target), site.library)
        runs = f": {code.co_qualname}" if code else ""
        yield Found("LW101", f"a thread {name} runs since the import{runs}", site, thread)


def _runs(thread: threading.Thread | None, frame: FrameType) -> tuple[Any, Any]:
    """The thread's own function and code: its target, its `run`, its outermost frame."""
    target = getattr(thread, "_target", None)
    if target is None and thread is not None and type(thread).run is not threading.Thread.run:
        target = type(thread).run
    code = getattr(getattr(target, "__func__", target), "__code__", None)
    if code is None:
        outer: FrameType | None = frame
        while outer is not None:
            if outer.f_code.co_filename != threading.__file__:
                code = outer.f_code
            outer = outer.f_back
        target = _Code(code)
    return target, code


class _Code:
    """What `Origins.of_code` takes for a function."""

    def __init__(self, code: object) -> None:
        self.__code__ = code


def native_threads(look: Look) -> Iterator[Found]:
    # Ours by asking: a Thread object of before a fork remembers the number of its parent.
    python = {thread.native_id for thread in threading.enumerate()} | {threading.get_native_id()}
    others = [tid for tid in procfs.threads_of(os.getpid()) if tid not in python]
    strange = [(tid, it) for tid in others if not (it := native.origin(tid)).harmless]
    # Python threads without a Thread object are among them, and were told of above.
    idents = {thread.ident for thread in threading.enumerate()}
    unnamed = len(set(sys._current_frames()) - idents)
    # Those of gRPC, librdkafka, ZeroMQ are told of by the client that has them.
    told = libraries(look.clients)
    for tid, origin in strange:
        if (site := look.watch.lines.threads.get(tid)) is not None:
            look.native.add((origin.where, site.where))
    untold = [
        (tid, origin)
        for tid, origin in strange[unnamed:]
        if not any(library in origin.where for library in told)
    ]
    lasting = native.that_stay(tid for tid, _ in untold)
    for tid, origin in untold:
        if tid in lasting:
            what = f"a native thread {origin.name!r} runs"
            line = look.watch.lines.threads.get(tid, NOWHERE).where
            yield Found("LW104", what, Site(line, origin.where))


def runtimes() -> Iterator[Found]:
    for code, name, path in native.runtimes():
        yield Found(code, f"{name} is loaded", Site("", path))


def clients(look: Look) -> Iterator[Found]:
    """Those that begin to share or to lose something before a descriptor tells of it."""
    grpc = bool(look.clients) and native.runs("cygrpc")
    for it in look.clients:
        topology = getattr(it, "_topology", None)
        if type(it).__name__.endswith("MongoClient") and not getattr(topology, "_opened", False):
            continue  # connect=False: it begins in the worker
        if is_of(it, "grpc") and not grpc:
            continue  # a server that was stopped: the last one stops gRPC's threads
        yield Found("LW112", f"a {_name(it)} is open", _started_by(look, it), it)


def _started_by(look: Look, client: Any) -> Site:
    """The line on which a client's library has started its threads, if it is one line."""
    own = libraries([client])
    lines = {line for names, line in look.native for library in own if library in names}
    return Site(lines.pop()) if len(lines) == 1 else NOWHERE


def held_locks(look: Look) -> Iterator[Found]:
    """Locks that somebody holds, if there is somebody: another thread.

    One that is held by the import itself is held in each spawned worker as well.
    """
    if len(sys._current_frames()) < 2:
        return
    # A thread's own lock (3.11, 3.12) is held for as long as it runs.
    own = {id(getattr(thread, "_tstate_lock", None)) for thread in threading.enumerate()}
    for it in look.objects["lock"]:
        held = it.locked() if type(it) is _LOCK else repr(it).startswith("<locked")
        mine = hasattr(it, "_is_owned") and it._is_owned()
        if held and not mine and id(it) not in own:
            yield Found("LW130", f"a {type(it).__name__} is held", NOWHERE, it)


def timers(look: Look) -> Iterator[Found]:
    for which, name, signum in (
        (signal.ITIMER_REAL, "real", signal.SIGALRM),
        (signal.ITIMER_VIRTUAL, "virtual", signal.SIGVTALRM),
        (signal.ITIMER_PROF, "profiling", signal.SIGPROF),
    ):
        if signal.getitimer(which)[0]:
            handler = signal.getsignal(signum)
            what = f"a timer runs ({name} time, {signal.Signals(signum).name})"
            site = look.watch.timers.get(which, NOWHERE)
            if not site.where:
                site = Site(look.origins.of_code(handler), site.library)
            yield Found("LW107", what, site)


def _started_at(look: Look, pid: int) -> tuple[object, Site]:
    """The object that stands for a process, and where it was started."""
    found = ((it, site) for it, site in look.watch.children if getattr(it, "pid", None) == pid)
    it, site = next(found, (None, NOWHERE))
    return it, site if site.where else look.watch.born.get(pid, site)


def children(look: Look) -> Iterator[Found]:
    """Processes that were started by the import and still run."""
    for it in look.objects["process"]:
        pid = getattr(getattr(it, "_popen", None), "pid", None)
        if pid is not None and pid not in look.processes and it._parent_pid == os.getpid():
            site = _started_at(look, pid)[1]
            if procfs.state_of(pid) not in (None, "Z", "X"):
                yield Found("LW140", f"the process {it.name!r} runs", site, it)
            look.processes.add(pid)
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    # Made for being shared: it counts names that each process tells it.
    spared = getattr(getattr(tracker, "_resource_tracker", None), "_pid", None)
    yield from _fork_server(look)
    for pid in procfs.children_of(os.getpid()):
        if pid in look.processes or pid == spared or procfs.state_of(pid) in (None, "Z", "X"):
            continue
        popen, site = _started_at(look, pid)
        yield Found("LW141", f"the child process {pid} ({procfs.comm(pid)}) runs", site, popen)


def _fork_server(look: Look) -> Iterator[Found]:
    """multiprocessing's: who asks it must be its parent, and workers are not."""
    it = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    pid = getattr(it, "_forkserver_pid", None)
    if pid is None or pid in look.processes:
        return
    look.processes.add(pid)
    site, alive = _started_at(look, pid)[1], getattr(it, "_forkserver_alive_fd", None)
    if not site.where and alive is not None:
        site = opened(look, alive, None)[0]
    yield Found("LW140", f"a fork server of multiprocessing runs ({pid})", site)
