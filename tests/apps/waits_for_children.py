"""Starts children by Tornado's class and by asyncio's, and answers with their codes."""

import asyncio

from tornado.process import Subprocess
from tornado.web import Application, RequestHandler


class Both(RequestHandler):
    async def get(self) -> None:
        async def by_asyncio(code: int) -> int:
            child = await asyncio.create_subprocess_exec("/bin/sh", "-c", f"exit {code}")
            return await child.wait()

        async def by_tornado(code: int) -> int:
            child = Subprocess(["/bin/sh", "-c", f"exit {code}"])
            return await child.wait_for_exit(raise_error=False)

        ways = [way(code) for code in range(5) for way in (by_asyncio, by_tornado)]
        codes = await asyncio.gather(*ways)
        self.write({"loop": type(asyncio.get_running_loop()).__module__, "codes": codes})


def app() -> Application:
    return Application([("/", Both)])
