"""The objects of this process that matter around a fork, found by type name.

One pass over what the garbage collector knows, without importing anything: whoever has
not imported sqlite3 has no connection of it.  The pass is made in C (`map(type, …)`);
only objects of the few types that matter are looked at: 20 ms for 500,000 objects.
"""

from __future__ import annotations

import gc
import operator
from collections.abc import Collection, Iterable, Iterator
from itertools import compress, repeat
from typing import Any, NamedTuple

#: Kind: (module or its beginning, qualified name) of a class that is in the type's MRO.
#: A module that ends with a dot is a beginning.
_KINDS: dict[str, tuple[tuple[str, str], ...]] = {
    "socket": (("_socket", "socket"),),
    "tls": (("ssl", "SSLSocket"),),
    "sqlite": (("sqlite3", "Connection"),),
    "file": (("_io", "_IOBase"),),
    "random": (("_random", "Random"),),
    "numpy": (
        ("numpy.random._generator", "Generator"),
        ("numpy.random.mtrand", "RandomState"),
    ),
    "handler": (("logging", "Handler"),),
    "loguru": (("loguru._file_sink", "FileSink"),),
    "listener": (("logging.handlers", "QueueListener"),),
    "executor": (
        ("concurrent.futures.thread", "ThreadPoolExecutor"),
        ("concurrent.futures.process", "ProcessPoolExecutor"),
    ),
    "loop": (("asyncio.events", "AbstractEventLoop"), ("uvloop.loop", "Loop")),
    "multiprocessing": (
        ("multiprocessing.pool", "Pool"),
        ("multiprocessing.queues", "Queue"),
        ("multiprocessing.queues", "SimpleQueue"),
        ("multiprocessing.managers", "BaseManager"),
    ),
    "pipe": (("multiprocessing.connection", "_ConnectionBase"),),
    "process lock": (
        ("multiprocessing.synchronize", "Lock"),
        ("multiprocessing.synchronize", "RLock"),
    ),
    "directory": (("tempfile", "TemporaryDirectory"),),
    "tls protocol": (("asyncio.sslproto", "SSLProtocol"),),
    "process": (("multiprocessing.process", "BaseProcess"),),
    "lock": (("_thread", "lock"), ("_thread", "RLock"), ("threading", "_RLock")),
    # Clients that are shared or dead after a fork although no descriptor or thread of
    # theirs may be there yet, or none that can be told from others.
    "client": (
        ("grpc.", "Channel"),
        ("grpc.", "Server"),
        ("grpc.", "_Server"),
        ("zmq.", "Context"),
        ("confluent_kafka.", "Producer"),
        ("confluent_kafka.", "Consumer"),
        ("cimpl", "Producer"),
        ("cimpl", "Consumer"),
        ("cimpl", "_AdminClientImpl"),
        ("pymongo.", "MongoClient"),
        ("pymongo.", "AsyncMongoClient"),
        ("kafka.", "KafkaProducer"),
        ("kafka.", "KafkaConsumer"),
    ),
    # Whoever tells the number of a descriptor that C code has opened.
    "connection": (
        ("psycopg2.", "connection"),
        ("psycopg.", "BaseConnection"),
        ("MySQLdb.", "Connection"),
        ("asyncpg.", "Connection"),
        ("pycurl", "Curl"),
        ("cx_Oracle", "Connection"),
        ("pymssql.", "Connection"),
    ),
}

#: The same by qualified name, which rules out nearly all: asked for each kind in turn, the 250
#: types of a small application took 13 ms.
_NAMED: dict[str, list[tuple[str, str]]] = {}
for _kind, _wanted in _KINDS.items():
    for _module, _name in _wanted:
        _NAMED.setdefault(_name, []).append((_module, _kind))

