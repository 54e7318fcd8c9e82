"""`@leeward.per_worker`: what each worker opens for itself and closes when it leaves.

    @leeward.per_worker
    async def db():
        pool = await asyncpg.create_pool(DSN)
        yield pool
        await pool.close()

    class Users(tornado.web.RequestHandler):
        async def get(self):
            self.write({"users": await db().fetchval("select count(*) from users")})

The function is one of four kinds: an asynchronous generator, a generator (what comes after
their `yield` closes), a coroutine function or a plain one (nothing to close).  Calling what
the decorator made of it gives the open value, with the type that the function yields.

A worker opens all of them after the fork, on its running loop, before its factory is called,
and closes them in reverse after its drain.  Alone, in `python app.py`, the first call opens
a resource whose function is not asynchronous, and `await db` any; they are closed when the
loop's `asyncio.run` ends, or the interpreter.

A resource that asks for another while it opens has it opened first: by `db()` if its function
mentions it by name, by `await db` in any case, or where it says so, `per_worker(needs=[db])`.

A generator is *resumed* to close, never thrown into, whatever happened elsewhere; so that
`x = open(); yield x; x.close()` closes.  `leeward.lives` is how they open and close,
`leeward.opening` how they are asked for, `leeward._worker.resources` when, in a worker.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar, overload

from leeward._core.durations import positive

T = TypeVar("T")

#: Every resource that was declared in this process, in the order of their declaration.
DECLARED: list[Resource[Any]] = []

#: Seconds between two checks, unless the check says otherwise.
EVERY = 10.0


class Held(Generic[T]):
    """An open value, and the process that it is open in."""

    __slots__ = ("pid", "value")

    def __init__(self, value: T) -> None:
        self.pid: int = os.getpid()
        self.value = value


class Resource(Generic[T]):
    """What `per_worker` makes of a function: call it for the open value.

    name:   of the function.
    where:  "app.py:12", the function's file and line.
    kind:   "async generator", "generator", "coroutine" or "plain".
    """

    def __init__(self, factory: Callable[[], Any], needs: Iterable[Resource[Any]] = ()) -> None:
        if not callable(factory):
            raise TypeError(f"per_worker decorates a function, not {factory!r}")
        _takes_nothing(factory)
        self.factory = factory
        self.needs = tuple(needs)
        for it in self.needs:
            if not isinstance(it, Resource):
                raise TypeError(f"needs names resources, and {it!r} is none")
        self.name = str(getattr(factory, "__name__", None) or type(factory).__name__)
        self.key = f"{getattr(factory, '__module__', '?')}:{_qualified(factory)}"
        self.kind = _kind(factory)
        self.held: Held[T] | None = None
        self.health: Callable[[T], object] | None = None
        self.every = EVERY
        self.__doc__ = getattr(factory, "__doc__", None)
        self.__wrapped__ = factory

    def __call__(self) -> T:
        """The open value.

        Raises NotOpen where there is none: before the worker has opened it, in a process
        that was forked off, after it was closed.
        """
        held = self.held
        if held is not None and held.pid == os.getpid():
            return held.value
        from leeward import opening

        value: T = opening.at_once(self)
        return value

    def __await__(self) -> Generator[Any, None, T]:
        """The open value, opened first if it is not."""
        held = self.held
        if held is not None and held.pid == os.getpid():
            return held.value
        from leeward import opening

        value: T = yield from opening.wait(self).__await__()
        return value

    @overload
    def check(self, function: Callable[[T], object], /) -> Callable[[T], object]: ...
    @overload
    def check(
        self, /, *, every: float | str
    ) -> Callable[[Callable[[T], object]], Callable[[T], object]]: ...
    def check(
        self, function: Callable[[T], object] | None = None, /, *, every: float | str = EVERY
    ) -> Any:
        """Have each worker look after the open value from time to time.

            @db.check(every="30s")
            async def alive(pool):
                await pool.fetchval("select 1")

        A check that raises, gives False or takes longer than `every` is told in the log and
        by `leeward ps`, until one passes.
        """

        interval = positive(every)

        def declare(function: Callable[[T], object]) -> Callable[[T], object]:
            self.health, self.every = function, interval
            return function

        return declare if function is None else declare(function)

    @property
    def where(self) -> str:
        code = getattr(inspect.unwrap(self.factory), "__code__", None)
        return "?" if code is None else f"{shown(code.co_filename)}:{code.co_firstlineno}"

    def __str__(self) -> str:
        return f"{self.name} ({self.where})"

    def __repr__(self) -> str:
        return f"<resource {self}>"


class _PerWorker(Protocol):
    """`per_worker(needs=…)`: the same decorator, with its arguments given."""

    @overload
    def __call__(self, factory: Callable[[], AsyncIterator[T]], /) -> Resource[T]: ...
    @overload
    def __call__(self, factory: Callable[[], Iterator[T]], /) -> Resource[T]: ...
    @overload
    def __call__(self, factory: Callable[[], Coroutine[Any, Any, T]], /) -> Resource[T]: ...
    @overload
    def __call__(self, factory: Callable[[], T], /) -> Resource[T]: ...


@overload
def per_worker(factory: Callable[[], AsyncIterator[T]], /) -> Resource[T]: ...
@overload
def per_worker(factory: Callable[[], Iterator[T]], /) -> Resource[T]: ...
@overload
def per_worker(factory: Callable[[], Coroutine[Any, Any, T]], /) -> Resource[T]: ...
@overload
def per_worker(factory: Callable[[], T], /) -> Resource[T]: ...
@overload
def per_worker(*, needs: Iterable[Resource[Any]]) -> _PerWorker: ...
def per_worker(
    factory: Callable[[], Any] | None = None, /, *, needs: Iterable[Resource[Any]] = ()
) -> Any:
    """Declare what each worker opens for itself.  See the module for the whole of it.

    needs:  resources to be open before this one is; only for what its function does not
            mention by name.
    """

    def declare(factory: Callable[[], Any]) -> Resource[Any]:
        resource: Resource[Any] = Resource(factory, needs)
        # A module that is loaded once more declares its resources once more.
        DECLARED[:] = [it for it in DECLARED if it.key != resource.key or _local(it.key)]
        DECLARED.append(resource)
        return resource

    return declare if factory is None else declare(factory)


def mentioned(resource: Resource[Any]) -> list[Resource[Any]]:
    """The resources that its function mentions, and functions that those mention.

    Found by reading the code: nothing is called.  In a `db()` without `await` there is no
    way to wait, so that it has to be known before.
    """
    found: list[Resource[Any]] = []
    seen: set[int] = set()
    todo: list[Any] = [inspect.unwrap(resource.factory)]
    while todo and len(seen) < _MOST_READ:
        thing = todo.pop(0)
        code = getattr(thing, "__code__", None)
        if code is None or id(thing) in seen:
            continue
        seen.add(id(thing))
        for value in _values(thing, code):
            if isinstance(value, Resource):
                if value is not resource and value not in found:
                    found.append(value)
            elif inspect.isfunction(value):
                todo.append(value)
    return found


#: Functions that are read for one resource: an application's own few, not all of a library's.
_MOST_READ = 200


def _values(function: Any, code: Any) -> Iterator[Any]:
    """What the names in `code` stand for now: globals, attributes of modules, closures."""
    scope = getattr(function, "__globals__", {})
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    codes = [code]
    for each in codes:
        codes += [it for it in each.co_consts if inspect.iscode(it)]
        for name in each.co_names:
            value = scope.get(name)
            yield value
            if inspect.ismodule(value):
                yield from (vars(value).get(it) for it in each.co_names)


def _kind(factory: Callable[..., Any]) -> str:
    if inspect.isasyncgenfunction(factory):
        return "async generator"
    if inspect.isgeneratorfunction(factory):
        return "generator"
    return "coroutine" if inspect.iscoroutinefunction(factory) else "plain"


def _takes_nothing(factory: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except (ValueError, TypeError):
        return  # a builtin that does not tell: the call will
    try:
        signature.bind()
    except TypeError as error:
        name = getattr(factory, "__name__", repr(factory))
        raise TypeError(
            f"per_worker calls {name}{signature} without arguments: {error}.  "
            "What it needs of others it asks for by calling them"
        ) from None


def _qualified(factory: object) -> str:
    return str(getattr(factory, "__qualname__", None) or repr(factory))


def _local(key: str) -> bool:
    """Made by a function: each call of that makes another."""
    return "<" in key


def shown(path: str) -> str:
    """`path` as a person in the working directory would type it."""
    try:
        return path.removeprefix(os.getcwd() + os.sep)
    except OSError:  # the directory was removed
        return path
