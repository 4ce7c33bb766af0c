"""An endpoint on a real API server: its finalizer, its status, what `voxfleet why` says. The Macs are models."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.cluster.api.specs import CONTRACT, ENDPOINT, changed
from tests.unit.operator.decisions.bodies import mac_agent
from tests.unit.operator.decisions.endpoint_world import GIB, LaneFleet, LaneMac
from tests.unit.operator.decisions.memory_api import Clock
from tests.unit.operator.decisions.world import Journal, Leader
from typer.testing import CliRunner

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import ConditionType, find
from voxfleet_api.kinds import MacAgent, VoiceContract, VoiceEndpoint
from voxfleet_api.kinds.audio_batch_job import CLEANUP_FINALIZER
from voxfleet_cli.main import app
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_operator.cache import Cache
from voxfleet_operator.kube import Kube
from voxfleet_operator.queue import Key, WorkQueue
from voxfleet_operator.reconcile.context import Context, ReconcileOptions
from voxfleet_operator.registry import reconcilers, triggers


class Process:
    """An operator that has just read everything."""

    def __init__(self, kube: Kube, macs: Mapping[str, LaneMac], clock: Clock) -> None:
        self.kube, self.macs, self.clock = kube, macs, clock
        self.cache = Cache()
        self.fleet = LaneFleet(macs, clock)
        self.fleet.known = dict.fromkeys(macs, True)

    async def read(self, namespace: str) -> None:
        for kind in (VoiceEndpoint, VoiceContract):
            for item in (await self.kube.list(kind, namespace))[0]:
                self.cache.put(item)
        for name in self.macs:
            found = await self.kube.get(MacAgent, "", name)
            assert found is not None
            self.cache.put(found)
        self.cache.put_namespace(namespace, {})
        context = Context(
            api=self.kube,
            cache=self.cache,
            fleet=self.fleet,
            leader=Leader(self.clock.seconds),
            queue=WorkQueue(),
            triggers=triggers(),
            events=Journal(),
            options=ReconcileOptions("uid"),
            clock=self.clock.monotonic,
            now=lambda: datetime.now(UTC),
            synced=lambda: True,
        )
        self.reconciler = reconcilers(context)[VoiceEndpoint.crd.kind]
        self.key = Key(VoiceEndpoint.crd.kind, namespace, "case")

    async def live(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.seconds += 1.0
            for name, mac in self.macs.items():
                while (letter := self.fleet.orders[name].next(self.clock.seconds)) is not None:
                    self.fleet.orders[name].answered(letter, mac.call(letter))
            for _ in range(5):
                if await self.reconciler.reconcile(self.key) != 0.0:
                    break

    async def endpoint(self) -> VoiceEndpoint | None:
        return await self.kube.get(VoiceEndpoint, self.key.namespace, "case")


@pytest.fixture
def macs(installed_crds: ControlPlane, namespace: str) -> Any:
    clock = Clock()
    made = {name: LaneMac(name, clock, (4 * GIB,)) for name in (f"{namespace}-a", f"{namespace}-b")}
    for name in made:
        installed_crds.apply({"apiVersion": API_VERSION, **mac_agent(name)})
    yield made
    for name in made:
        installed_crds.kubectl("delete", "mac", name)


async def test_an_endpoint_lives_on_an_api_server(
    kube: Kube, installed_crds: ControlPlane, namespace: str, macs: dict[str, LaneMac]
) -> None:
    await kube.create(changed(CONTRACT, {"metadata": {"name": "contract", "namespace": namespace}}))
    lanes = {"spec.lanes": {"min": 2, "max": 2}}
    await kube.create(changed(ENDPOINT, {"metadata": {"name": "case", "namespace": namespace}, **lanes}))
    process = Process(kube, macs, Clock())
    for mac in macs.values():
        mac.clock = process.clock
    await process.read(namespace)
    await process.live(8)
    found = await process.endpoint()
    assert found is not None and CLEANUP_FINALIZER in found.metadata.finalizers
    available = find(found.status.conditions, ConditionType.AVAILABLE)
    assert available is not None and available.message == "2 of 2 wanted lanes are warm"
    assert [lane.mac for lane in found.status.macs] == sorted(macs)
    version = found.metadata.resource_version

    second = Process(kube, macs, process.clock)
    await second.read(namespace)
    await second.live(20)
    again = await second.endpoint()
    assert again is not None and again.metadata.resource_version == version, "another process has nothing to write"

    asked = ["why", "ve/case", "-n", namespace, "--kubeconfig", str(installed_crds.kubeconfig)]
    told = await asyncio.to_thread(CliRunner().invoke, app, asked)
    assert told.exit_code == 0 and "2 warm of 2 wanted" in told.output, told.output
    printed = installed_crds.kubectl("get", "ve", "case", "-n", namespace)
    assert printed.splitlines()[1].split()[:6] == ["case", "True", "LanesWarm", "2", "2", "0"]

    installed_crds.kubectl("delete", "ve", "case", "-n", namespace, "--wait=false")
    await second.read(namespace)
    await second.live(6)
    assert await second.endpoint() is None and not any(mac.lanes for mac in macs.values())
