"""The assignment protocol's writes against a real kube-apiserver: what makes an attempt number a fencing token."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AudioShardStatus, MachineIdentity
from voxfleet_operator.cache import Cache
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import Conflict, Invalid
from voxfleet_operator.queue import WorkQueue
from voxfleet_operator.reconcile.context import Context, ReconcileOptions
from voxfleet_operator.reconcile.shard.status import assigned, attempt_ended
from voxfleet_operator.reconcile.status_writer import differs, write_status
from voxfleet_operator.registry import triggers

NOW = "2026-11-20T22:00:00Z"
DIGEST = "sha256:" + "a" * 64


class Held:
    """Leadership that is never lost."""

    counts_from_seconds = 0.0
    unled = None

    def check(self) -> None:
        return


class Silent:
    def publish(self, *_: object, **__: object) -> None:
        return


@pytest.fixture
async def kube(operator_kube: Kube) -> Kube:
    return operator_kube


@pytest.fixture
async def shard(kube: Kube, namespace: str) -> AudioShard:
    created = await kube.create(
        {
            "apiVersion": API_VERSION,
            "kind": "AudioShard",
            "metadata": {"name": "job-00000", "namespace": namespace},
            "spec": {"jobRef": {"name": "job", "uid": "u-1"}, "stage": "Process", "ordinal": 0, "indexes": "0-9"},
        }
    )
    return AudioShard.load(created)


def on(shard: AudioShard, attempt: int, mac: str) -> AudioShardStatus:
    machine = MachineIdentity(hardware_id=f"hardware-of-{mac}", ledger_key="k" * 44)
    return assigned(
        shard,
        attempt=attempt,
        mac=mac,
        machine=machine,
        spec_digest=DIGEST,
        lease_seconds=30,
        usage_of_lost=None,
        now=NOW,
    )


async def write(kube: Kube, shard: AudioShard, status: AudioShardStatus) -> AudioShard:
    metadata = shard.metadata
    return await kube.apply_status(
        AudioShard, metadata.namespace, metadata.name, status.dump(), metadata.resource_version
    )


async def test_of_two_who_decide_on_the_same_object_one_writes(kube: Kube, shard: AudioShard) -> None:
    first = await write(kube, shard, on(shard, 1, "mac-a"))
    assert (first.status.attempt, first.status.mac) == (1, "mac-a")
    with pytest.raises(Conflict):
        await write(kube, shard, on(shard, 1, "mac-b"))


async def test_an_attempt_never_falls(kube: Kube, shard: AudioShard) -> None:
    second = await write(kube, shard, on(shard, 2, "mac-a"))
    with pytest.raises(Invalid, match="never falls"):
        await write(kube, second, on(shard, 1, "mac-b"))


async def test_an_attempt_stays_on_its_mac(kube: Kube, shard: AudioShard) -> None:
    first = await write(kube, shard, on(shard, 1, "mac-a"))
    with pytest.raises(Invalid, match="belongs to one Mac for ever"):
        await write(kube, first, on(shard, 1, "mac-b"))


async def test_the_next_attempt_ends_the_last_one_in_the_same_write(kube: Kube, shard: AudioShard) -> None:
    first = await write(kube, shard, on(shard, 1, "mac-a"))
    second = await write(kube, first, on(first, 2, "mac-b"))
    outcomes = [(record.mac, record.outcome) for record in second.status.attempts]
    assert outcomes == [("mac-a", AttemptOutcome.LOST), ("mac-b", AttemptOutcome.ASSIGNED)]


async def test_a_conflict_brings_the_newer_object_into_the_cache(kube: Kube, shard: AudioShard) -> None:
    cache, queue = Cache(), WorkQueue()
    queue.start()
    cache.put(shard)
    context = Context(
        api=kube,
        cache=cache,
        fleet=None,  # type: ignore[arg-type] # no Mac takes part
        leader=Held(),
        queue=queue,
        triggers=triggers(),
        events=Silent(),
        options=ReconcileOptions("control-plane"),
        clock=lambda: 0.0,
        now=lambda: datetime.now(UTC),
        synced=lambda: True,
    )
    elsewhere = await write(kube, shard, on(shard, 1, "mac-a"))
    assert await write_status(context, shard, on(shard, 1, "mac-b")) is None
    cached = cache.get(AudioShard, shard.metadata.namespace, shard.metadata.name)
    assert cached is not None and cached.status == elsewhere.status
    assert queue.depth == 3, "the shard, its job and placement look again"
    written = await write_status(
        context, cached, attempt_ended(cached, AttemptOutcome.RETURNED, None, "no lane", None, NOW, retry_limit=7)
    )
    assert written is not None and differs(written.status, cached.status) is not False
    version = written.metadata.resource_version
    again = await write_status(context, written, written.status)
    assert again is written and version == again.metadata.resource_version
