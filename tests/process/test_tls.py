"""https and wss: served, renewed without dropping anybody, and never with a broken certificate."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority, needs_openssl
from process.clients import Gate, Http, WebSocket
from process.crowd import PACE
from process.support import APPS, PATIENCE, spares_of, until

from leeward.testing import Service, serve

pytestmark = needs_openssl

#: `leeward reload --tls` under load; 100 in `LEEWARDTEST_RENEWALS=100 pytest -k under_load`.
RENEWALS = int(os.environ.get("LEEWARDTEST_RENEWALS", "16"))


class Files:
    """What a certificate's renewal writes: fullchain.pem and key.pem, replaced as one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certificate, self.key = directory / "fullchain.pem", directory / "key.pem"
        self.authority = Authority(directory / "ca")
        self.flags = ("--ssl-certfile", str(self.certificate), "--ssl-keyfile", str(self.key))
        self.renew()

    def renew(self, **how: object) -> None:
        self.authority.make(self.certificate, self.key, **how)  # type: ignore[arg-type]

    @property
    def shown(self) -> bytes:
        """The certificate in the file, as a client sees it."""
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text())

    def wrap(self, sock: socket.socket, **how: object) -> ssl.SSLSocket:
        context = how.pop("context", None) or self.authority.client()
        return context.wrap_socket(sock, server_hostname="localhost", **how)  # type: ignore[attr-defined,no-any-return]


#: Forked workers inherit their context, spawned ones make it.
both = pytest.mark.parametrize("service", ["zygote", "spawn"], indirect=True)


@pytest.fixture(scope="module")
def _files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def files(_files: Files) -> Files:
    _files.renew()
    return _files


def address_of(service: Service) -> tuple[str, int]:
    found = service.wait_line(r"^  at +https://([\d.]+):(\d+)")
    return found[1], int(found[2])


class Https(Http):
    """`Http` over TLS."""

    def __init__(self, files: Files, address: tuple[str, int], **how: object) -> None:
        super().__init__(address)
        try:
            self.sock = files.wrap(self.sock, **how)
        except BaseException:
            self.sock.close()
            raise

    @property
    def tls(self) -> ssl.SSLSocket:
        assert isinstance(self.sock, ssl.SSLSocket)
        return self.sock

    @property
    def certificate(self) -> bytes:
        return self.tls.getpeercert(binary_form=True) or b""


