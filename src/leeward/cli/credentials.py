"""The certificate and its key: read once, checked, and handed on as memfds.

What was checked is what is served: nobody reads the files a second time.  The
supervisor holds the memfds and hands them to zygotes and workers, which may
have given up the right to read a key of mode 0600.  (The file's own descriptor
would not do: opening /proc/self/fd/N asks for the rights anew.)
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack

from leeward._core.config import Config
from leeward._core.record import Record
from leeward._sys.posix import memfd
from leeward.cli import regular
from leeward.cli.layers import Value, guilty
from leeward.errors import UsageError

#: Bytes; the bundle of all CAs that Mozilla trusts has 220 KiB.
_MOST = 4 * 1024 * 1024
_KEYS = ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs")


class Credentials(Record):
    """fds:  memfds of the certificate, its key and, where there are any, the CAs.

    certificate:  whose, and until when.      warnings:  what will go wrong with it.
    """

    fds: tuple[int, ...] = ()
    certificate: str = ""
    warnings: tuple[str, ...] = ()


def load(config: Config, undo: ExitStack, given: Mapping[str, Value] | None = None) -> Credentials:
    """What `config` names, empty without TLS.  `undo` closes the memfds.

    given:  the settings with their origins, which errors name; else they name the flags.

    Raises UsageError that names the file and what is wrong with it.
    """
    who = {key: "--" + key.replace("_", "-") for key in _KEYS}
    if given is not None:
        who = {key: guilty(key, given[key].origin) for key in _KEYS}
    if not config.ssl_certfile:
        for key in _KEYS[1:]:
            if getattr(config, key):
                raise UsageError(f"{who[key]} needs a certificate too", "--ssl-certfile FILE")
        return Credentials()
    key_is = "ssl_keyfile" if config.ssl_keyfile else "ssl_certfile"
    fds = [_open(config, "ssl_certfile", who, undo), _open(config, key_is, who, undo)]
    if config.ssl_ca_certs:
        fds.append(_open(config, "ssl_ca_certs", who, undo))
    _check_certificates(config, "ssl_certfile", who, fds[0])
    _check_pair(config, key_is, who, fds[0], fds[1])
    if config.ssl_ca_certs:
        _check_certificates(config, "ssl_ca_certs", who, fds[2])
    certificate, warnings = _validity(config, fds[0])
    return Credentials(tuple(fds), certificate, warnings)


def _open(config: Config, key: str, who: Mapping[str, str], undo: ExitStack) -> int:
    path: str = getattr(config, key)
    try:
        data = regular.read(path, _MOST)
    except PermissionError:
        raise UsageError(
            f"{who[key]} {path}: permission denied for user {os.geteuid()}",
            "serve as root with --user NAME: the key is read before the rights are given up",
        ) from None
    except OSError as error:
        raise UsageError(f"{who[key]} {path}: {error.strerror}") from None
    if len(data) > _MOST:
        raise UsageError(f"{who[key]} {path}: more than {_MOST >> 20} MiB, no PEM file is")
    copy = memfd(f"leeward-{key}", data)
    undo.callback(os.close, copy)
    return copy


def path_of(fd: int) -> str:
    """A name by which OpenSSL, which takes files only, can open `fd`."""
    return f"/proc/self/fd/{fd}"


def _check_certificates(config: Config, key: str, who: Mapping[str, str], fd: int) -> None:
    """Raises UsageError if `fd` does not hold certificates."""
    import ssl  # 8 ms, which only who has a certificate need pay

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(path_of(fd))
    except (ssl.SSLError, OSError) as error:
        raise UsageError(
            f"{who[key]} {getattr(config, key)}: holds no certificate in PEM ({_reason(error)})",
            "it begins with -----BEGIN CERTIFICATE-----; openssl x509 -inform DER makes it of DER",
        ) from None


def _check_pair(
    config: Config, key_is: str, who: Mapping[str, str], certificate: int, key: int
) -> None:
    """Raises UsageError if the key is none, has a password, or is another's."""
    import ssl

    path: str = getattr(config, key_is)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without the callback OpenSSL would ask at the terminal.
        context.load_cert_chain(path_of(certificate), path_of(key), password=_no_password)
    except _Encrypted:
        raise UsageError(
            f"{who[key_is]} {path}: the key has a password, and nobody types it at a restart",
            f"openssl pkey -in {path} -out plain.pem, readable for root alone",
        ) from None
    except (ssl.SSLError, OSError) as error:
        if "MISMATCH" in _reason(error):
            raise UsageError(
                f"{who[key_is]} {path}: does not match the certificate {config.ssl_certfile}",
                "these must say the same: openssl x509 -noout -pubkey -in CERTIFICATE; "
                "openssl pkey -pubout -in KEY",
            ) from None
        if key_is == "ssl_certfile":
            raise UsageError(
                f"{who[key_is]} {path}: holds no private key beside the certificate",
                "--ssl-keyfile FILE names the key",
            ) from None
        raise UsageError(
            f"{who[key_is]} {path}: holds no private key in PEM that fits ({_reason(error)})"
        ) from None


class _Encrypted(Exception):
    """The key asks for a password."""


def _no_password() -> str:
    raise _Encrypted


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", "") or error.strerror or error)


def _validity(config: Config, fd: int) -> tuple[str, tuple[str, ...]]:
    """Whose the certificate is, until when, and a warning if that is over or yet to come."""
    import ssl

    # Nothing public decodes a certificate that nobody has sent us.
    found = ssl._ssl._test_decode_cert(path_of(fd))  # type: ignore[attr-defined]
    names = [value for _, value in found.get("subjectAltName", ())]
    names += [value for part in found.get("subject", ()) for _, value in part]
    start, end = (ssl.cert_time_to_seconds(found[key]) for key in ("notBefore", "notAfter"))
    about = f"{names[0] if names else 'nobody'}, valid until {_date(end)}"
    what, now = f"the certificate {config.ssl_certfile}", time.time()
    if now > end:
        return about, (f"{what} expired on {_date(end)}: clients refuse it",)
    if now < start:
        return about, (f"{what} is valid from {_date(start)} on only: clients refuse it",)
    return about, ()


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
