"""The watch against a real API server: what changes reaches the cache, and kopf writes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import Resource, VoiceContract
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_operator.cache import Cache
from voxfleet_operator.kube import Kube
from voxfleet_operator.watch import CrdsMissing, Watch

PATIENCE_SECONDS = 60.0
WRITES = {"create", "update", "patch", "delete", "deletecollection"}


def contract(name: str, namespace: str, containers: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "VoiceContract",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"input": {"containers": containers, "sampleRatesHz": [16000], "channels": [1]}},
    }


class Watching:
    """A running watch, and the objects that it reported, in order."""

    def __init__(self, kube: Kube) -> None:
        self.cache = Cache()
        self.changes: asyncio.Queue[Resource] = asyncio.Queue()
        self.namespace_changes = asyncio.Event()
        self.stop = asyncio.Event()
        self.watch = Watch(kube, self.cache, self.changes.put_nowait, self.namespace_changes.set)
        self.task = asyncio.create_task(self.watch.run(self.stop))

    async def change_of(self, name: str, namespace: str) -> Resource:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                resource = await self.changes.get()
                if (resource.metadata.namespace, resource.metadata.name) == (namespace, name):
                    return resource


@pytest.fixture
async def watching(operator_kube: Kube) -> AsyncIterator[Watching]:
    running = Watching(operator_kube)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await running.watch.synced.wait()
    yield running
    running.stop.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await running.task


async def test_what_exists_before_the_start_is_in_the_cache_once_synced(
    kube: Kube, operator_kube: Kube, namespace: str
) -> None:
    await kube.create(contract("early", namespace, ["wav"]))
    running = Watching(operator_kube)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await running.watch.synced.wait()
    assert running.cache.get(VoiceContract, namespace, "early") is not None
    running.stop.set()
    await running.task


async def test_adds_updates_and_deletes_reach_the_cache(
    watching: Watching, installed_crds: ControlPlane, namespace: str
) -> None:
    installed_crds.apply(contract("calls", namespace, ["wav"]))
    added = await watching.change_of("calls", namespace)
    assert watching.cache.get(VoiceContract, namespace, "calls") == added

    installed_crds.apply(contract("calls", namespace, ["wav", "flac"]))
    updated = await watching.change_of("calls", namespace)
    assert isinstance(updated, VoiceContract)
    assert [str(name) for name in updated.spec.input.containers] == ["wav", "flac"]
    assert watching.cache.get(VoiceContract, namespace, "calls") == updated

    installed_crds.kubectl("delete", "voicecontract", "calls", "-n", namespace)
    await watching.change_of("calls", namespace)
    assert watching.cache.get(VoiceContract, namespace, "calls") is None
    assert watching.cache.by_uid(VoiceContract, added.metadata.uid) is None


async def test_labels_of_namespaces_are_known(watching: Watching, installed_crds: ControlPlane, namespace: str) -> None:
    watching.namespace_changes.clear()
    installed_crds.kubectl("label", "namespace", namespace, "team=speech")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while watching.cache.namespace_labels(namespace).get("team") != "speech":
            await watching.namespace_changes.wait()
            watching.namespace_changes.clear()


async def test_a_relist_finds_what_the_watch_missed(watching: Watching, kube: Kube, namespace: str) -> None:
    await kube.create(contract("calls", namespace, ["wav"]))
    added = await watching.change_of("calls", namespace)
    # As if the event had been lost: the cache forgets the object, and holds one that is gone.
    watching.cache.__init__()  # type: ignore[misc] # an empty cache in the same place
    ghost = added.model_copy(
        update={
            "metadata": added.metadata.model_copy(update={"uid": "ghost", "name": "ghost", "resource_version": "1"})
        }
    )
    watching.cache.put(ghost)
    await watching.watch.relist()
    assert watching.cache.get(VoiceContract, namespace, "calls") == added
    assert watching.cache.by_uid(VoiceContract, "ghost") is None


async def test_kopf_writes_nothing(watching: Watching, installed_crds: ControlPlane, namespace: str) -> None:
    installed_crds.apply(contract("calls", namespace, ["wav"]))
    await watching.change_of("calls", namespace)
    installed_crds.apply(contract("calls", namespace, ["flac"]))
    await watching.change_of("calls", namespace)
    entries = [json.loads(line) for line in _lines(installed_crds.audit_log)]
    by_kopf = [entry for entry in entries if entry.get("userAgent", "").startswith("kopf/")]
    assert any(entry["verb"] == "watch" and "voicecontracts" in entry["requestURI"] for entry in by_kopf)
    assert [entry["requestURI"] for entry in by_kopf if entry["verb"] in WRITES] == []
    stored = json.loads(installed_crds.kubectl("get", "voicecontract", "calls", "-n", namespace, "-o", "json"))
    assert "finalizers" not in stored["metadata"]
    assert not [key for key in stored["metadata"]["annotations"] if "kopf" in key]


async def test_missing_kinds_are_named_with_the_remedy(operator_kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxfleet_operator.kube_objects.VERSION", "v9")
    with pytest.raises(CrdsMissing, match="kubectl apply -k crds/"):
        await Watch(operator_kube, Cache(), lambda _: None).run(asyncio.Event())


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if line]