class Wss(WebSocket):
    def __init__(self, files: Files, address: tuple[str, int]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("process.clients.Http", lambda where, source="": Https(files, where))
            super().__init__(address)


@pytest.fixture
def service(request: pytest.FixtureRequest, files: Files) -> Iterator[Service]:
    flags = ("-w", "2", "--drain-window", "1s", "--start", getattr(request, "param", "zygote"))
    with serve("held", *flags, *files.flags, cwd=APPS) as service:
        yield service.wait_ready(2)


@both
def test_https_and_wss_are_served(service: Service, files: Files) -> None:
    """With the banner's https, keep-alive, the protocol told to the application, and WebSockets."""
    address = address_of(service)
    assert service.url.startswith("https://")
    with Https(files, address) as client:
        assert client.get().status == client.get().status == 200
        assert client.certificate == files.shown
        assert client.tls.version() in ("TLSv1.2", "TLSv1.3")
    with Wss(files, address) as socket_:
        assert "slot" in socket_.hear()
        socket_.say("again")
        assert socket_.hear() == "again"


def test_a_stop_ends_tls_connections_as_it_ends_plain_ones(service: Service, files: Files) -> None:
    """In flight: answered, told to close. Idle: closed with a close_notify. WebSocket: 1001."""
    address = address_of(service)
    with Gate() as gate, Https(files, address) as busy, Wss(files, address) as socket_:
        with Https(files, address, suppress_ragged_eofs=False) as idle:
            assert idle.get().status == 200
            socket_.hear()
            held = gate.hold(busy)
            service.signal(signal.SIGTERM)
            assert idle.sock.recv(1) == b""  # a cut would raise SSLEOFError
            assert socket_.close_code() == 1001
            service.wait_line(rf"pid={held.pid} draining")  # it may be another's than the idle one
            held.release()
            assert busy.answer().announces_close
        assert service.wait() == 0
        # None of the clients has said its own farewell: that is not waited for.
        assert "deadline reached" not in service.log


def test_a_reload_drains_tls_connections(service: Service, files: Files) -> None:
    """Idle connections stay until their next answer, WebSockets get 1012."""
    address = address_of(service)
    with Https(files, address) as idle, Wss(files, address) as socket_:
        idle.get()
        socket_.hear()
        assert service.leeward("reload").returncode == 0
        assert socket_.close_code() == 1012
        last = idle.get()
        assert last.announces_close and last.json["generation"] == "1"
        with Https(files, address) as fresh:
            assert fresh.get().json["generation"] == "2"


def test_silent_and_broken_handshakes_hold_nobody_up(service: Service, files: Files) -> None:
    """Clients that never speak, speak plain http, or leave in the middle: others are served."""
    address = address_of(service)
    silent = [socket.create_connection(address, PATIENCE) for _ in range(20)]
    with Http(address) as plain:
        plain.send()
        assert plain.cut()
    half = socket.create_connection(address, PATIENCE)
    half.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    for _ in range(4):
        with Https(files, address) as client:
            assert client.get().status == 200
    half.close()
    until(lambda: sum(it["connections"] for it in service.workers()) == 20, "the rest is gone")
    for sock in silent:
        sock.close()
    until(lambda: sum(it["in_flight"] for it in service.workers()) == 0, "nobody in flight")
    assert service.stop() == 0


def pids(service: Service) -> list[int]:
    found = service.ps()
    return [it["pid"] for it in (*found["workers"], *found["zygotes"])]


@pytest.mark.parametrize("algorithm", ["ec", "rsa"])
def test_a_renewal_is_shown_at_once_and_nothing_else_changes(
    service: Service, files: Files, algorithm: str
) -> None:
    """New connections see the new certificate, of whatever kind; old ones go on; same pids."""
    address = address_of(service)
    before, old = pids(service), files.shown
    with Https(files, address) as client, Wss(files, address) as socket_:
        client.get()
        socket_.hear()
        files.renew(algorithm=algorithm)
        done = service.leeward("reload", "--tls")
        assert done.returncode == 0, done.stderr
        assert re.search(r"renewed in 2 workers: localhost, valid until 20\d\d-", done.stdout)
        for _ in range(6):  # whichever worker it is
            with Https(files, address) as fresh:
                assert fresh.certificate == files.shown != old
                assert fresh.get().status == 200
        assert client.get().status == 200 and client.certificate == old
        socket_.say("still here")
        assert socket_.hear() == "still here"
    assert pids(service) == before
    assert service.ps()["generation"] == 1


@both
def test_workers_born_after_a_renewal_show_it_too(service: Service, files: Files) -> None:
    """The zygote has been told as well; a spawned worker gets what is in force, not the files."""
    spares_of(service)  # who is there already, ahead of its order, has the old one
    files.renew()
    renewed = files.shown
    assert service.leeward("reload", "--tls").returncode == 0
    files.renew()  # nobody has asked for this one
    mark = service.mark()
    for worker in service.workers():
        os.kill(worker["pid"], signal.SIGKILL)
    for slot in range(2):
        service.wait_line(rf"worker={slot} gen=1 pid=\d+ ready", after=mark)
    for _ in range(6):
        with Https(files, address_of(service)) as client:
            assert client.certificate == renewed


def test_a_reload_brings_the_new_certificate_too(service: Service, files: Files) -> None:
    """Each generation reads the files anew."""
    files.renew(algorithm="rsa")
    assert service.leeward("reload").returncode == 0
    with Https(files, address_of(service)) as client:
        assert client.certificate == files.shown
        assert client.get().json["generation"] == "2"


def test_a_rollback_shows_the_newest_certificate(files: Files) -> None:
    """Old code, and never an old certificate: renewed meanwhile, or read by the reload."""
    flags = ("-w", "1", "--start", "zygote", *files.flags)
    with serve("held", *flags, cwd=APPS) as service:
        service.wait_ready()
        address = address_of(service)

        def goes_back(generation: str) -> None:
            assert service.leeward("rollback").returncode == 0
            with Https(files, address) as client:
                assert client.get().json["generation"] == generation
                assert client.certificate == files.shown

        assert service.leeward("reload").returncode == 0
        files.renew()
        assert service.leeward("reload", "--tls").returncode == 0
        goes_back("1")
        files.renew()
        assert service.leeward("reload").returncode == 0
        goes_back("1")
        # A worker that is forked later, too.
        assert service.leeward("recycle").returncode == 0
        with Https(files, address) as client:
            assert client.certificate == files.shown


# --- adopted programs ---------------------------------------------------------------------


@pytest.mark.parametrize("start", ["zygote", "spawn"])
def test_an_adopted_program_is_encrypted_by_the_settings(files: Files, start: str) -> None:
    """A program that speaks plain http is served by https, and its certificate renewed."""
    flags = ("--kind", "script", "--start", start, *files.flags)
    with serve("adopted.py", *flags, args=("listen", "--port=0"), bind=None, cwd=APPS) as service:
        service.wait_ready(1)
        with Https(files, address_of(service)) as client:
            assert client.get("/").json["protocol"] == "https"
            assert client.certificate == files.shown
        files.renew()
        assert service.leeward("reload", "--tls").returncode == 0
        with Https(files, address_of(service)) as client:
            assert client.certificate == files.shown
        assert service.leeward("reload").returncode == 0
        with Https(files, address_of(service)) as client:
            assert client.get("/").status == 200


@pytest.mark.parametrize("known", [(), ("--bind", "127.0.0.1:0", "-w", "1")])
def test_two_certificates_are_refused(files: Files, known: tuple[str, ...]) -> None:
    """A program's own ssl_options and --ssl-certfile: nobody guesses which one is meant."""
    (files.directory / "cert.pem").write_bytes(files.certificate.read_bytes())
    done = subprocess.run(
        [
            *[sys.executable, "-m", "leeward", "serve", "adopted.py", "--kind", "script"],
            *[*files.flags, *known, "--name", f"two-{os.getpid()}", "--", "tls", "--port=0"],
        ],
        cwd=APPS,
        env={**os.environ, "CERTIFICATES": str(files.directory)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == (3 if known else 2), done.stderr
    assert "the program has ssl_options of its own, and --ssl-certfile names" in done.stderr
    assert "adopted.py:" in done.stderr


def spoil(files: Files, how: str) -> None:
    if how == "missing":
        files.certificate.unlink()
    elif how == "no certificate":
        files.certificate.write_text("hello\n")
    elif how == "another's key":
        key = files.key.read_text()
        files.renew()
        files.key.write_text(key)
    elif how == "half written":
        files.key.write_text(files.key.read_text()[:100])
    elif how == "a directory":
        files.key.unlink()
        files.key.mkdir()
    elif how == "a FIFO":
        files.key.unlink()
        os.mkfifo(files.key)


SPOILT = {
    "missing": "fullchain.pem: No such file",
    "no certificate": "fullchain.pem: holds no certificate",
    "another's key": "key.pem: does not match the certificate",
    "half written": "key.pem: holds no private key",
    "a directory": "key.pem: is no regular file",
    "a FIFO": "key.pem: is no regular file",
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_bad_certificate_is_refused_and_the_old_one_stays(tmp_path: Path, how: str) -> None:
    """By `reload --tls` and `reload` alike, exit code 2, naming the file; by `serve` too."""
    files = Files(tmp_path)
    with serve("held", *files.flags, cwd=APPS) as service:
        service.wait_ready()
        with Https(files, address_of(service)) as client:
            old = client.certificate
        spoil(files, how)
        for verb in (["reload", "--tls"], ["reload"]):
            done = service.leeward(*verb)
            assert done.returncode == 2, done
            assert SPOILT[how] in done.stderr and len(done.stderr.splitlines()) <= 8
        with Https(files, address_of(service)) as client:
            assert client.certificate == old
            assert client.get().json["generation"] == "1"
    with serve("held", *files.flags, cwd=APPS) as service:
        assert service.wait() == 2
        assert SPOILT[how] in service.log


def test_an_expired_certificate_is_served_with_a_warning(tmp_path: Path) -> None:
    """It is said with its date at the start and to who renews; refusing it helps nobody."""
    files = Files(tmp_path)
    files.renew(days=-3)
    with serve("held", *files.flags, cwd=APPS) as service:
        service.wait_ready()
        service.wait_line(r"note .* expired on 20\d\d-\d\d-\d\d \d\d:\d\d UTC: clients refuse it")
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            Https(files, address_of(service))
        done = service.leeward("reload", "--tls")
        assert done.returncode == 0 and "expired on" in done.stdout
        files.renew()
        assert service.leeward("reload", "--tls").returncode == 0
        with Https(files, address_of(service)) as client:
            assert client.get().status == 200


def test_clients_must_show_a_certificate_where_cas_are_named(tmp_path: Path) -> None:
    """--ssl-ca-certs: without one, or with a stranger's, the handshake fails."""
    files, others = Files(tmp_path), Authority(tmp_path / "others")
    mine, my_key = tmp_path / "mine.pem", tmp_path / "mine.key"
    cas = ("--ssl-ca-certs", str(others.certificate))
    with serve("held", *files.flags, *cas, cwd=APPS) as service:
        service.wait_ready()
        address = address_of(service)
        others.make(mine, my_key, name="client")
        for _ in range(2):
            known = files.authority.client(mine, my_key)
            with Https(files, address, context=known) as client:
                assert client.get().status == 200
            with Https(files, address) as stranger, pytest.raises(OSError):
                stranger.get()
                stranger.get()
            files.renew()
            assert service.leeward("reload", "--tls").returncode == 0


@pytest.mark.parametrize("come", [True, False], ids=["come", "go"])
def test_a_renewal_does_not_ask_what_served_before(tmp_path: Path, come: bool) -> None:
    """CAs came or went by a reload: the generation that is kept has other ones, and its own."""
    files, others = Files(tmp_path), Authority(tmp_path / "others")
    mine, my_key = tmp_path / "mine.pem", tmp_path / "mine.key"
    others.make(mine, my_key, name="client")
    settings = tmp_path / "leeward.toml"
    plain = f'ssl-certfile = "{files.certificate.name}"\nssl-keyfile = "key.pem"\n'
    strict = f'{plain}ssl-ca-certs = "{others.certificate}"\n'
    (tmp_path / "held.py").write_text((APPS / "held.py").read_text())

    def shows_the_newest(asks: bool) -> None:
        known = files.authority.client(mine, my_key)
        with Https(files, address, context=known) as client:
            assert client.certificate == files.shown
            assert client.get().status == 200
        with Https(files, address) as stranger, contextlib.ExitStack() as stack:
            if asks:
                stack.enter_context(pytest.raises(OSError))
            stranger.get()
            stranger.get()

    settings.write_text(plain if come else strict)
    with serve("held", "-w", "1", "--start", "zygote", cwd=tmp_path) as service:
        service.wait_ready()
        address = address_of(service)
        settings.write_text(strict if come else plain)
        assert service.leeward("reload").returncode == 0
        files.renew()
        done = service.leeward("reload", "--tls")
        assert (done.returncode, done.stderr) == (0, ""), done
        shows_the_newest(asks=come)
        assert service.leeward("rollback").returncode == 0
        shows_the_newest(asks=not come)
        assert "keeps the old certificate" not in service.log


def test_tls_does_not_come_or_go_while_running(tmp_path: Path) -> None:
    """Old and new workers share the listeners: half of the clients would meet the wrong one."""
    files = Files(tmp_path)
    settings = tmp_path / "leeward.toml"
    settings.write_text(f'ssl-certfile = "{files.certificate.name}"\nssl-keyfile = "key.pem"\n')
    (tmp_path / "held.py").write_text((APPS / "held.py").read_text())
    with serve("held", cwd=tmp_path) as service:
        service.wait_ready()
        settings.write_text("")
        done = service.leeward("reload")
        assert done.returncode == 2 and "ssl_certfile cannot change" in done.stderr
        done = service.leeward("reload", "--tls")
        assert done.returncode == 2 and "TLS itself takes leeward stop" in done.stderr
        with Https(files, address_of(service)) as client:
            assert client.get().status == 200
    with serve("held", cwd=tmp_path) as service:
        service.wait_ready()
        done = service.leeward("reload", "--tls")
        assert done.returncode == 2 and "without TLS" in done.stderr


def test_sessions_are_resumed_by_every_worker_and_after_a_renewal(files: Files) -> None:
    """Workers of a zygote share the keys of session tickets, whatever is renewed."""
    context = files.authority.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # the ticket comes with the handshake
    flags = ("-w", "3", "--start", "zygote", *files.flags)
    with serve("held", *flags, cwd=APPS) as service:
        address = address_of(service.wait_ready(3))
        with Https(files, address, context=context) as client:
            client.get()
            session = client.tls.session
        for _ in range(2):
            pids: list[int] = []

            def of_several(pids: list[int] = pids) -> bool:
                with Https(files, address, context=context, session=session) as client:
                    assert client.tls.session_reused
                    pids.append(client.get().json["pid"])
                # Whichever wakes first answers: rather all of them, but one may for long not.
                return len(set(pids)) == 3 or (len(pids) >= 40 and len(set(pids)) > 1)

            until(of_several, "an answer of another worker")
            files.renew()
            assert service.leeward("reload", "--tls").returncode == 0


def test_a_stopped_worker_is_named_and_catches_up(files: Files) -> None:
    """Who cannot be told at once is told to the caller, and shows it as soon as it turns."""
    with serve("held", "-w", "1", *files.flags, cwd=APPS) as service:
        service.wait_ready()
        (worker,) = service.workers()
        files.renew()
        os.kill(worker["pid"], signal.SIGSTOP)
        try:
            done = service.leeward("reload", "--tls")
            assert done.returncode == 3
            assert f"worker 0 (pid {worker['pid']}) has not answered" in done.stderr
        finally:
            os.kill(worker["pid"], signal.SIGCONT)
        with Https(files, address_of(service)) as client:
            assert client.certificate == files.shown


@both
@pytest.mark.timeout(60 + 3 * RENEWALS)
def test_renewals_under_load_cost_no_connection(service: Service, files: Files) -> None:
    """Keep-alive, fresh connections and a WebSocket meanwhile: not one socket error."""
    address = address_of(service)
    over = threading.Event()
    faults: list[BaseException] = []
    answers = [0, 0]

    def keep_alive() -> None:
        with Https(files, address) as client:
            while not over.wait(PACE):
                assert client.get().status == 200
                answers[0] += 1

    def fresh() -> None:
        while not over.wait(PACE):
            with Https(files, address) as client:
                assert client.get("/", "Connection: close").status == 200
                answers[1] += 1

    def guarded(work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as fault:
            faults.append(fault)
            over.set()

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (keep_alive, fresh)]
    with Wss(files, address) as socket_:
        socket_.hear()
        for thread in threads:
            thread.start()
        try:
            for number in range(RENEWALS):
                files.renew(algorithm="rsa" if number % 4 == 3 else "ec")
                done = service.leeward("reload", "--tls")
                assert done.returncode == 0, done.stderr
                socket_.say(str(number))
                assert socket_.hear() == str(number)
        finally:
            over.set()
            for thread in threads:
                thread.join(PATIENCE)
    print(f"{RENEWALS} times, {sum(answers)} answers, {len(faults)} errors")
    assert not faults, faults
    assert min(answers) > RENEWALS, answers
    assert service.ps()["generation"] == 1
