"""Listening sockets: bound, adopted, described, refused."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing

import pytest

from leeward._sys import sockets
from leeward._sys.addresses import parse
from leeward._sys.files import lines
from leeward._sys.sockets import bind, bind_all, describe, is_live, listen_fds, listener, resolve
from leeward.errors import BindError

root_only = pytest.mark.skipif(os.getuid() != 0, reason="gives up root's rights in a child")


def accepts(sock: socket.socket) -> bool:
    """Whether a client can connect to `sock`."""
    with socket.socket(sock.family, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(sock.getsockname())
    return True


def is_listening(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


# --- TCP -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0", "localhost:0"])
def test_a_bound_socket_listens_and_keeps_to_itself(text):
    """Non-blocking, close-on-exec, IPv6 only for IPv6, and no SO_REUSEPORT."""
    with bind(parse(text), 16) as sock:
        assert is_listening(sock)
        assert not sock.getblocking()
        assert not sock.get_inheritable()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        if sock.family == socket.AF_INET6:
            assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        if sock.getsockname()[0] not in ("0.0.0.0", "::"):
            assert accepts(sock)


def test_all_interfaces_are_both_families_on_one_port():
    """:0 is 0.0.0.0 and [::] with the same port, which the kernel chose."""
    with ExitStack() as stack:
        socks = [stack.enter_context(sock) for sock in bind_all(parse(":0"), 16)]
        assert [sock.getsockname()[0] for sock in socks] == ["0.0.0.0", "::"]
        assert len({sock.getsockname()[1] for sock in socks}) == 1


def found(*hosts: str) -> object:
    """A getaddrinfo that finds `hosts` for a name, and numbers as ever."""
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        if host != "two.example":
            return real(host, port, *args, **kwargs)
        return [entry for each in hosts for entry in real(each, port, *args, **kwargs)]

    return getaddrinfo


def test_a_name_is_bound_on_each_of_its_addresses(monkeypatch):
    """Once each, though the resolver names one twice."""
    monkeypatch.setattr(socket, "getaddrinfo", found("127.0.0.1", "::1", "127.0.0.1"))
    assert [each.host for each in resolve(parse("two.example:80"))] == ["127.0.0.1", "::1"]
    assert resolve(parse("fd://7")) == [parse("fd://7")]
    with ExitStack() as stack:
        socks = [stack.enter_context(sock) for sock in bind_all(parse("two.example:0"), 16)]
        assert [sock.getsockname()[0] for sock in socks] == ["127.0.0.1", "::1"]
        assert all(accepts(sock) for sock in socks)


def test_an_address_that_this_machine_lacks_is_left_out(monkeypatch):
    """localhost is ::1 too in many a container without IPv6; alone it is an error."""
    missing = "2001:db8::1"
    monkeypatch.setattr(socket, "getaddrinfo", found(missing, "127.0.0.1"))
    socks = bind_all(parse("two.example:0"), 16)
    assert [sock.getsockname()[0] for sock in socks] == ["127.0.0.1"]
    socks[0].close()
    monkeypatch.setattr(socket, "getaddrinfo", found(missing))
    with pytest.raises(BindError, match="no interface of this machine"):
        bind_all(parse("two.example:0"), 16)


def test_port_0_tries_again_when_the_second_address_has_that_port_taken(monkeypatch):
    """The kernel knows of a free port on the first address only."""
    real = sockets._bind_tcp
    refused: list[int] = []

    def unlucky(address, backlog):
        if address.port and len(refused) < 3:
            refused.append(address.port)
            raise sockets.PortTaken("in use")
        return real(address, backlog)

    monkeypatch.setattr(sockets, "_bind_tcp", unlucky)
    for sock in bind_all(parse(":0"), 16):
        sock.close()
    assert len(refused) == 3
    refused.clear()
    monkeypatch.setattr(
        sockets, "_bind_tcp", lambda a, b: unlucky(a, b) if not refused.clear() else None
    )
    with pytest.raises(BindError):
        bind_all(parse(":0"), 16)


def test_a_port_in_use_names_its_holder():
    """The pid and the program, and another port to try; nothing stays open."""
    with bind(parse("127.0.0.1:0"), 16) as first:
        port = first.getsockname()[1]
        for text in (f"127.0.0.1:{port}", f":{port}", f"localhost:{port}"):
            with pytest.raises(BindError) as caught:
                bind_all(parse(text), 16)
            assert f"the port is in use by pid {os.getpid()} (" in str(caught.value)
            assert "--bind" in caught.value.remedy
        with closing(bind(parse(f"127.0.0.2:{port}"), 16)):
            pass  # another address, the same port


def test_a_port_is_free_again_at_once_after_a_restart():
    """Connections in TIME_WAIT do not keep it (SO_REUSEADDR)."""
    with bind(parse("127.0.0.1:0"), 16) as sock:
        port = sock.getsockname()[1]
        sock.setblocking(True)
        with socket.create_connection(("127.0.0.1", port)) as client:
            served, _ = sock.accept()
            served.close()
            client.recv(1)
    bind(parse(f"127.0.0.1:{port}"), 16).close()


def test_an_address_of_another_machine_is_named():
    """EADDRNOTAVAIL in words."""
    with pytest.raises(BindError, match="no interface of this machine") as caught:
        bind(parse("192.0.2.1:8000"), 16)
    assert "--bind :8000" in caught.value.remedy


def of_a_link() -> str:
    """An address of a link of this machine, with its interface."""
    for row in lines("/proc/net/if_inet6"):
        digits, _, _, scope, _, interface = row.split()
        if scope == "20":  # IPV6_ADDR_LINKLOCAL, include/net/ipv6.h
            host = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
            return f"{host}%{interface}"
    pytest.skip("no interface here has an IPv6 address of its link")


def test_an_address_of_a_link_keeps_its_interface():
    """It is none without, and the kernel refuses it then."""
    host = of_a_link()
    (sock,) = bind_all(parse(f"[{host}]:0"), 16)
    with sock:
        assert accepts(sock)
        port = sock.getsockname()[1]
        assert describe(sock) == (f"[{host}]:{port}", f"http://[{host}]:{port}")
        number = socket.if_nametoindex(host.partition("%")[2])
        with pytest.raises(sockets.PortTaken, match="in use by pid") as caught:
            bind_all(parse(f"[{host.partition('%')[0]}%{number}]:{port}"), 16)
        assert caught.value.address.host == host


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[::ffff:127.0.0.1]:8305", "it is an IPv4 address: --bind 127.0.0.1:8305"),
        ("[::ffff:7f00:2]:0", "it is an IPv4 address: --bind 127.0.0.2:0"),
        ("[fe80::1]:8305", "needs its interface, see `ip -6 addr`: --bind '[fe80::1%eth0]:8305'"),
    ],
)
def test_what_ipv6_calls_invalid_says_what_to_write(text, words):
    """EINVAL alone helps nobody."""
    with pytest.raises(BindError, match="Invalid argument") as caught:
        bind_all(parse(text), 16)
    assert words in caught.value.remedy


def test_an_interface_that_there_is_none_of_is_named():
    with pytest.raises(BindError, match="no interface is called 'nowhere7'"):
        bind_all(parse("[fe80::1%nowhere7]:80"), 16)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 64, "..", "a..b"])
def test_a_name_that_does_not_resolve_is_named(host):
    """Also one that the resolver finds too odd to ask for."""
    with pytest.raises(BindError, match="does not resolve"):
        bind(parse(f"{host}:80"), 16)


@root_only
def test_a_privileged_port_says_what_would_help(python):
    """EACCES names CAP_NET_BIND_SERVICE and the first port that is free for all."""
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        first = int(file.read())
    if first <= 1:
        pytest.skip("every port is free for all here")
    out = python(
        "import os\n"
        "from leeward._sys import sockets\n"
        "sockets.bind(sockets.parse('127.0.0.1:0'), 16).close()  # all is imported now\n"
        "os.setresuid(65534, 65534, 65534)\n"
        "try: sockets.bind(sockets.parse('127.0.0.1:1'), 16)\n"
        "except sockets.BindError as error: print(error)\n"
    )
    assert f"may not bind ports below {first}" in out
    assert "CAP_NET_BIND_SERVICE" in out


def test_a_refused_bind_says_what_would_help(monkeypatch):
    """Whatever refuses it: the same words, with the first free port of this machine."""

    class Denied(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "socket", Denied)
    with pytest.raises(BindError, match="may not bind ports below [0-9]+") as caught:
        bind(parse("127.0.0.1:80"), 16)
    assert "CAP_NET_BIND_SERVICE" in caught.value.remedy


def test_without_descriptors_the_reason_is_told(monkeypatch):
    """EMFILE is a BindError with the kernel's words, for TCP and unix alike."""

    def full(*args):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socket", full)
    for text in ("127.0.0.1:80", "unix:/tmp/never.sock"):
        with pytest.raises(BindError, match="Too many open files"):
            bind(parse(text), 16)


