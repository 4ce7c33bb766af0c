"""When the Secrets with hashes are read, and what holds while they cannot be."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping

import pytest

from voxfleet_gateway.access import key_secrets
from voxfleet_gateway.access.credentials import fingerprint
from voxfleet_gateway.access.key_secrets import FRESH_SECONDS, KEPT_SECONDS, READ_SECONDS, RETRY_SECONDS, KeySecrets
from voxfleet_gateway.refusals import CallRefused
from voxfleet_operator.kube_errors import ApiUnavailable, KubeError, SecretForbidden, SecretNotFound

NAMES = ("speech", "keys")


class Api:
    """An API server with one Secret, and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reads = 0
        self.fails: KubeError | None = None
        self.keys = ["one"]
        self.answers = asyncio.Event()
        self.answers.set()
        self.secrets = KeySecrets(self._read, lambda: self.now)

    async def known(self) -> set[str]:
        return set((await self.secrets.keys(*NAMES)).names)

    async def _read(self, namespace: str, name: str) -> Mapping[str, bytes]:
        assert (namespace, name) == NAMES
        self.reads += 1
        await asyncio.sleep(0)
        await self.answers.wait()
        if self.fails is not None:
            raise self.fails
        return {"team-a": "\n".join(f"sha256:{hashlib.sha256(key.encode()).hexdigest()}" for key in self.keys).encode()}


async def test_a_secret_is_read_once_for_all_who_ask_and_again_after_a_while() -> None:
    api = Api()
    assert await asyncio.gather(*(api.known() for _ in range(5))) == [{fingerprint("one")}] * 5
    api.keys = ["two"]
    api.now += FRESH_SECONDS - 1
    assert await api.known() == {fingerprint("one")} and api.reads == 1
    api.now += 1
    assert await api.known() == {fingerprint("two")} and api.reads == 2


async def test_keys_hold_for_a_while_without_an_api_server_and_nobody_is_let_in_unseen() -> None:
    api = Api()
    await api.known()
    api.fails = ApiUnavailable("no answer")
    api.now += FRESH_SECONDS + 1
    assert await api.known() == {fingerprint("one")}
    api.now += KEPT_SECONDS
    with pytest.raises(CallRefused) as refused:
        await api.known()
    assert refused.value.status == 503 and refused.value.retry_after_seconds


async def test_nobody_waits_for_an_api_server_that_is_silent_while_keys_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_secrets, "RENEW_SECONDS", 0.01)
    api = Api()
    await api.known()
    api.now += FRESH_SECONDS + 1
    api.answers.clear()
    async with asyncio.timeout(READ_SECONDS / 2):
        assert await api.known() == {fingerprint("one")}
    monkeypatch.setattr(key_secrets, "RENEW_SECONDS", READ_SECONDS)
    async with asyncio.timeout(READ_SECONDS / 2):
        assert [await api.known() for _ in range(3)] == [{fingerprint("one")}] * 3
    api.keys = ["two"]
    api.answers.set()
    api.now += RETRY_SECONDS
    assert await api.known() == {fingerprint("two")} and api.reads == 2


@pytest.mark.parametrize("error", [SecretNotFound(*NAMES), SecretForbidden(*NAMES, "gateway")])
async def test_a_secret_that_is_taken_away_takes_its_keys_along(error: KubeError) -> None:
    api = Api()
    await api.known()
    api.fails = error
    api.now += FRESH_SECONDS
    assert await api.known() == set()
