"""Connections between the processes of a cluster: encrypted with a certificate of the run, or plain if the user asks for it.

Anyone who reaches a Dask scheduler or worker can make it run any code, and the loopback interface checks no user. So every
process of a cluster shows the run's certificate, and answers only processes that show it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dask.config

from flows import lifecycle
from pipeline.errors import UsageError


def described(what: str, encrypted: bool) -> str:
    """Return words for a cluster; if its connections are not encrypted, the words name the danger."""
    plain = "its connections are not encrypted, and whoever reaches a port of it can run code as you"
    return what if encrypted else f"{what}; {plain}"


_NAME = "dask-internal"
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""Validity of a certificate: all times, because clocks of machines differ and jump. A certificate serves only its run."""

_ALIVE = "alive"


def self_signed() -> tuple[str, str]:
    """Make a certificate for all processes of one cluster.

    The certificate is that of distributed's ``Security.temporary()``, but valid at all times and with an elliptic key, which
    is made in almost no time.

    Returns
    -------
    certificate, key
        PEM texts.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_ALWAYS[0])
        .not_valid_after(_ALWAYS[1])
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(_NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )  # fmt: skip
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def credentials(certificate: str, key: str) -> dict[str, Any]:
    """Return the arguments of distributed's ``Security`` for every role.

    Certificate and key are both PEM texts or both paths.
    """
    roles = ("client", "scheduler", "worker")
    return {
        "require_encryption": True, "tls_ca_file": certificate,
        **{f"tls_{role}_cert": certificate for role in roles}, **{f"tls_{role}_key": key for role in roles},
    }  # fmt: skip


@contextmanager
def credential_files(folder: str) -> Iterator[dict[str, Any]]:
    """Put a fresh certificate into a folder that all machines see; only the paths of its files are sent to the machines.

    Parameters
    ----------
    folder
        Folder in which the run makes a folder of its own; the latter is removed when this context ends.

    Yields
    ------
    dict
        The result of :func:`credentials`, with paths.

    Raises
    ------
    UsageError
        If other users could read the key in the folder, or replace it by their own.
    """
    parent = Path(folder).expanduser()
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place in (parent.resolve(), *parent.resolve().parents):
        mode = place.stat().st_mode
        if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
            raise UsageError(f"tls_folder {folder}: others can write to {place}, so keys are not safe below it: "
                             "name another folder that all machines see, or take that right away (chmod go-w)")  # fmt: skip
    with own_folder(parent) as own:
        paths = []
        for name, text in zip(("certificate.pem", "key.pem"), self_signed(), strict=True):
            path = own / name
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
            if path.stat().st_mode & 0o077:
                raise UsageError(f"tls_folder {folder}: its file system keeps no permissions, so others could read keys there")
            paths.append(str(path))
        yield credentials(*paths)


@contextmanager
def own_folder(parent: Path) -> Iterator[Path]:
    """Make a folder of mode 0700 for this run and remove it at the end.

    Folders of killed runs on this machine are removed first.
    """
    prefix = f"disac-run-{platform.node()}-"
    for other in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError), (other / _ALIVE).open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a run holds the lock until it ends, for whatever reason
            shutil.rmtree(other)
    made = Path(tempfile.mkdtemp(prefix="disac-new-", dir=parent))
    with (made / _ALIVE).open("w+b") as file:
        with contextlib.suppress(OSError):  # on a file system without locks, folders of other runs are not removed
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        own = made.rename(made.with_name(made.name.replace("disac-new-", prefix)))  # other runs find it only once it is locked
        with lifecycle.at_the_end(lambda: shutil.rmtree(own)):
            try:
                yield own
            finally:
                shutil.rmtree(own, ignore_errors=True)


@contextmanager
def own_scratch() -> Iterator[None]:
    """Put Dask's scratch folder into a private folder.

    Dask imports modules from its scratch folder, and another user may have made the folder that Dask would use.
    """
    parent = Path(dask.config.get("temporary-directory", None) or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    with own_folder(parent) as folder, dask.config.set({"temporary-directory": str(folder)}):
        yield