#: Clients in C by their package, and the library that their threads run in.
_LIBRARIES = {"cimpl": "librdkafka", "grpc": "cygrpc", "zmq": "libzmq"}
#: Channels in each other, at most: each interceptor makes one.
_INTERCEPTORS = 20
#: grpc.ChannelConnectivity.SHUTDOWN.
_GRPC_SHUTDOWN = 4


def is_of(it: object, package: str) -> bool:
    """Is its class, or one that it is made from, of that package?"""
    places = (str(base.__dict__.get("__module__", base.__module__)) for base in type(it).__mro__)
    return any(place == package or place.startswith(f"{package}.") for place in places)


def libraries(clients: Iterable[object]) -> set[str]:
    """Those whose threads and descriptors are told of with these clients."""
    clients = list(clients)
    found = (
        name for package, name in _LIBRARIES.items() if any(is_of(it, package) for it in clients)
    )
    return set(found)


def is_closed(client: Any) -> bool:
    """Was it closed?  False if it does not tell."""
    if getattr(client, "closed", False) is True or getattr(client, "_closed", False) is True:
        return True
    if not is_of(client, "grpc"):
        return False
    for _ in range(_INTERCEPTORS):
        client = getattr(client, "_channel", client)
    if (state := getattr(client, "check_connectivity_state", None)) is None:
        return False  # a server: it says the same before its start as after its end
    try:
        return bool(state(False) == _GRPC_SHUTDOWN)
    except Exception:  # ValueError, or what another version raises: nothing can be asked any more
        return True


class Inventory(NamedTuple):
    """All objects that the garbage collector knows.

    keys:   of the type of each, see `told_apart`.
    types:  by their keys.
    """

    objects: list[Any]
    keys: list[Any]
    types: dict[Any, type]

    def of(self, wanted: Collection[Any]) -> Iterator[tuple[Any, Any]]:
        """Each object of a type with one of these keys, and its key."""
        chosen = list(map(wanted.__contains__, self.keys))
        return zip(compress(self.objects, chosen), compress(self.keys, chosen), strict=True)


def take_inventory() -> Inventory:
    """It is not in itself: what is dropped soon must not wait for the collector."""
    objects = gc.get_objects()
    types = list(map(type, objects))
    keys = told_apart(types)
    return Inventory(objects, keys, dict(zip(keys, types, strict=True)))


def scan(inventory: Inventory | None = None) -> dict[str, list[Any]]:
    """Kind to its objects; a kind without an object is []."""
    found: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    everything = inventory or take_inventory()
    kinds = {key: kinds for key, cls in everything.types.items() if (kinds := frozenset(_of(cls)))}
    for it, key in everything.of(kinds):
        for kind in kinds[key]:
            found[kind].append(it)
    return found


_COMPARED = frozenset(("__hash__", "__eq__"))


def told_apart(types: list[type]) -> list[Any]:
    """For each of these types a key that is its own.

    Itself, if metaclasses leave alone how classes are hashed and compared; else they may be
    unhashable, or equal to others, and all are known by where they are.  That takes 150 ns for
    each object, three times a pass of a process with 33,000.  Not `id`: audit hooks are told of
    each call, ours too, which took as long again.
    """
    return types if _are_plain() else list(map(object.__hash__, types))


def _are_plain() -> bool:
    """Does every metaclass of this process hash and compare its classes as `type` does?"""
    makers: list[Any] = [type]
    for maker in makers:  # which grows
        makers += type.__subclasses__(maker)
    # What a metaclass is mixed from need be none itself.
    return all(map(operator.is_, map(type, makers), repeat(type))) and all(
        _COMPARED.isdisjoint(vars(base)) for maker in makers for base in maker.__mro__[:-1]
    )


def _of(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        for module, kind in _NAMED.get(base.__qualname__, ()):
            # A type may say anything of itself: `__module__` is a property in some.
            place = str(base.__dict__.get("__module__", base.__module__))
            if place == module or (module[-1] == "." and _below(place, module)):
                yield kind


def _below(place: str, package: str) -> bool:
    return place.startswith(package) or place == package[:-1]
