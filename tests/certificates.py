"""Real certificates for tests, made by the openssl command and signed by a CA of the test's."""

from __future__ import annotations

import datetime
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

OPENSSL = shutil.which("openssl") or ""
needs_openssl = pytest.mark.skipif(not OPENSSL, reason="makes certificates by the openssl command")


def _openssl(*args: str | Path) -> None:
    subprocess.run([OPENSSL, *map(str, args)], check=True, capture_output=True, timeout=30)


@dataclass
class Authority:
    """A CA in a directory.  `make` puts a certificate and its key into two files."""

    directory: Path

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self.certificate = self.directory / "ca.pem"
        self._key = self.directory / "ca.key"
        self._new_key(self._key, "ec")
        _openssl("req", "-x509", "-new", "-key", self._key, "-out", self.certificate,
                 "-subj", "/CN=ca of a test", "-days", "2",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip

    def make(
        self,
        certificate: Path,
        key: Path,
        *,
        name: str = "localhost",
        algorithm: str = "ec",
        days: int = 30,
    ) -> None:
        """days:  negative for one that has expired by then; the files are replaced at once."""
        request, new, new_key = (self.directory / part for part in ("csr", "new.pem", "new.key"))
        self._new_key(new_key, algorithm)
        _openssl("req", "-new", "-key", new_key, "-out", request, "-subj", f"/CN={name}")
        # `openssl ca` only to say a date that is over; `x509 -days` takes no negative ones.
        settings = self.directory / "ca.conf"
        (self.directory / "index").write_text("")
        settings.write_text(
            "[ca]\ndefault_ca=it\n[it]\n"
            f"dir={self.directory}\ndatabase={self.directory}/index\nnew_certs_dir={self.directory}\n"
            "rand_serial=yes\ndefault_md=sha256\npolicy=any\nunique_subject=no\n"
            "x509_extensions=leaf\n[any]\ncommonName=supplied\n"
            f"[leaf]\nsubjectAltName=DNS:{name},IP:127.0.0.1\n"
            "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        now = datetime.datetime.now(datetime.UTC)
        start, end = (now + datetime.timedelta(days=d) for d in (min(-1, days - 1), days))
        _openssl("ca", "-batch", "-config", settings, "-in", request, "-out", new, "-notext",
                 "-cert", self.certificate, "-keyfile", self._key,
                 "-startdate", start.strftime("%Y%m%d%H%M%SZ"),
                 "-enddate", end.strftime("%Y%m%d%H%M%SZ"))  # fmt: skip
        new_key.chmod(0o600)
        new_key.replace(key)
        new.replace(certificate)

    def _new_key(self, path: Path, algorithm: str) -> None:
        options = {
            "ec": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        }
        _openssl("genpkey", *options[algorithm], "-out", path)

    def client(self, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
        """A client that trusts this CA alone, and shows a certificate if it has one."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        return context


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


def contexts(directory: Path) -> Contexts:
    """Of a server with a certificate in `directory`, and of a client that trusts it."""
    authority = Authority(directory)
    authority.make(directory / "cert.pem", directory / "key.pem")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return server, ssl.create_default_context(cafile=str(authority.certificate))
