"""The TLS settings for one Mac, out of its Secrets: whom the operator trusts there, and what it shows."""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.mac_agent import HttpsAccess
from voxfleet_operator.fleet.dialer import DialError, SecretReader

CERTIFICATE_KEY, PRIVATE_KEY_KEY = "tls.crt", "tls.key"
"""The keys of a Secret of type kubernetes.io/tls."""


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """The contents of a Mac's Secrets; equal ones need no new connection."""

    ca_bundle: bytes
    certificate: bytes
    private_key: bytes = field(repr=False)


async def read_material(access: HttpsAccess, secrets: SecretReader) -> TlsMaterial:
    """Raises SecretMissing."""
    bundle, own = access.ca_bundle_ref, access.client_certificate_secret_ref.name
    return TlsMaterial(
        ca_bundle=await secrets(bundle.name, bundle.key),
        certificate=await secrets(own, CERTIFICATE_KEY),
        private_key=await secrets(own, PRIVATE_KEY_KEY),
    )


def client_context(material: TlsMaterial, access: HttpsAccess) -> ssl.SSLContext:
    """Trusts the bundle alone. Blocks for some milliseconds. Raises DialError naming the Secret to fix."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the host's name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    ref = access.ca_bundle_ref
    try:
        context.load_verify_locations(cadata=material.ca_bundle.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise DialError(
            Reason.CERTIFICATE_UNREADABLE,
            f"Secret {ref.name}, key {ref.key} holds no certificates in PEM form; store the authority's there",
        ) from error
    own = access.client_certificate_secret_ref.name
    # OpenSSL reads a key from a file alone; this one goes as soon as it is read.
    with tempfile.TemporaryDirectory(prefix="voxfleet-tls-") as folder:
        certificate_file, key_file = Path(folder, CERTIFICATE_KEY), Path(folder, PRIVATE_KEY_KEY)
        key_file.touch(mode=0o600)
        key_file.write_bytes(material.private_key)
        certificate_file.write_bytes(material.certificate)
        try:
            context.load_cert_chain(certificate_file, key_file, password=_no_passphrase)
        except (ssl.SSLError, ValueError) as error:
            raise DialError(
                Reason.CERTIFICATE_UNREADABLE,
                f"Secret {own}: {CERTIFICATE_KEY} and {PRIVATE_KEY_KEY} are no certificate in PEM form and its own key"
                " without a passphrase; store both as kubectl create secret tls does",
            ) from error
    return context


def _no_passphrase() -> str:
    """Without it, OpenSSL would ask the terminal."""
    raise ValueError("the key is encrypted")
