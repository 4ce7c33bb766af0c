"""Where an endpoint is served, and what lets its caller in."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_cli.command_line import CLI_MANAGER, Refused
from voxfleet_cli.names import no_such
from voxfleet_operator.kube import Kube

KEY_VARIABLE = "VOXFLEET_API_KEY"
TOKEN_AUDIENCE = "voxfleet-gateway"
TOKEN_SECONDS = 600
MAX_KEY_BYTES = 64 * 1024


class WrongAccess(ValueError):
    """Options that name no endpoint, or a key that cannot be read; the message names the option."""


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """As a person gave them."""

    endpoint: str | None = None
    namespace: str | None = None
    url: str | None = None
    key_file: Path | None = None
    service_account: str | None = None
    kubeconfig: Path | None = None
    context: str | None = None


@dataclass(frozen=True, slots=True)
class EndpointAccess:
    url: str
    """Without a slash at its end; below it are `/v1/audio/...`."""
    key: str | None = field(repr=False)
    """None: the caller has none, and the gateway says what it wants."""


async def endpoint_access(options: AccessOptions) -> EndpointAccess:
    """Asks the cluster for what the options leave open. Raises WrongAccess, NoSuchObject, Refused, KubeError."""
    if (options.url is None) == (options.endpoint is None):
        raise WrongAccess("say which endpoint: its name, or its address with --url, one of both")
    if options.key_file is not None and options.service_account is not None:
        raise WrongAccess("write --key-file or --service-account, not both")
    url = None if options.url is None else checked_url(options.url)
    key = own_key(options.key_file, os.environ.get(KEY_VARIABLE)) if options.service_account is None else None
    async with AsyncExitStack() as stack:
        if url is None or options.service_account is not None:
            kube = await stack.enter_async_context(
                await Kube.connect(options.kubeconfig, context=options.context, user_agent=CLI_MANAGER)
            )
            place = options.namespace or kube.namespace
            if url is None:
                url = await _served_url(kube, place, options.endpoint or "")
            if options.service_account is not None:
                key = await _account_token(kube, place, options.service_account)
    return EndpointAccess(url, key)


def checked_url(url: str) -> str:
    """The address without the slash at its end. Raises WrongAccess."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise WrongAccess(f"--url: {url!r} is no address such as https://speech.example.com/calls/captions")
    if parts.username is not None or parts.query or parts.fragment:
        raise WrongAccess("--url: write the address alone; a key comes from --key-file or VOXFLEET_API_KEY")
    return url.rstrip("/")


def own_key(key_file: Path | None, variable: str | None) -> str | None:
    """The first line of the file, else the variable's value. Raises WrongAccess, which holds no key."""
    if key_file is None:
        return variable.strip() or None if variable is not None else None
    try:
        with key_file.open("rb") as opened:
            content = opened.read(MAX_KEY_BYTES)
    except OSError as error:
        raise WrongAccess(f"--key-file: {key_file} cannot be read ({error.strerror})") from error
    lines = content.decode(errors="replace").split()
    if len(lines) != 1 or not lines[0].isascii():
        raise WrongAccess(f"--key-file: {key_file} does not hold one key, on one line")
    return lines[0]


async def _served_url(kube: Kube, namespace: str, name: str) -> str:
    endpoint = await kube.get(VoiceEndpoint, namespace, name)
    if endpoint is None:
        raise no_such((VoiceEndpoint,), name, namespace)
    if endpoint.status.url is None:
        raise Refused(
            f"endpoint {name} has no address yet: its operator knows of no gateway (--gateway-url), or has not written"
            " status.url; --url names one"
        )
    return endpoint.status.url.rstrip("/")


def account_of(written: str, endpoint_namespace: str) -> tuple[str, str]:
    """Namespace and name. `written`: as in spec.auth.serviceAccounts, `namespace/name` or `name`."""
    before, _, name = written.rpartition("/")
    return before or endpoint_namespace, name


async def _account_token(kube: Kube, endpoint_namespace: str, written: str) -> str:
    namespace, account = account_of(written, endpoint_namespace)
    answer = await kube.request(
        "POST",
        f"/api/v1/namespaces/{quote(namespace, safe='')}/serviceaccounts/{quote(account, safe='')}/token",
        body={
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [TOKEN_AUDIENCE], "expirationSeconds": TOKEN_SECONDS},
        },
    )
    token: str = answer["status"]["token"]
    return token