# --- unix sockets ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777])
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_unix_socket_has_its_mode_from_the_start(tmp_path, mode, umask):
    """Whatever the umask, which stays as it was."""
    before = os.umask(umask)
    try:
        with bind(parse(f"unix:{tmp_path}/app.sock"), 16, mode) as sock:
            found = os.stat(tmp_path / "app.sock").st_mode
            assert stat.S_ISSOCK(found)
            assert stat.S_IMODE(found) == mode
            assert is_listening(sock) and accepts(sock)
            assert not sock.getblocking() and not sock.get_inheritable()
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


def test_a_dead_socket_is_cleared(tmp_path):
    """The file of a process that was killed does not keep the next one from starting."""
    path = f"{tmp_path}/app.sock"
    bind(parse(f"unix:{path}"), 16).close()
    assert os.path.exists(path) and not is_live(path)
    with bind(parse(f"unix:{path}"), 16) as sock:
        assert accepts(sock)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_live_socket_is_left_alone(tmp_path, kind):
    """In use, by whom, and it goes on; of whatever type, backlog full or not."""
    path = f"{tmp_path}/app.sock"
    with socket.socket(socket.AF_UNIX, kind) as live, ExitStack() as stack:
        live.bind(path)
        live.listen(0)
        for _ in range(4):
            with pytest.raises(BindError, match=rf"in use by pid {os.getpid()} \("):
                bind(parse(f"unix:{path}"), 16)
            client = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
            client.setblocking(False)
            try:
                client.connect(path)
            except BlockingIOError:
                break  # the backlog is full, and it was still alive above
        with pytest.raises(BindError, match="in use"):
            bind(parse(f"unix:{path}"), 16)
        assert os.path.exists(path)


