"""What a request shows to be let in, and what it must not show. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from voxfleet_gateway.refusals import CallRefused

URL_TOKENS = frozenset({"access_token", "api_key", "api-key", "apikey", "authorization", "key", "token"})
KEY_SUBPROTOCOL = "openai-insecure-api-key."
MAX_CREDENTIAL_CHARACTERS = 8192
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

NOT_LET_IN = (
    "send `Authorization: Bearer KEY` with a key whose hash is in the Secret of the endpoint's spec.auth.keysSecretRef,"
    " or a token for the audience voxfleet-gateway of a ServiceAccount in spec.auth.serviceAccounts. Without spec.auth"
    " an endpoint lets nobody in"
)


def unauthorized() -> CallRefused:
    """The same for every reason, and for endpoints that there are not: it tells nobody which there are."""
    return CallRefused(401, "invalid_api_key", NOT_LET_IN)


def not_found() -> CallRefused:
    return CallRefused(
        404, "not_found", "there is no such endpoint, or you may not use it (the verb `use` on voiceendpoints)"
    )


def check_url(parameters: Iterable[str]) -> None:
    """Raises CallRefused for a token in the URL, which proxies write into their logs."""
    for name in parameters:
        if name.lower() in URL_TOKENS:
            raise CallRefused(
                400,
                "token_in_url",
                f"the URL has the parameter {name.lower()}: send the key in the header Authorization; this one is"
                " in logs now, replace it",
                param=name.lower(),
            )


def check_subprotocols(header: str | None) -> None:
    """Raises CallRefused for a key that a browser sends as a subprotocol: every script of the page can read it."""
    for offered in (header or "").split(","):
        if offered.strip().startswith(KEY_SUBPROTOCOL):
            raise CallRefused(
                400,
                "key_in_subprotocol",
                f"the subprotocol {KEY_SUBPROTOCOL}… is not taken: browsers reach sockets through a server of yours",
            )


def bearer(headers: Mapping[str, str]) -> str:
    """Raises CallRefused(401) without one."""
    scheme, _, credential = headers.get("Authorization", "").partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential or len(credential) > MAX_CREDENTIAL_CHARACTERS:
        raise unauthorized()
    return credential


def is_token(credential: str) -> bool:
    """Whether it may be a ServiceAccount's token, which only the API server can tell."""
    return _JWT.fullmatch(credential) is not None


def fingerprint(credential: str) -> str:
    """What a key or token is known by here, as 64 hexadecimal digits: the credential itself is kept nowhere.

    Of the bytes as they came: aiohttp's headers hold those that are no UTF-8 as surrogates.
    """
    return hashlib.sha256(credential.encode(errors="surrogateescape")).hexdigest()
