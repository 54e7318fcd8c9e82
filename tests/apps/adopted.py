"""Programs that serve by themselves, one for each way that they are written in.

    adopted.py FORM [--port=N]

Each is what Tornado's documentation shows, or showed; none knows of leeward.
"""

import asyncio
import os
import sys

import tornado.netutil
import tornado.process
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream
from tornado.tcpserver import TCPServer
from tornado.web import Application, RequestHandler

FORM = (sys.argv[1:] or [os.environ.get("FORM", "")])[0]
PORT = int((sys.argv[2:] or ["--port=0"])[0].removeprefix("--port="))


class Hello(RequestHandler):
    def get(self) -> None:
        self.write(
            {
                "pid": os.getpid(),
                "task_id": tornado.process.task_id(),
                "name": __name__,
                "argv": sys.argv,
                "ip": self.request.remote_ip,
                "protocol": self.request.protocol,
            }
        )

    async def post(self) -> None:
        self.write({"length": len(self.request.body)})


def application(**settings: object) -> Application:
    return Application([("/", Hello)], log_function=lambda handler: None, **settings)


def start_the_loop() -> None:
    IOLoop.current().start()
    print("the program goes on", flush=True)


def listen() -> None:
    application().listen(PORT, "127.0.0.1")
    start_the_loop()


def listen_start() -> None:
    server = HTTPServer(application())
    server.listen(PORT, "127.0.0.1")
    server.start(2)
    start_the_loop()


def bind_start() -> None:
    server = HTTPServer(application(), xheaders=True, max_body_size=1000)
    server.bind(PORT, "127.0.0.1")
    server.start(2)
    start_the_loop()


def bind_start_cores() -> None:
    server = HTTPServer(application())
    server.bind(PORT, "127.0.0.1")
    server.start(0)
    start_the_loop()


def fork_processes() -> None:
    sockets = tornado.netutil.bind_sockets(PORT, "127.0.0.1")
    tornado.process.fork_processes(2)

    async def main() -> None:
        HTTPServer(application()).add_sockets(sockets)
        await asyncio.Event().wait()

    asyncio.run(main())


def asyncio_run() -> None:
    async def main() -> None:
        application().listen(PORT, address="127.0.0.1", xheaders=True)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            print("the program cleans up", flush=True)

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("the program goes on", flush=True)


def run_until_complete() -> None:
    async def main() -> None:
        application().listen(PORT, "127.0.0.1")
        await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main())
    except KeyboardInterrupt:
        print("the program goes on", flush=True)
    finally:
        loop.run_until_complete(asyncio.sleep(0))
        print("the program cleans up", flush=True)


def run_sync() -> None:
    async def main() -> None:
        application().listen(PORT, "127.0.0.1")
        await asyncio.Event().wait()

    IOLoop.current().run_sync(main)


def listen_then_asyncio_run() -> None:
    """Bare Tornado registers the port with another loop than the one that runs: deaf."""
    application().listen(PORT, "127.0.0.1")
    asyncio.run(asyncio.Event().wait())


def subclass() -> None:
    class Server(HTTPServer):
        def initialize(self, *args: object, **kwargs: object) -> None:
            super().initialize(*args, **kwargs, xheaders=True)

    server = Server(application())
    server.bind(PORT, "127.0.0.1")
    server.start()
    start_the_loop()


def debug() -> None:
    application(debug=True).listen(PORT, "127.0.0.1")
    start_the_loop()


def debug_in_asyncio_run() -> None:
    async def main() -> None:
        application(debug=True).listen(PORT)
        await asyncio.Event().wait()

    asyncio.run(main())


def two_ports() -> None:
    server = HTTPServer(application())
    server.listen(PORT, "127.0.0.1")
    server.listen(PORT, "127.0.0.2")
    start_the_loop()


def tls() -> None:
    here = os.environ["CERTIFICATES"]
    options = {"certfile": f"{here}/cert.pem", "keyfile": f"{here}/key.pem"}
    HTTPServer(application(), ssl_options=options).listen(PORT, "127.0.0.1")
    start_the_loop()


def never_as_root() -> None:
    """Ends wherever it is run with root's rights."""
    if 0 in os.getresuid() + os.getresgid():
        sys.exit("it is run as root")
    listen()