def test_files_of_another_kind_are_left_alone(tmp_path):
    """A regular file, a directory, a link (even to a socket), a pipe."""
    bind(parse(f"unix:{tmp_path}/socket"), 16).close()
    (tmp_path / "file").write_text("precious")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("socket")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("file", "directory", "link", "dangling", "pipe"):
        with pytest.raises(BindError, match="a file of another kind"):
            bind(parse(f"unix:{tmp_path}/{name}"), 16)
        assert os.path.lexists(tmp_path / name)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_directory_that_is_missing_is_named(tmp_path):
    """The remedy is to look at the directory."""
    with pytest.raises(BindError, match="No such file or directory") as caught:
        bind(parse(f"unix:{tmp_path}/missing/app.sock"), 16)
    assert f"ls -ld {tmp_path}/missing" in caught.value.remedy
    (tmp_path / "file").write_text("")
    with pytest.raises(BindError, match="Not a directory"):
        bind(parse(f"unix:{tmp_path}/file/app.sock"), 16)


def test_of_many_starters_one_gets_the_socket(tmp_path):
    """Twelve processes that find the same dead socket do not clear each other's live one."""
    path = f"{tmp_path}/app.sock"
    bind(parse(f"unix:{path}"), 16).close()
    code = (
        "import sys; from leeward._sys import sockets\n"
        "address = sockets.parse('unix:' + sys.argv[1])\n"
        "print('go', flush=True); sys.stdin.readline()\n"
        "try: sock = sockets.bind(address, 16); print('bound', flush=True)\n"
        "except sockets.BindError as error: print(error, flush=True)\n"
        "sys.stdin.readline()\n"
    )
    env = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(sockets.__file__)) + "/.."}
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", code, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        for _ in range(12)
    ]
    try:
        for each in starters:
            assert each.stdout.readline() == "go\n"
        for each in starters:
            each.stdin.write("\n")
            each.stdin.flush()
        said = [each.stdout.readline().strip() for each in starters]
        assert said.count("bound") == 1, said
        assert all("in use" in line for line in said if line != "bound"), said
        assert is_live(path)
    finally:
        for each in starters:
            each.communicate("\n", timeout=30)


