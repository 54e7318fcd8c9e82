"""Takes and gives bodies of any size, piece by piece."""

import random
import zlib

import tornado.web

#: What every download consists of, over and over.
PIECE = random.Random(7).randbytes(64 * 1024)


@tornado.web.stream_request_body
class Bytes(tornado.web.RequestHandler):
    def prepare(self):
        self.request.connection.set_max_body_size(1 << 40)
        self.came, self.sum = 0, 0

    async def data_received(self, chunk):
        self.came, self.sum = self.came + len(chunk), zlib.crc32(chunk, self.sum)

    def put(self):
        self.write({"bytes": self.came, "crc32": self.sum})

    async def get(self):
        for _ in range(int(self.get_argument("pieces"))):
            self.write(PIECE)
            await self.flush()


def make_app():
    return tornado.web.Application([("/", Bytes)])
