"""Sends 8 MB to whoever asks."""

from tornado import web


class Much(web.RequestHandler):
    async def get(self) -> None:
        for _ in range(8):
            self.write(b"x" * 1_000_000)
            await self.flush()


def make_app() -> web.Application:
    return web.Application([("/", Much)], log_function=lambda handler: None)
