"""A Dubbo provider's telnet, as far as `invoke` goes; its replies come in random fragments.

    python provider.py --port 20880 --encoding gb2312 --form old --seed 7

Service `com.acme.StockService`: `find(name)` answers with the name and a text that looks
like the end of a reply; `slow(name, milliseconds)` takes its time; `fail(name)` raises.
"""

import argparse
import asyncio
import json
import random
import re

SERVICE = "com.acme.StockService"
#: Bait: what clients in the wild take for the end of a reply.
REMARK = "dubbo> and elapsed: 3 ms.\r\ndubbo>"
COMMAND = re.compile(r"invoke\s+(?:(.*)\.)?(\w+)\((.*)\)$", re.S)


class Provider:
    def __init__(self, encoding="utf-8", form="new", seed=None, pause=0.002):
        self.encoding, self.form, self.pause = encoding, form, pause
        self.random = random.Random(seed)

    async def serve(self, reader, writer):
        try:
            while True:
                line = (await reader.readuntil(b"\n")).decode(self.encoding).strip()
                reply = await self.answer(line)
                # A line that is empty has only the prompt for an answer.
                text = f"{reply}\r\ndubbo>" if reply else "dubbo>"
                await self.send(writer, text.encode(self.encoding))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()

    async def send(self, writer, data):
        """In fragments, cut anywhere: within a character, within the prompt.

        Three of four come whole, or the client in the wild would get hardly any reply.
        """
        if self.random.random() < 0.75:
            writer.write(data)
            return
        while data:
            size = self.random.choice((1, 2, 7, 30, len(data)))
            writer.write(data[:size])
            data = data[size:]
            if data:
                await writer.drain()
                await asyncio.sleep(self.random.random() * self.pause)

    async def answer(self, line):
        if not line:
            return ""
        if not line.startswith("invoke"):
            return f"Unsupported command: {line.split()[0]}"
        match = COMMAND.match(line)
        if not match:
            return "Invalid parameters, format: service.method(args)"
        service, method, words = match.groups()
        try:
            args = json.loads(f"[{words}]")
        except ValueError as error:
            return f"Invalid json argument, cause: {error}"
        default = f"Use default service {service}.\r\n" if self.form == "new" else ""
        if service not in (SERVICE, SERVICE.rpartition(".")[2]):
            return f"{default}No such service {service}"
        if method not in ("find", "slow", "fail"):
            return f"{default}No such method {method} in service {service}"
        if method == "fail":
            return f"Failed to invoke method fail, cause: {args[0]}\n\tat dubbo> {SERVICE}"
        if method == "slow":
            await asyncio.sleep(args[1] / 1000)
        result = json.dumps({"name": args[0], "remark": REMARK}, ensure_ascii=False)
        label = "result: " if self.form == "new" else ""
        return f"{default}{label}{result}\r\nelapsed: {self.random.randrange(2000)} ms."


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=20880)
    parser.add_argument("--encoding", default="utf-8")
    parser.add_argument("--form", choices=["old", "new"], default="new")
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    provider = Provider(options.encoding, options.form, options.seed)
    server = await asyncio.start_server(provider.serve, "127.0.0.1", options.port)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
