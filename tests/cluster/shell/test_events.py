"""Events as the API server stores them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import VoiceContract
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_operator.event_reasons import EventReason
from voxfleet_operator.events import NOTE_LIMIT_BYTES, EventRecorder
from voxfleet_operator.kube import Json, Kube


@pytest.fixture
async def recorder(operator_kube: Kube) -> AsyncIterator[EventRecorder]:
    made = EventRecorder(operator_kube, "test-1")
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()


@pytest.fixture
async def contract(kube: Kube, namespace: str) -> VoiceContract:
    spec = {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}}
    metadata = {"name": "calls", "namespace": namespace}
    return VoiceContract.load(
        await kube.create({"apiVersion": API_VERSION, "kind": "VoiceContract", "metadata": metadata, "spec": spec})
    )


def stored(control_plane: ControlPlane, namespace: str) -> list[Json]:
    items: list[Json] = json.loads(control_plane.kubectl("get", "events.events.k8s.io", "-n", namespace, "-o", "json"))[
        "items"
    ]
    return items


async def test_an_event_names_its_object_and_is_not_repeated(
    recorder: EventRecorder, contract: VoiceContract, installed_crds: ControlPlane
) -> None:
    for _ in range(3):
        recorder.publish(contract, Reason.ACCEPTED, "jobs may name it")
    recorder.publish(contract, Reason.INVALID_SPEC, "no")
    await recorder.drain()
    events = {event["reason"]: event for event in stored(installed_crds, contract.metadata.namespace)}
    assert len(stored(installed_crds, contract.metadata.namespace)) == 2
    assert (events["Accepted"]["type"], events["InvalidSpec"]["type"]) == ("Normal", "Warning")
    assert events["Accepted"]["regarding"]["uid"] == contract.metadata.uid
    assert "jobs may name it" in installed_crds.kubectl("describe", "vc", "calls", "-n", contract.metadata.namespace)


async def test_a_long_note_is_cut_to_what_the_api_server_takes(
    recorder: EventRecorder, contract: VoiceContract, installed_crds: ControlPlane
) -> None:
    recorder.publish(contract, EventReason.EXCLUDED, "é" * 5000)
    await recorder.drain()
    (event,) = stored(installed_crds, contract.metadata.namespace)
    assert len(event["note"].encode()) <= NOTE_LIMIT_BYTES
    assert event["note"].endswith("…")


async def test_an_event_that_cannot_be_written_stops_nothing(
    recorder: EventRecorder, contract: VoiceContract, installed_crds: ControlPlane
) -> None:
    recorder.publish(
        {"kind": "Lease", "name": "x", "namespace": "no-such-namespace"}, EventReason.LEASE_DELETED, "gone"
    )
    recorder.publish(contract, Reason.ACCEPTED, "after it")
    await recorder.drain()
    assert [event["reason"] for event in stored(installed_crds, contract.metadata.namespace)] == ["Accepted"]
