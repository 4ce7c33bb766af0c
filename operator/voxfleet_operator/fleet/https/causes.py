"""Why an agent could not be reached over HTTPS, and what to do about it. Pure."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.mac_agent import HttpsAccess
from voxfleet_operator.fleet.dialer import DialError

_NOTHING_SENT = "nothing secret was sent"
_UNFINISHED = (ssl.SSLEOFError, ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLSyscallError)
"""They say that the connection was not there any more, and nothing of TLS."""
_RESETS = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError, ssl.SSLEOFError)
_WITHOUT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
# X509_V_ERR_… of openssl/x509_vfy.h
_NOT_YET_VALID, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64
_MAX_LINKS = 20


def refusal(error: BaseException, access: HttpsAccess) -> DialError:
    """What a failed request to the agent means. `error`: what the HTTP client raised, with its causes."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _of_server_certificate(cause, access)
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, _UNFINISHED):
            return _of_handshake(cause, access)
    if any(isinstance(cause, _RESETS) or "disconnected" in str(cause) for cause in causes):
        return DialError(
            Reason.CONNECTION_RESET,
            f"the connection to {access.url} was opened and then broken off; look for a proxy or firewall between the"
            " operator and the Mac that lets no TLS through, and into the agent's log",
        )
    return DialError(
        Reason.HTTPS_UNREACHABLE,
        f"cannot reach {access.url}: {_innermost_text(causes)}; check spec.https.url, that the agent runs with"
        " listen.tls, and the firewall",
    )


def _of_server_certificate(error: ssl.SSLCertVerificationError, access: HttpsAccess) -> DialError:
    shown = f"the certificate that {access.url} shows"
    if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS):
        return DialError(
            Reason.SERVER_NAME_MISMATCH,
            f"{shown} is for another name; {_NOTHING_SENT}. Correct spec.https.url, or give the agent a certificate"
            " with this host among its names (listen.tls.certificateFile)",
        )
    if error.verify_code == _EXPIRED:
        return DialError(
            Reason.SERVER_CERTIFICATE_EXPIRED,
            f"{shown}, or one of its authorities', has expired; {_NOTHING_SENT}. Renew listen.tls.certificateFile on"
            " the Mac; the agent reads it again by itself",
        )
    if error.verify_code == _NOT_YET_VALID:
        return DialError(
            Reason.SERVER_CERTIFICATE_NOT_YET_VALID,
            f"{shown}, or one of its authorities', is not valid yet; {_NOTHING_SENT}. Compare the clocks of the"
            " operator and of whoever made it",
        )
    ref = access.ca_bundle_ref
    return DialError(
        Reason.SERVER_CERTIFICATE_UNTRUSTED,
        f"{shown} is signed by nobody in Secret {ref.name}, key {ref.key} ({error.verify_message}); {_NOTHING_SENT}."
        " Find out what answers there; if it is the agent, store its authority's certificate in that Secret",
    )


def _of_handshake(error: ssl.SSLError, access: HttpsAccess) -> DialError:
    """A failed handshake, or what the agent thought of the operator's certificate."""
    why = error.reason or str(error)
    if why in _WITHOUT_TLS:
        return DialError(
            Reason.TLS_NOT_SPOKEN,
            f"what answers at {access.url} does not speak TLS; {_NOTHING_SENT}. Write listen.tls into the agent's"
            " configuration, or correct the port in spec.https.url",
        )
    _, is_alert, alert = why.partition("ALERT_")
    own = f"Secret {access.client_certificate_secret_ref.name}"
    if is_alert and alert == "CERTIFICATE_REVOKED":
        return DialError(
            Reason.CLIENT_CERTIFICATE_REVOKED,
            f"the agent says that the certificate in {own} is revoked; store another one there, from an authority in"
            " the agent's listen.tls.clientCaFile",
        )
    if is_alert and alert == "CERTIFICATE_EXPIRED":
        return DialError(
            Reason.CLIENT_CERTIFICATE_EXPIRED,
            f"the agent says that the certificate in {own}, or what it knows of its authority, has expired; renew it"
            " there (the operator reads it again by itself), compare the Mac's clock, and renew the agent's"
            " listen.tls.clientCrlFile if it has one",
        )
    if is_alert and ("CERTIFICATE" in alert or alert in ("UNKNOWN_CA", "ACCESS_DENIED", "DECRYPT_ERROR")):
        return DialError(
            Reason.CLIENT_CERTIFICATE_REFUSED,
            f"the agent does not trust the certificate in {own} ({_words(alert)}); add its authority to the agent's"
            " listen.tls.clientCaFile, or store a certificate for clients from one that is there",
        )
    return DialError(
        Reason.TLS_HANDSHAKE_FAILED,
        f"the TLS handshake with {access.url} failed: {_words(alert if is_alert else why)}; look into the agent's log,"
        " and for a proxy that speaks TLS older than 1.2",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from; bounded, and each once."""
    found: dict[int, BaseException] = {}
    waiting: list[BaseException | None] = [error]
    while waiting and len(found) < _MAX_LINKS:
        item = waiting.pop(0)
        if item is None or id(item) in found:
            continue
        found[id(item)] = item
        waiting += [item.__cause__, item.__context__]
        if isinstance(item, BaseExceptionGroup):
            waiting += item.exceptions
    yield from found.values()


def _innermost_text(causes: list[BaseException]) -> str:
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return "no answer in time"
    for cause in reversed(causes):
        if isinstance(cause, socket.gaierror):
            return cause.strerror or "the name has no address"
        # asyncio puts words of its own into strerror, and TLS numbers of its own into errno.
        if isinstance(cause, OSError) and cause.errno and not isinstance(cause, ssl.SSLError):
            return os.strerror(cause.errno)
    return str(causes[0]) or type(causes[0]).__name__


def _words(reason: str) -> str:
    return reason.lower().replace("_", " ")
