"""leeward.cli.credentials: what does not fit is named with its file, before anybody serves it."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from certificates import OPENSSL, Authority, needs_openssl

from leeward._core.config import Config
from leeward._sys.posix import read_memfd
from leeward.cli.credentials import Credentials, load
from leeward.cli.layers import Value
from leeward.errors import UsageError

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cert.pem and its key.pem, both.pem, locked.pem (the key with a password), ca/ca.pem."""
    place = tmp_path_factory.mktemp("credentials")
    Authority(place / "ca").make(place / "cert.pem", place / "key.pem", name="chat.example")
    both = (place / "cert.pem").read_text() + (place / "key.pem").read_text()
    (place / "both.pem").write_text(both)
    subprocess.run(
        [OPENSSL, "pkey", "-in", place / "key.pem", "-aes256", "-passout", "pass:secret",
         "-out", place / "locked.pem"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return place


def config(place: Path, certificate: str = "", key: str = "", cas: str = "") -> Config:
    paths = [str(place / name) if name else "" for name in (certificate, key, cas)]
    return Config("a:b", ssl_certfile=paths[0], ssl_keyfile=paths[1], ssl_ca_certs=paths[2])


def test_without_tls_there_is_nothing(place: Path) -> None:
    with ExitStack() as undo:
        assert load(Config("a:b"), undo) == Credentials()


@pytest.mark.parametrize("key", ["key.pem", ""], ids=["two files", "one file"])
def test_the_files_are_copied_and_described(place: Path, key: str) -> None:
    """memfds that hold what the files held, closed by `undo`."""
    with ExitStack() as undo:
        found = load(config(place, "cert.pem" if key else "both.pem", key, "ca/ca.pem"), undo)
        names = ("cert.pem", "key.pem", "ca/ca.pem") if key else ("both.pem",) * 2 + ("ca/ca.pem",)
        assert [read_memfd(fd) for fd in found.fds] == [(place / it).read_bytes() for it in names]
        assert found.certificate.startswith("chat.example, valid until 20")
        assert found.warnings == ()
    for fd in found.fds:
        with pytest.raises(OSError):
            os.fstat(fd)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (("", "key.pem"), "--ssl-keyfile needs a certificate too"),
        (("", "", "ca/ca.pem"), "--ssl-ca-certs needs a certificate too"),
        (("cert.pem",), "cert.pem: holds no private key beside the certificate"),
        (("key.pem", "key.pem"), "--ssl-certfile .*key.pem: holds no certificate in PEM"),
        (("cert.pem", "cert.pem"), "--ssl-keyfile .*cert.pem: holds no private key"),
        (("cert.pem", "locked.pem"), "--ssl-keyfile .*locked.pem: the key has a password"),
        (("cert.pem", "ca/ca.key"), "ca.key: does not match the certificate .*cert.pem"),
        (("cert.pem", "key.pem", "key.pem"), "--ssl-ca-certs .*key.pem: holds no certificate"),
        (("cert.pem", "none.pem"), "--ssl-keyfile .*none.pem: No such file or directory"),
    ],
)
def test_what_does_not_fit_is_named(place: Path, named: tuple[str, ...], said: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with ExitStack() as undo, pytest.raises(UsageError, match=said) as caught:
        load(config(place, *named), undo)
    assert len(str(caught.value).splitlines()) <= 8
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        ("flag --ssl-certfile", "--ssl-certfile /"),
        ("environment LEEWARD_SSL_CERTFILE", "LEEWARD_SSL_CERTFILE /"),
        ("leeward.toml:2", r"leeward\.toml:2: ssl-certfile /"),
    ],
)
def test_who_named_a_file_that_is_not_there_is_named(place: Path, origin: str, said: str) -> None:
    given = {key: Value("", origin) for key in ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs")}
    with ExitStack() as undo, pytest.raises(UsageError, match=f"^{said}.*: No such file"):
        load(config(place, "none.pem"), undo, given)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_key_that_may_not_be_read(place: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes((place / "key.pem").read_bytes())
    key.chmod(0)
    with ExitStack() as undo, pytest.raises(UsageError, match="permission denied for user"):
        load(config(place, "cert.pem", str(key)), undo)


def test_a_file_that_is_no_pem_by_its_size(place: Path, tmp_path: Path) -> None:
    huge = tmp_path / "huge.pem"
    with huge.open("wb") as file:
        file.truncate(5 * 1024 * 1024)
    with ExitStack() as undo, pytest.raises(UsageError, match="more than 4 MiB"):
        load(config(place, str(huge), "key.pem"), undo)
