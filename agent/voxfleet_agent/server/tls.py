"""The TLS settings of the agent's listener, out of files that may be replaced while it runs."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from voxfleet_agent.config import ConfigError, ListenTls, read_private_file
from voxfleet_agent.logs import logger

_log = logger("voxfleet.agent")
_Stamp = tuple[int, int, int]


def server_context(tls: ListenTls) -> ssl.SSLContext:
    """Reads the files. Raises ConfigError naming the one to mend."""
    read_private_file(tls.key_file, "listen.tls.keyFile", "put the key of certificateFile there, in PEM form")
    context = _TellingContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # who comes again shows its certificate again, which may have expired since
    _load(
        "listen.tls.certificateFile",
        tls.certificate_file,
        lambda: context.load_cert_chain(tls.certificate_file, tls.key_file, password=_no_passphrase),
        "write a certificate in PEM form, and its own key without a passphrase in keyFile",
    )
    advice = "write the certificates of those who sign clients' certificates, in PEM form"
    _load(
        "listen.tls.clientCaFile",
        tls.client_ca_file,
        lambda: context.load_verify_locations(tls.client_ca_file),
        advice,
    )
    if not context.get_ca_certs():
        raise ConfigError(f"listen.tls.clientCaFile: {tls.client_ca_file} holds no authority; {advice}")
    if (crl_file := tls.client_crl_file) is not None:
        _load(
            "listen.tls.clientCrlFile",
            crl_file,
            lambda: context.load_verify_locations(crl_file),
            "write the authority's list of revoked certificates, in PEM form",
        )
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    return context


class TlsFiles:
    """The newest usable settings. Files that cannot be used are logged once, and leave the settings as they are."""

    def __init__(self, tls: ListenTls) -> None:
        """Raises ConfigError."""
        self._tls = tls
        self._stamps = self._read_stamps()
        self._trust_changed = False
        """Also by files that could not be used yet."""
        self.context = server_context(tls)

    def reload(self) -> bool:
        """Reads files that have changed; returns whether other clients may be trusted than before."""
        before, self._stamps = self._stamps, self._read_stamps()
        if self._stamps == before:
            return False
        self._trust_changed |= any(self._stamps[file] != before[file] for file in self._tls.trust_files)
        try:
            self.context = server_context(self._tls)
        except ConfigError as error:
            _log.error("tls_not_reloaded", error=str(error))
            return False
        _log.info("tls_reloaded")
        trust_changed, self._trust_changed = self._trust_changed, False
        return trust_changed

    def _read_stamps(self) -> Mapping[Path, _Stamp | None]:
        return {file: _stamp(file) for file in self._tls.files}


class _TellingHandshake(ssl.SSLObject):
    """asyncio drops the alert that says why a handshake failed, and the client would see no more than a reset.

    So a handshake that failed looks as one that waits: asyncio sends the alert, and ends the connection once the client
    has hung up, or at the end of the handshake's time.
    """

    incoming: ssl.MemoryBIO
    failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self.failure is not None:
            self.incoming.read()  # nobody reads it any more
            raise ssl.SSLWantReadError
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.failure = error
            _log.warning("tls_refused", error=error.reason or type(error).__name__)
            raise ssl.SSLWantReadError from error


class _TellingContext(ssl.SSLContext):
    sslobject_class = _TellingHandshake

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        if isinstance(made, _TellingHandshake):
            made.incoming = incoming
        return made


def _load(field: str, file: Path, load: Callable[[], object], advice: str) -> None:
    try:
        load()
    except (ssl.SSLError, ValueError) as error:  # the first is an OSError, too
        raise ConfigError(f"{field}: {file} cannot be used ({error}); {advice}") from error
    except OSError as error:
        raise ConfigError(f"{field}: {file}: {error.strerror}; {advice}") from error


def _no_passphrase() -> str:
    """Without it, OpenSSL would ask the terminal."""
    raise ValueError("the key is encrypted")


def _stamp(file: Path) -> _Stamp | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
