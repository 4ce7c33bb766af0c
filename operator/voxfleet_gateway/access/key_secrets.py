"""Reads the Secrets with hashes of keys, seldom, and keeps what was read for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from voxfleet_gateway.access.hashed_keys import HashedKeys, read_keys
from voxfleet_gateway.access.recent_answers import RecentAnswers
from voxfleet_gateway.refusals import CallRefused
from voxfleet_operator.kube_errors import KubeError, SecretForbidden, SecretNotFound

FRESH_SECONDS = 30.0
"""A key that is taken out of the Secret is refused after this."""
KEPT_SECONDS = 600.0
"""For so long the keys hold that were read last, while the API server does not answer."""
READ_SECONDS = 5.0
"""For so long a caller waits whose endpoint's keys are not known."""
RENEW_SECONDS = 0.2
"""For so long one waits while others are known: nobody who speaks pays for an API server that is away."""
MAX_SECRETS = 4096
RETRY_SECONDS = 2.0

ReadSecret = Callable[[str, str], Awaitable[Mapping[str, bytes]]]
"""By namespace and name. Raises KubeError."""

log = structlog.get_logger(__name__)

SecretName = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Read:
    keys: HashedKeys
    at_seconds: float


class KeySecrets:
    """`clock` is monotonic, in seconds."""

    def __init__(self, read: ReadSecret, clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock
        self._kept: RecentAnswers[SecretName, _Read] = RecentAnswers(MAX_SECRETS, KEPT_SECONDS, clock)
        self._unanswered: RecentAnswers[SecretName, bool] = RecentAnswers(MAX_SECRETS, RETRY_SECONDS, clock)
        self._reading: dict[SecretName, asyncio.Task[HashedKeys]] = {}

    async def keys(self, namespace: str, name: str) -> HashedKeys:
        """None of a Secret that is not there or may not be read. Raises CallRefused(503) if nobody knows."""
        kept = self._kept.get((namespace, name))
        if kept is not None and (
            self._clock() - kept.at_seconds < FRESH_SECONDS or self._unanswered.get((namespace, name))
        ):
            return kept.keys
        reading = self._reading.get((namespace, name))
        if reading is None:
            reading = asyncio.create_task(self._fetch(namespace, name))
            self._reading[namespace, name] = reading
            reading.add_done_callback(partial(self._has_read, (namespace, name)))
        try:
            async with asyncio.timeout(READ_SECONDS if kept is None else RENEW_SECONDS):
                return await asyncio.shield(reading)
        except (KubeError, TimeoutError) as error:
            if kept is not None:
                self._unanswered.put((namespace, name), True)
                return kept.keys
            log.warning("keys cannot be read", namespace=namespace, secret=name, error=str(error))
            raise CallRefused(
                503,
                "keys_unknown",
                "the endpoint's keys cannot be read now; try again",
                retry_after_seconds=RETRY_SECONDS,
            ) from error

    def _has_read(self, secret: SecretName, reading: asyncio.Task[HashedKeys]) -> None:
        self._reading.pop(secret, None)
        if not reading.cancelled():
            reading.exception()  # whoever waited for it was told, or has gone

    async def _fetch(self, namespace: str, name: str) -> HashedKeys:
        try:
            keys = read_keys(await self._read(namespace, name))
        except (SecretNotFound, SecretForbidden) as error:
            log.warning("keys cannot be read: nobody is let in by one", error=str(error))
            keys = HashedKeys({})
        for trouble in keys.troubles:
            log.warning("no hash of a key; write `sha256:HEX`", namespace=namespace, secret=name, trouble=trouble)
        self._kept.put((namespace, name), _Read(keys, self._clock()))
        return keys
