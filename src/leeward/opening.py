"""The way to this process's open resources: asked for at once, or waited for.

What a process has opened stands in its `leeward.lives.Book`.  A fork of it has an empty one.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from typing import Any

from leeward import hosting
from leeward.asking import asker, await_it, cycle
from leeward.errors import NotOpen
from leeward.lives import ASYNC, Book, Life
from leeward.resources import Resource

# --- asking ----------------------------------------------------------------------------------


def at_once(resource: Resource[Any]) -> Any:
    """The value of `resource`, opened here and now if that can be.  Raises NotOpen."""
    book = here()
    with book.lock:
        if is_open(resource):  # by another thread, meanwhile
            return resource()
        _may_open(book, resource)
        if resource in book.opening:
            who = asker.get()
            path = [] if who is None else book.waits.path(resource, who)
            if path:
                raise cycle([who, *path])
            raise NotOpen(f"{resource} is being opened", f"Wait for it: await {resource.name}")
        if resource.kind in ASYNC:
            if resource in book.lost:
                raise NotOpen(
                    f"{resource} has closed by itself", f"`await {resource.name}` opens it again"
                )
            raise await_it(resource)
        with book.asking(resource):
            return Life(book, resource).open_now()


async def wait(resource: Resource[Any]) -> Any:
    """The value of `resource`, opened on the way if need be.  Raises NotOpen."""
    book = here()
    if is_open(resource):  # meanwhile, by another task
        return resource()
    _may_open(book, resource)
    with book.asking(resource):
        life = book.opening.get(resource)
        if life is not None and life.task is None:  # a thread opens it, under the book's lock
            return await asyncio.to_thread(at_once, resource)
        if life is None:
            life = Life(book, resource)
            life.begin()
        return await asyncio.shield(life.ready)


def is_open(resource: Resource[Any]) -> bool:
    held = resource.held
    return held is not None and held.pid == os.getpid()


def _may_open(book: Book, resource: Resource[Any]) -> None:
    """Raises NotOpen where `resource` must not be opened: it would be shared, or left open."""
    held, pid = resource.held, os.getpid()
    if held is not None and held.pid != pid:
        raise NotOpen(
            f"{resource} was opened by process {held.pid}, and this is process {pid}, its fork",
            "A fork copies the connection's number, not the connection: use it in the process "
            "that has opened it, or start this one by multiprocessing's spawn",
        )
    if book.hosted:
        if book.closing or book.teller.over():
            raise NotOpen(f"{resource} is closed: this worker (pid {pid}) leaves")
        return
    if hosting.current is not None:
        raise NotOpen(
            f"{resource} is open in the worker, and this is process {pid}, which it forked",
            "Use it in the worker, or start this process by multiprocessing's spawn",
        )
    if _is_instance():
        raise NotOpen(
            f"{resource} is not open yet in process {pid}: each worker opens it after the fork, "
            "before its factory is called",
            "Ask for it in the factory or in a handler, not while modules are imported",
        )


# --- this process ------------------------------------------------------------------------------

_book: Book | None = None
_watching = False


def here() -> Book:
    """This process's book, a worker's if it is one."""
    global _book
    if _book is None or _book.pid != os.getpid():
        _book = Book()
        _watch_process()
    host = hosting.current
    if host is not None and host.pid == _book.pid and host.book is None:
        host.book, _book.hosted, _book.teller = _book, True, host.teller
    return _book


def _is_instance() -> bool:
    """Is this a zygote or worker of leeward's?"""
    return getattr(sys.modules.get("leeward._boot"), "role", "") in ("zygote", "worker")


def _watch_process() -> None:
    """Once, before anything is opened: what a fork and the end of the process mean for it."""
    global _watching
    if _watching:
        return
    _watching = True
    import leeward._sys.immortal  # noqa: F401  the child may have no descriptor for it

    os.register_at_fork(after_in_child=_in_child)
    atexit.register(_at_exit)


def _in_child() -> None:
    """Nothing of it is ours: it is not resumed here, and not freed either."""
    global _book
    from leeward._sys.immortal import keep_for_ever

    book, _book = _book, None
    if book is None:
        return
    keep_for_ever(book)
    for life in (*book.lives, *book.opening.values()):
        keep_for_ever(life)
        keep_for_ever(life.generator)
        keep_for_ever(life.task)


def _at_exit() -> None:
    book = _book
    if book is not None and book.pid == os.getpid() and book.lives and not book.hosted:
        book.close_without_loop()