def test_a_foreign_lock_on_the_directory_only_delays(tmp_path):
    """Anybody may lock /tmp; we wait a second for it and bind all the same."""
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        began = time.monotonic()
        bind(parse(f"unix:{tmp_path}/app.sock"), 16).close()
        assert 1.0 <= time.monotonic() - began < 5
    finally:
        os.close(fd)


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    """Nor is one on which the directory cannot be opened."""

    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, "injected")

    monkeypatch.setattr(fcntl, "flock", refuse)
    bind(parse(f"unix:{tmp_path}/one.sock"), 16).close()

    def deny(*args: object) -> None:
        raise PermissionError(errno.EACCES, "injected")

    monkeypatch.setattr(os, "open", deny)
    bind(parse(f"unix:{tmp_path}/two.sock"), 16).close()


def test_a_socket_that_was_replaced_meanwhile_is_not_removed(tmp_path, monkeypatch):
    """Between looking and removing, somebody else has put a new file there."""
    bind(parse(f"unix:{tmp_path}/app.sock"), 16).close()
    monkeypatch.setattr(os.path, "samestat", lambda one, other: False)
    with pytest.raises(BindError, match="Address already in use"):
        bind(parse(f"unix:{tmp_path}/app.sock"), 16)
    assert os.path.exists(tmp_path / "app.sock")


@root_only
def test_a_directory_that_may_not_be_listed_is_no_obstacle(tmp_path, python):
    """Write and search permission are enough."""
    (tmp_path / "drop").mkdir()
    os.chown(tmp_path / "drop", 65534, 65534)
    os.chmod(tmp_path / "drop", 0o300)
    for parent in (tmp_path, *tmp_path.parents[:-1]):
        os.chmod(parent, os.stat(parent).st_mode | 0o011)
    out = python(
        "import os, sys\n"
        "from leeward._sys import sockets\n"
        "os.setresuid(65534, 65534, 65534)\n"
        "sockets.bind(sockets.parse('unix:' + sys.argv[1] + '/app.sock'), 16)\n"
        "print('bound')",
        str(tmp_path / "drop"),
    )
    assert out == "bound"


# --- adopted ---------------------------------------------------------------------------


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_a_listening_socket_is_adopted(tmp_path, family):
    """It becomes non-blocking and close-on-exec and is otherwise left as it is."""
    where = {
        socket.AF_INET: ("127.0.0.1", 0),
        socket.AF_INET6: ("::1", 0),
        socket.AF_UNIX: f"{tmp_path}/app.sock",
    }
    handed = socket.socket(family, socket.SOCK_STREAM)
    handed.bind(where[family])
    handed.listen()
    handed.set_inheritable(True)
    [sock] = bind_all(parse(f"fd://{handed.detach()}"), 16)
    with sock:
        assert not sock.getblocking() and not sock.get_inheritable()
        assert accepts(sock)


