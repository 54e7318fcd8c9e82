"""By its text alone it is told whether a file is imported or run."""

from __future__ import annotations

import pytest

from leeward._core.programs import Look, look

LISTENS = "if __name__ == '__main__':\n    server.listen(8888)\n"


@pytest.mark.parametrize(
    ("text", "usual"),
    [
        ("app = 1", "app"),
        ("x, application = 1, 2", "application"),
        ("app: object = 1", "app"),
        ("app: object", ""),
        ("settings.app = 1", ""),
        ("settings['x'].app: int = 1", ""),
        ("def make_app(): ...", "make_app"),
        ("async def make_app(room='lobby', *, n=1): ...", "make_app"),
        ("def make_app(config): ...", ""),
        ("def make_app(config, /): ...", ""),
        ("def make_app(*, config): ...", ""),
        ("@click.command()\ndef make_app(config): ...", "make_app"),
        ("class app: ...", ""),
        ("from rooms import make_app", "make_app"),
        ("from rooms import main as create_app", "create_app"),
        ("import app", ""),
        ("def make_app(): ...\napp = 1", "app"),
        ("if debug:\n    app = 1", "app"),
        ("if debug:\n    pass\nelse:\n    app = 1", "app"),
        ("try:\n    import x\nexcept ImportError:\n    app = 1", "app"),
        ("try:\n    app = 1\nfinally:\n    pass", "app"),
        ("with open(x) as f:\n    app = 1", "app"),
        ("for x in y:\n    app = 1", "app"),
        ("if __name__ == '__main__':\n    app = 1", ""),
        ("if __name__ != '__main__':\n    pass\nelse:\n    app = 1", "app"),
        ("def main():\n    app = 1", ""),
    ],
)
def test_the_usual_names(text: str, usual: str) -> None:
    """A usual name counts where importing the file would define it, callable without arguments."""
    assert look(text).usual == usual


