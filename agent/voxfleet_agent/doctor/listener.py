"""Checks the certificates of the agent's own TLS listener: can they be used, for which names, and for how long?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from voxfleet_agent.config import AgentConfig, ConfigError, ListenTls
from voxfleet_agent.doctor.finding import Finding, fail, ok, warn
from voxfleet_agent.server.tls import server_context

_SOON = timedelta(days=14)
_CRL_SOON = timedelta(days=2)
_LIST = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)
_FETCH = "fetch the authority's newest list into listen.tls.clientCrlFile"


def check_listener(config: AgentConfig) -> list[Finding]:
    """Nothing for a listener without TLS. Reads the files as the agent does when it starts."""
    tls = config.listen.tls
    if tls is None:
        return []
    try:
        server_context(tls)
    except ConfigError as error:
        what, _, mend = str(error).partition("; ")
        return [fail("listener", what, mend)]
    now = datetime.now(UTC)
    return [
        judge_certificate(x509.load_pem_x509_certificates(tls.certificate_file.read_bytes())[0], now),
        judge_authorities(x509.load_pem_x509_certificates(tls.client_ca_file.read_bytes()), now),
        *_judged_crl(tls, now),
    ]


def judge_certificate(certificate: x509.Certificate, now: datetime) -> Finding:
    """What clients will think of the agent's certificate."""
    name = "listener certificate"
    found = f"valid until {_day(certificate.not_valid_after_utc)}"
    if now < certificate.not_valid_before_utc:
        return fail(
            name, f"not valid before {_day(certificate.not_valid_before_utc)}", "compare this machine's clock, or wait"
        )
    if certificate.not_valid_after_utc < now:
        return fail(name, found, "renew listen.tls.certificateFile; the agent reads it again by itself")
    names = _names(certificate)
    if not names:
        return fail(name, "names no host", "make one with the host of spec.https.url among its subjectAltName")
    if not _for_servers(certificate):
        return fail(name, "is not for servers", "make one with extendedKeyUsage serverAuth")
    if certificate.not_valid_after_utc < now + _SOON:
        return warn(name, found, "renew listen.tls.certificateFile; the agent reads it again by itself")
    return ok(name, f"{found}, for {', '.join(names)}")


def judge_authorities(authorities: Sequence[x509.Certificate], now: datetime) -> Finding:
    name, last = "client authorities", max(item.not_valid_after_utc for item in authorities)
    found = f"{len(authorities)}, valid until {_day(last)}"
    mend = "add a newer authority of the operator's certificate to listen.tls.clientCaFile"
    if last < now:
        return fail(name, found, mend)
    return warn(name, found, mend) if last < now + _SOON else ok(name, found)


def judge_revocations(next_update: datetime | None, now: datetime) -> Finding:
    """A list that has expired lets nobody in. `next_update`: of the one that ends first."""
    name, mend = "client revocations", _FETCH
    if next_update is None:
        return ok(name, "the list has no end")
    found = f"the list is good until {next_update:%Y-%m-%d %H:%M} UTC"
    if next_update < now:
        return fail(name, f"{found}: no client is trusted", mend)
    return warn(name, found, mend) if next_update < now + _CRL_SOON else ok(name, found)


def _judged_crl(tls: ListenTls, now: datetime) -> list[Finding]:
    file: Path | None = tls.client_crl_file
    if file is None:
        return []
    lists = _LIST.findall(file.read_bytes())
    if not lists:
        return [
            fail("client revocations", f"{file} holds no list of revoked certificates: no client is trusted", _FETCH)
        ]
    ends = [x509.load_pem_x509_crl(pem).next_update_utc for pem in lists]
    return [judge_revocations(min((end for end in ends if end is not None), default=None), now)]


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]


def _for_servers(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.SERVER_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
