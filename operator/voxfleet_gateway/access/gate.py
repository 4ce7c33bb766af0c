"""Lets a call in, or says why not, before anything of its body is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_auth import EndpointAuth
from voxfleet_gateway.access.call_rate import CallRates
from voxfleet_gateway.access.credentials import (
    bearer,
    check_subprotocols,
    check_url,
    fingerprint,
    is_token,
    not_found,
    unauthorized,
)
from voxfleet_gateway.access.key_secrets import KeySecrets
from voxfleet_gateway.access.service_accounts import ServiceAccounts
from voxfleet_gateway.refusals import CallRefused
from voxfleet_operator.cache import Cache


@dataclass(frozen=True, slots=True)
class Knock:
    """What of a request decides whether it is let in."""

    namespace: str
    endpoint: str
    headers: Mapping[str, str]
    """With names in any case."""
    query: tuple[str, ...]
    """Names alone."""


class Gate:
    """`clock` is monotonic, in seconds."""

    def __init__(
        self,
        cache: Cache,
        keys: KeySecrets,
        accounts: ServiceAccounts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._keys = keys
        self._accounts = accounts
        self._rates = CallRates(clock)

    async def enter(self, knock: Knock) -> VoiceEndpoint:
        """Raises CallRefused."""
        check_url(knock.query)
        check_subprotocols(knock.headers.get("Sec-WebSocket-Protocol"))
        credential = bearer(knock.headers)
        endpoint = self._cache.get(VoiceEndpoint, knock.namespace, knock.endpoint)
        caller = await self._caller(credential, endpoint)
        if endpoint is None or endpoint.spec.auth is None:
            raise not_found()
        check_origin(knock.headers.get("Origin"), endpoint.spec.auth)
        per_minute = endpoint.spec.auth.requests_per_minute
        if per_minute is not None:
            wait_seconds = self._rates.take((endpoint.metadata.uid, caller), per_minute)
            if wait_seconds is not None:
                raise CallRefused(
                    429,
                    "rate_limit_exceeded",
                    f"more than {per_minute} calls a minute (spec.auth.requestsPerMinute)",
                    retry_after_seconds=wait_seconds,
                )
        return endpoint

    async def _caller(self, credential: str, endpoint: VoiceEndpoint | None) -> str:
        """Who calls, for the count of calls. Raises CallRefused: 404 to whom the API server knows, else 401."""
        auth = None if endpoint is None else endpoint.spec.auth
        if endpoint is not None and auth is not None and auth.keys_secret_ref is not None:
            keys = await self._keys.keys(endpoint.metadata.namespace, auth.keys_secret_ref.name)
            known = fingerprint(credential)
            if known in keys.names:
                return known
        if not is_token(credential):
            raise unauthorized()
        user = await self._accounts.user(credential)
        if user is None:
            raise unauthorized()
        if endpoint is None or not await self._accounts.may_use(user, endpoint):
            raise not_found()
        return user.name


def check_origin(origin: str | None, auth: EndpointAuth) -> None:
    """Raises CallRefused for a page that is not listed. Pure."""
    if origin is not None and origin not in auth.allowed_origins:
        raise CallRefused(
            403,
            "origin_not_allowed",
            "this web page may not call the endpoint; list its Origin in spec.auth.allowedOrigins",
        )
