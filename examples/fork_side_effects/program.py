"""A Tornado program over a Dubbo provider, whose client is made before the fork.

    python program.py --client naive PORT PROVIDER-PORT        bare: see what happens
    leeward serve program.py -- --client naive PORT PROVIDER-PORT

GET /find asks the provider for something that nobody else asks for, and answers 200 if the
provider's reply was about that, 502 if it was about something else, 503 if there was none.
"""

import argparse
import asyncio
import itertools
import os
import sys
from pathlib import Path

from tornado import httpserver, netutil, process, web

sys.path.insert(0, str(Path(__file__).parent))
from dubbo import Dubbo, DubboError
from naive import NaiveDubbo

parser = argparse.ArgumentParser()
parser.add_argument("--client", choices=["naive", "line"], default="line")
parser.add_argument("--encoding", default="utf-8")
parser.add_argument("--patience", type=float, default=5.0, help="seconds for a reply")
parser.add_argument("port", type=int)
parser.add_argument("provider", type=int)
options = parser.parse_args()

numbers = itertools.count()
if options.client == "naive":
    naive = NaiveDubbo("127.0.0.1", options.provider, options.encoding, options.patience)
else:
    address = f"127.0.0.1:{options.provider}"
    dubbo = Dubbo(address, options.encoding, timeout=options.patience)


async def find(name):
    if options.client == "naive":
        return naive.invoke("com.acme.StockService.find", name)
    return await dubbo.com.acme.StockService.find(name)


class Find(web.RequestHandler):
    async def get(self):
        name = f"库存 {os.getpid()} {next(numbers)}"
        try:
            stock = await find(name)
        except (OSError, UnicodeError, DubboError):
            self.set_status(503)
            return
        if stock["name"] != name:
            print("crossed", flush=True)
            self.set_status(502)


async def serve(sockets):
    httpserver.HTTPServer(web.Application([("/find", Find)], log_function=quiet)).add_sockets(
        sockets
    )
    print("listening", flush=True)
    await asyncio.Event().wait()


def quiet(handler):
    pass


if __name__ == "__main__":
    sockets = netutil.bind_sockets(options.port, "127.0.0.1")
    process.fork_processes(4)
    asyncio.run(serve(sockets))