def test_what_does_not_listen_is_not_adopted(tmp_path):
    """Not open, a file, not listening, datagrams, connected: refused, and left open."""
    with ExitStack() as stack:
        file = stack.enter_context(open(tmp_path / "file", "w"))
        idle = stack.enter_context(socket.socket())
        datagrams = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        one, other = socket.socketpair()
        packets = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        packets.bind(f"{tmp_path}/packets")
        packets.listen()
        stack.enter_context(one)
        stack.enter_context(other)
        for fd in (each.fileno() for each in (file, idle, datagrams, one, packets)):
            with pytest.raises(BindError, match=f"cannot use fd://{fd}: ") as caught:
                bind(parse(f"fd://{fd}"), 16)
            assert "systemctl cat" in caught.value.remedy
            os.fstat(fd)
        with pytest.raises(BindError, match="Bad file descriptor"):
            bind(parse("fd://1000000"), 16)


def test_listen_fds_are_for_the_named_process_only():
    """LISTEN_PID of an ancestor, rubbish and nothing at all mean no sockets."""
    assert listen_fds({"LISTEN_PID": "7", "LISTEN_FDS": "2"}, 7) == [3, 4]
    for environ in (
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": "7"},
        {"LISTEN_PID": "8", "LISTEN_FDS": "1"},
        {"LISTEN_PID": "", "LISTEN_FDS": "1"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "0"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "-1"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "x"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "99999999"},
    ):
        assert listen_fds(environ, 7) == []


# --- described -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address", "url"),
    [
        ("127.0.0.1:0", "127.0.0.1:{}", "http://127.0.0.1:{}"),
        ("0.0.0.0:0", "0.0.0.0:{}", "http://127.0.0.1:{}"),
        ("[::1]:0", "[::1]:{}", "http://[::1]:{}"),
        ("[::]:0", "[::]:{}", "http://[::1]:{}"),
    ],
)
def test_the_address_is_the_truth_and_the_url_can_be_clicked(text, address, url):
    """Port 0 is resolved; the wildcard is told as it is and linked as loopback."""
    with bind(parse(text), 16) as sock:
        port = sock.getsockname()[1]
        assert describe(sock) == (address.format(port), url.format(port))
        record = listener(sock, 9)
        assert (record.fd, record.path) == (9, "")


class Named:
    """As much of a socket as `describe` looks at."""

    def __init__(self, family: int, name: object) -> None:
        self.family = family
        self.name = name

    def getsockname(self) -> object:
        return self.name


def test_odd_names_are_described_too():
    """Port 80 needs no number in a URL; link-local names its interface."""
    assert describe(Named(socket.AF_INET, ("1.2.3.4", 80))) == ("1.2.3.4:80", "http://1.2.3.4")
    loopback = socket.if_nametoindex("lo")
    assert describe(Named(socket.AF_INET6, ("fe80::1", 81, 0, loopback)))[0] == "[fe80::1%lo]:81"
    assert describe(Named(socket.AF_UNIX, b"\0name"))[0] == "unix:@name"


def test_the_file_of_a_unix_socket_is_ours_to_remove_if_we_made_it(tmp_path):
    """The record of an adopted one has no path."""
    with bind(parse(f"unix:{tmp_path}/app.sock"), 16) as sock:
        assert listener(sock, 5).path == f"{tmp_path}/app.sock"
        assert listener(sock, 5).address == f"unix:{tmp_path}/app.sock"
        assert listener(sock, 5, made=False).path == ""
        assert listener(Named(socket.AF_UNIX, b"\0name"), 5).path == ""


def test_looking_for_life_disturbs_nobody(tmp_path):
    """is_live on a missing file, a dead and a live socket."""
    path = f"{tmp_path}/app.sock"
    assert not is_live(path)
    with bind(parse(f"unix:{path}"), 16) as sock:
        assert is_live(path)
        sock.setblocking(True)
        thread = threading.Thread(target=lambda: sock.accept()[0].close())
        thread.start()
        assert is_live(path)
        thread.join(10)
    assert not is_live(path)
