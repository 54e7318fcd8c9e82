"""A guest book with everything that a worker opens for itself: redis, PostgreSQL, HTTP.

    leeward serve examples/resources/counter.py:make_app -w 4
    python examples/resources/counter.py                          alone, in one process

REDIS_URL (redis://127.0.0.1:6379/0), DATABASE_URL (postgresql://127.0.0.1:5432/postgres) and
UPSTREAM (http://127.0.0.1:8000/alive) say where they are.  What is not installed, or given as
"", is left out: the example runs with any of them.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import tornado.httpclient
import tornado.web

import leeward

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
DATABASE_URL = os.environ.get("DATABASE_URL", "postgresql://127.0.0.1:5432/postgres")
UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8000/alive")

HAS_REDIS = bool(REDIS_URL) and importlib.util.find_spec("redis") is not None
HAS_POSTGRES = bool(DATABASE_URL) and importlib.util.find_spec("asyncpg") is not None


if HAS_REDIS:
    import redis.asyncio

    @leeward.per_worker
    async def counts() -> AsyncIterator[redis.asyncio.Redis]:
        """A pool of connections: what is opened by one worker is never used by another."""
        client = redis.asyncio.from_url(REDIS_URL, socket_timeout=5)
        await client.ping()  # a worker without its redis is no worker: it says so, with this line
        yield client
        await client.aclose()

    @counts.check(every="10s")
    async def counts_answer(client: redis.asyncio.Redis) -> None:
        await client.ping()


if HAS_POSTGRES:
    import asyncpg

    @leeward.per_worker
    async def guests() -> AsyncIterator[asyncpg.Pool]:
        pool = await asyncpg.create_pool(DATABASE_URL, min_size=1, max_size=4, timeout=5)
        # Several workers begin at once, and CREATE … IF NOT EXISTS is no lock.
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("select pg_advisory_xact_lock(4711)")
            await connection.execute(
                "create table if not exists guests (name text, at timestamptz default now())"
            )
        yield pool
        await pool.close()

    @leeward.on_one_worker(every="1m")
    async def forget_guests() -> None:
        """Once for the whole instance, however many workers it has."""
        await guests().execute("delete from guests where at < now() - interval '1 day'")


@leeward.per_worker
def http() -> Iterator[tornado.httpclient.AsyncHTTPClient]:
    client = tornado.httpclient.AsyncHTTPClient(force_instance=True, max_clients=20)
    yield client
    client.close()


class Visit(tornado.web.RequestHandler):
    """Counts in redis, remembers in PostgreSQL: ?name=Ada."""

    async def get(self) -> None:
        name = self.get_argument("name", "somebody")
        found: dict[str, Any] = {"worker": os.getpid(), "name": name}
        if HAS_REDIS:
            found["visits"] = await counts().incr(f"visits:{name}")
        if HAS_POSTGRES:
            await guests().execute("insert into guests (name) values ($1)", name)
            found["guests"] = await guests().fetchval("select count(distinct name) from guests")
        self.write(found)


class Upstream(tornado.web.RequestHandler):
    """Asks another service, by this worker's own client."""

    async def get(self) -> None:
        answer = await http().fetch(self.get_argument("url", UPSTREAM), request_timeout=5)
        self.write({"worker": os.getpid(), "status": answer.code, "body": answer.body.decode()})


class Alive(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write("alive")


def make_app() -> tornado.web.Application:
    return tornado.web.Application([("/", Visit), ("/upstream", Upstream), ("/alive", Alive)])


async def main() -> None:
    """Alone nobody opens anything before it is asked for: what is asynchronous is awaited here."""
    if HAS_REDIS:
        await counts
    if HAS_POSTGRES:
        await guests
    make_app().listen(8000, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
