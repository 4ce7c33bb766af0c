"""Asks the API server whose a token is, and whether that ServiceAccount may use an endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from voxfleet_api import GROUP
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_gateway.access.credentials import fingerprint
from voxfleet_gateway.access.recent_answers import RecentAnswers
from voxfleet_gateway.refusals import CallRefused
from voxfleet_operator.kube_errors import SERVICE_ACCOUNT_PREFIX, KubeError

AUDIENCE = "voxfleet-gateway"
HOLD_SECONDS = 60.0
"""A token or right that is taken away is refused after this."""
MAX_ANSWERS = 10_000
MAX_QUESTIONS = 16
"""At a time: whoever sends made-up tokens asks the API server no faster."""
MAX_WAITING = 64
"""Callers whose question waits for its turn; more are refused at once."""
ANSWER_SECONDS = 5.0
RETRY_SECONDS = 2.0

Ask = Callable[[str, Mapping[str, object]], Awaitable[Mapping[str, Any]]]
"""POSTs an object to a path of the API server. Raises KubeError."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TokenUser:
    name: str
    """`system:serviceaccount:NAMESPACE:NAME`"""
    uid: str
    groups: tuple[str, ...]
    extra: tuple[tuple[str, tuple[str, ...]], ...]


class ServiceAccounts:
    """`clock` is monotonic, in seconds."""

    def __init__(self, ask: Ask, clock: Callable[[], float]) -> None:
        self._ask = ask
        self._users: RecentAnswers[str, TokenUser] = RecentAnswers(MAX_ANSWERS, HOLD_SECONDS, clock)
        self._strangers: RecentAnswers[str, bool] = RecentAnswers(MAX_ANSWERS, HOLD_SECONDS, clock)
        """Tokens that the API server did not take; apart, so that made-up ones push out no other."""
        self._rights: RecentAnswers[tuple[str, str, str], bool] = RecentAnswers(MAX_ANSWERS, HOLD_SECONDS, clock)
        self._questions = asyncio.Semaphore(MAX_QUESTIONS)
        self.waiting = 0
        """Callers with a question, those included whose question is asked now."""

    async def user(self, token: str) -> TokenUser | None:
        """None for what the API server does not take. Raises CallRefused(503) if it does not answer."""
        known = fingerprint(token)
        found = self._users.get(known)
        if found is None and not self._strangers.get(known):
            async with self._question():
                answer = await self._ask("/apis/authentication.k8s.io/v1/tokenreviews", _token_review(token))
            found = _user_of(answer)
            if found is None:
                self._strangers.put(known, True)
            else:
                self._users.put(known, found)
        return found

    async def may_use(self, user: TokenUser, endpoint: VoiceEndpoint) -> bool:
        """Whether the endpoint lists the account and RBAC lets it. Raises CallRefused(503)."""
        auth, metadata = endpoint.spec.auth, endpoint.metadata
        if auth is None or not is_listed(user.name, auth.service_accounts, metadata.namespace):
            return False
        question = (user.name, metadata.namespace, metadata.name)
        allowed = self._rights.get(question)
        if allowed is None:
            async with self._question():
                answer = await self._ask(
                    "/apis/authorization.k8s.io/v1/subjectaccessreviews",
                    _access_review(user, metadata.namespace, metadata.name),
                )
            allowed = bool((answer.get("status") or {}).get("allowed"))
            self._rights.put(question, allowed)
        return allowed

    @asynccontextmanager
    async def _question(self) -> AsyncIterator[None]:
        if self.waiting >= MAX_QUESTIONS + MAX_WAITING:
            raise _not_now()
        self.waiting += 1
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._questions:
                yield
        except (KubeError, TimeoutError) as error:
            log.warning("a token cannot be looked at", error=str(error))
            raise _not_now() from error
        finally:
            self.waiting -= 1


def _not_now() -> CallRefused:
    return CallRefused(
        503, "token_unknown", "the token cannot be looked at now; try again", retry_after_seconds=RETRY_SECONDS
    )


def is_listed(user: str, listed: tuple[str, ...], own_namespace: str) -> bool:
    """Whether `listed` (`namespace/name`, or `name` in the endpoint's own) has the user of a token. Pure."""
    account = user.removeprefix(SERVICE_ACCOUNT_PREFIX)
    if account == user:
        return False
    namespace, _, name = account.partition(":")
    return f"{namespace}/{name}" in listed or (namespace == own_namespace and name in listed)


def _token_review(token: str) -> dict[str, object]:
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [AUDIENCE]},
    }


def _access_review(user: TokenUser, namespace: str, name: str) -> dict[str, object]:
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {key: list(values) for key, values in user.extra},
            "resourceAttributes": {
                "verb": "use",
                "group": GROUP,
                "resource": VoiceEndpoint.crd.plural,
                "namespace": namespace,
                "name": name,
            },
        },
    }


def _user_of(answer: Mapping[str, Any]) -> TokenUser | None:
    status = answer.get("status") or {}
    user = status.get("user") or {}
    # A server that does not know audiences leaves them out: then the token may be for anybody.
    if not status.get("authenticated") or AUDIENCE not in (status.get("audiences") or ()):
        return None
    extra = tuple((str(key), tuple(map(str, values))) for key, values in sorted((user.get("extra") or {}).items()))
    return TokenUser(
        str(user.get("username") or ""), str(user.get("uid") or ""), tuple(map(str, user.get("groups") or ())), extra
    )