class More(RequestHandler):
    """Opens one port more, as an extension does that starts a server of its own."""

    async def get(self, how: str) -> None:
        class Line(TCPServer):
            async def handle_stream(self, stream: IOStream, address: object) -> None:
                await stream.write(b"a line\n")
                stream.close()

        if how == "http":
            server: TCPServer = HTTPServer(application())
        else:
            server = Line()
        if how == "sockets":
            sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
            server.add_sockets(sockets)
        elif how == "bind":
            server.bind(0, "127.0.0.1")
            server.start()
        elif how == "held":
            server.listen(int(self.get_argument("port")), "127.0.0.1")
        else:
            server.listen(0, "127.0.0.1")
        (sock,) = server._sockets.values()
        MORE.append(server)
        self.write(str(sock.getsockname()[1]))

    def post(self, how: str) -> None:
        for server in MORE:
            server.stop()


MORE: list[TCPServer] = []


def opens_more() -> None:
    Application([("/", Hello), ("/more/(.*)", More)]).listen(PORT, "127.0.0.1")
    start_the_loop()


def opens_another_behind_a_wait() -> None:
    async def main() -> None:
        application().listen(PORT, "127.0.0.1")
        await asyncio.sleep(0)
        HTTPServer(application()).listen(0, "127.0.0.1")
        await asyncio.Event().wait()

    asyncio.run(main())


# --- those that cannot be served, or only just --------------------------------------------


def two_servers() -> None:
    application().listen(8888, "127.0.0.1")
    HTTPServer(application()).listen(8889)
    start_the_loop()


def never_listens() -> None:
    start_the_loop()


def ends() -> None:
    print("nothing to do today", flush=True)


def listens_and_ends() -> None:
    application().listen(PORT, "127.0.0.1")


def listens_and_raises() -> None:
    async def main() -> None:
        application().listen(PORT, "127.0.0.1")
        raise KeyboardInterrupt

    asyncio.run(main())


def returns_at_once() -> None:
    async def main() -> None:
        application().listen(PORT, "127.0.0.1")

    asyncio.run(main())


def calls_sys_exit() -> None:
    sys.exit("no configuration was given")


def raises() -> None:
    {}["database"]


def own_socket() -> None:
    import socket

    HTTPServer(application()).add_sockets([socket.create_server(("127.0.0.1", 0))])
    start_the_loop()


def in_a_thread() -> None:
    import threading

    async def main() -> None:
        application().listen(PORT, "127.0.0.1")
        await asyncio.Event().wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="server")
    thread.start()
    thread.join()


def forks_by_itself() -> None:
    for _ in range(2):
        if os.fork() == 0:
            break
    application().listen(PORT, "127.0.0.1")
    start_the_loop()


def handles_signals() -> None:
    import signal

    def stop(signum: int, frame: object) -> None:
        print(f"the program got {signum}", file=sys.stderr, flush=True)
        IOLoop.current().add_callback_from_signal(IOLoop.current().stop)

    signal.signal(signal.SIGTERM, stop)
    application().listen(PORT, "127.0.0.1")
    start_the_loop()


def starts_twice() -> None:
    application().listen(PORT, "127.0.0.1")
    loop = IOLoop.current()
    loop.call_later(0, loop.stop)
    loop.start()
    print("once more", flush=True)
    loop.start()
    print("and again", flush=True)
    loop.start()


def stops_its_loop() -> None:
    class Stop(RequestHandler):
        def get(self) -> None:
            self.write("stopping")
            loop = IOLoop.current()
            loop.add_callback(loop.stop)

    Application([("/stop", Stop), ("/", Hello)]).listen(PORT, "127.0.0.1")
    start_the_loop()


def exits_while_it_serves() -> None:
    def leave() -> None:
        sys.exit(7)

    class Exit(RequestHandler):
        def get(self) -> None:
            self.write("leaving")
            IOLoop.current().asyncio_loop.call_soon(leave)

    Application([("/exit", Exit), ("/", Hello)]).listen(PORT, "127.0.0.1")
    start_the_loop()


if __name__ == "__main__":
    globals()[FORM]()