@pytest.mark.parametrize(
    ("text", "serves"),
    [
        ("server.listen(8888)", "listen() in line 1"),
        ("\nserver.bind(8888)\nserver.start(2)", "bind() in line 2"),
        ("def main():\n    bind_sockets(8888)", "bind_sockets() in line 2"),
        ("tornado.process.fork_processes(0)", "fork_processes() in line 1"),
        ("IOLoop.current().start()", "start() in line 1"),
        ("tornado.ioloop.IOLoop.instance().start()", "start() in line 1"),
        ("server.io_loop.start()", "start() in line 1"),
        ("self._loop.start()", "start() in line 1"),
        ("mainloop = x\nmain_loop.start()", "start() in line 2"),
        ("blooper.start()", ""),
        ("refresh_loop.start()", ""),
        ("asyncio.run(main())", "run() in line 1"),
        ("loop.run_forever()", "run_forever() in line 1"),
        ("thread.start()", ""),
        ("start()", ""),
        ("subprocess.run(['true'])", ""),
        ("run(main())", ""),
        ("make()()", ""),
        ("listen = 8888", ""),
        ("app.listen(options.port)", "listen() in line 1"),
        ("app.listen('8888')", "listen() in line 1"),
        ("app.listen(os.environ.get('PORT', 8888), '::')", "listen() in line 1"),
        ("app.listen(port=8888, xheaders=True)", "listen() in line 1"),
        ("server.listen(*args)", "listen() in line 1"),
        ("server.listen(**options)", "listen() in line 1"),
        ("server.listen(8888, '::', socket.AF_INET6)", "listen() in line 1"),
        ("server.listen(opts.port, '::', socket.AF_INET6)", "listen() in line 1"),
        ("server.listen(int(sys.argv[1]), '', socket.AF_INET)", "listen() in line 1"),
        ("server.bind(PORT, '127.0.0.1')", "bind() in line 1"),
        ("server.bind(port, address='127.0.0.1')", "bind() in line 1"),
        ("server.bind(port=8888, backlog=9)", "bind() in line 1"),
        ("sock.bind(('', 80))", "bind() in line 1"),
        ("sock.bind(address)", "bind() in line 1"),
        ("pubsub.listen()", ""),
        ("connection.listen('channel')", ""),
        ("event.listen(engine, 'connect', on_connect)", ""),
        ("event.listen(Engine, 'connect', on_connect)", ""),
        ("event.listen(db.engine, 'connect', on_connect, named=True)", ""),
        ("log = structlog.get_logger().bind(service='chat')", ""),
        ("log = logger.bind(**context)", ""),
        ("log = structlog.get_logger().bind(host=host, port=port)", ""),
        ("signature.bind(*args, **kwargs)", ""),
        ("signature.bind(self, *args)", ""),
        ("publisher.bind('tcp://*:5555')", ""),
        ("publisher.bind(f'tcp://*:{port}')", ""),
        ("window.bind('<Key>', on_key)", ""),
        ("binder.bind(Database, to=database)", ""),
        ("binder.bind(Database)", ""),
        ("database.bind([User, Room])", ""),
        ("field.bind(lambda: 1)", ""),
        ("binder.bind(interface, to=database)", ""),
        ("task.bind(True)", ""),
    ],
)
def test_how_a_program_serves(text: str, serves: str) -> None:
    """The first call by which it opens a port, forks, or runs a loop."""
    assert look(text).serves == serves


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (LISTENS, True),
        ("app = 1\n" + LISTENS, False),
        ("app = 1\napp.listen(8888)", True),
        ("app = 1\nserver = app.listen(8888)", True),
        ("app = 1\nif True:\n    app.listen(8888)", True),
        ("app = 1\ndef main():\n    app.listen(8888)\n", False),
        ("app = 1\nIOLoop.current().start()", True),
        ("app = 1\nasyncio.run(migrate())", False),
        ("app = 1\nIOLoop.current().run_sync(connect)", False),
        ("app = 1\nloop.run_until_complete(warm())", False),
        ("app = 1\nasync def main():\n    app.listen(8888)\nasyncio.run(main())", True),
        ("asyncio.run(main())", True),
        ("app = 1\nrefresh_loop = PeriodicCallback(f, 9)\nrefresh_loop.start()", False),
        ("from chat.web import *\nif __name__ == '__main__':\n    main()", False),
        ("def main():\n    app.listen(8888)\nmain()", True),
        ("app = 1\ndef main():\n    app.listen(8888)\nmain()", True),
        ("app = 1\ndef main():\n    app.listen(8888)\nother()", False),
        ("x = 1", False),
        ("def broken(:", False),
        (b"app = 1", False),
        (b"\x00", False),
        ("(" * 10_000, False),
    ],
)
def test_which_files_are_programs(text: str | bytes, program: bool) -> None:
    """One that serves and has no application, or that would serve when imported."""
    assert look(text).is_program is program


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("if __name__ == '__main__':\n    main()", 'its `if __name__ == "__main__"` in line 1'),
        ("\nif '__main__' == __name__:\n    x = f()", 'its `if __name__ == "__main__"` in line 2'),
        ("if __name__ == '__main__':\n    pass", ""),
        ("x = 1\nsys.exit(main())", "its last line, 2"),
        ("raise SystemExit(main())", "its last line, 1"),
        ("main()", "its last line, 1"),
        ("launch_new_instance()", "its last line, 1"),
        ("ServerApp.launch_instance()", "its last line, 1"),
        ("Server().run()", "its last line, 1"),
        ("main()\nx = 1", ""),
        ("x = main()", ""),
        ("runner()", ""),
        ("setup_logging()", ""),
        ("sys.exit(1)", ""),
        ("raise ImportError(name())", ""),
        ("raise", ""),
        ("", ""),
    ],
)
def test_a_program_whose_serving_stands_elsewhere(text: str, runs: str) -> None:
    """It is for the one who runs the file; beside an application it is not asked for."""
    assert look(text).runs == runs
    assert look(text).is_program is bool(runs)
    assert not look(f"app = 1\n{text}").is_program


def test_what_cannot_be_parsed_shows_nothing() -> None:
    """Who imports it will say what is wrong."""
    assert look("def broken(:") == Look(broken=True)
