"""Storage credentials of a run without a cluster, from the usual AWS variables of the environment."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import SecretStr

from voxfleet_agent.config import HttpsConfig
from voxfleet_api.protocol import S3Credentials


class CredentialsMissing(Exception):
    """A variable is not set; the message names it."""


def from_environment(environment: Mapping[str, str]) -> S3Credentials:
    """Reads the credentials. Raises CredentialsMissing."""

    def required(name: str) -> SecretStr:
        if not environment.get(name):
            raise CredentialsMissing(f"s3:// needs {name} in the environment; set it to what the job's Secret holds")
        return SecretStr(environment[name])

    token = environment.get("AWS_SESSION_TOKEN")
    return S3Credentials(
        access_key_id=required("AWS_ACCESS_KEY_ID"),
        secret_access_key=required("AWS_SECRET_ACCESS_KEY"),
        session_token=SecretStr(token) if token else None,
        region=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or None,
        endpoint_url=environment.get("AWS_ENDPOINT_URL") or None,
    )


def https_of(credentials: S3Credentials | None) -> HttpsConfig:
    """Allows a run to reach the S3 endpoint that its user names, even on this machine, and no other private host."""
    host = urlsplit(credentials.endpoint_url).hostname if credentials and credentials.endpoint_url else None
    if host is None:
        return HttpsConfig()
    try:
        resolved = {info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:  # the connection reports it later
        return HttpsConfig()
    addresses = (ipaddress.ip_address(str(address).partition("%")[0]) for address in resolved)
    return HttpsConfig(private_networks=tuple(sorted(str(ipaddress.ip_network(address)) for address in addresses)))
