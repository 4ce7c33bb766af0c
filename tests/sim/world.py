"""One run: people, Macs, replicas of the operator, an API server and a network, on one virtual clock."""

from __future__ import annotations

import asyncio
import random as global_random
from collections import Counter
from random import Random

from tests.sim.agent_http import TOKEN
from tests.sim.api_server import ApiServer
from tests.sim.faults import FAULTS
from tests.sim.history import History
from tests.sim.machine import START, Machine, Site
from tests.sim.network import Network
from tests.sim.object_store import ObjectStore
from tests.sim.operator_process import CONTROL_PLANE, NAMESPACE, OperatorProcess
from tests.sim.scenario import PlannedJob, Scenario
from tests.unit.operator.decisions.bodies import contract, job_body, mac_agent

from voxfleet_operator import kube, watch
from voxfleet_operator.kube import Json, NotFound
from voxfleet_operator.queue import Key

GARBAGE_SECONDS = 5.0
RESTART_SECONDS = (1.0, 15.0)
"""How long until whatever watches over processes starts a dead one again."""


class World:
    def __init__(self, scenario: Scenario, *, traced: bool = False) -> None:
        self.scenario = scenario
        self.random = Random(scenario.seed ^ 0x5EED)  # noqa: S311 # a run that can be repeated, no secret
        global_random.seed(scenario.seed)  # the backoffs of the operator's sessions
        self.loop = asyncio.get_running_loop()
        self.edges: Counter[str] = Counter()
        self.history = History(self.loop.time, trace=[] if traced else None)
        self.network = Network(self.random, self.edges)
        self.server = ApiServer(
            self.history, self.edges, lambda: START.fromtimestamp(START.timestamp() + self.loop.time(), START.tzinfo)
        )
        # Both modules parse what the server sends; the models are frozen, so they may share them.
        kube.parse = watch.parse = self.server.parsed.parse
        self.site = Site(self.random, self.history, ObjectStore(), self.edges)
        self.machines: dict[str, Machine] = {}
        self.operators = [
            OperatorProcess(
                f"operator-{number}", self.server, self.machines, self.network, self.random, self.history, self.edges
            )
            for number in range(scenario.replicas)
        ]
        self._restarting: set[str] = set()
        self.calm = False

    # The life of the world

    def begin(self) -> None:
        self.server.create({"kind": "Namespace", "metadata": {"name": "kube-system", "uid": CONTROL_PLANE}})
        self.server.create({"kind": "Namespace", "metadata": {"name": "team", "labels": {"team": "speech"}}})
        self.server.create(
            {"kind": "Secret", "metadata": {"name": "fleet", "namespace": NAMESPACE}, "data": {"id": b"pem"}}
        )
        for number, lanes in enumerate(self.scenario.lanes):
            self.add_mac(f"mac-{number}", lanes)
        halts = {job.halt_percent for job in self.scenario.jobs}
        for halt in sorted(halts, key=str):
            body = contract(quarantine={} if halt is None else {"haltFanOutPercent": halt})
            self.server.create({**body, "metadata": {"name": f"contract-{halt}", "namespace": "team"}})
        for operator in self.operators:
            operator.start()

    def add_mac(self, name: str, lanes: int) -> None:
        machine = self.add_machine(f"{name}-host-0", lanes)
        body = mac_agent(name)
        spec = {
            **body["spec"],
            "ssh": {**body["spec"]["ssh"], "host": machine.host},
            "ledgerPublicKey": machine.disk.public_key,
            "disconnect": {"lostAfter": f"{self.scenario.lease_seconds}s"},
        }
        token = {"kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "data": {"token": TOKEN.encode()}}
        self.server.create(token)
        self.server.create({**body, "spec": spec})

    def add_machine(self, host: str, lanes: int) -> Machine:
        machine = self.machines[host] = Machine(host, lanes, self.site)
        machine.failure_rate = self.scenario.stage_failure_rate
        machine.start()
        return machine

    def machine_of(self, mac: str) -> Machine:
        """The machine that the MacAgent names now."""
        return self.machines[self.server.get(Key("MacAgent", "", mac))["spec"]["ssh"]["host"]]

    async def watch_over_processes(self) -> None:
        """Starts again what has died, after a while, and collects garbage."""
        while True:
            await asyncio.sleep(GARBAGE_SECONDS)
            self.server.collect_garbage()
            for operator in self.operators:
                if not operator.process.alive:
                    self._restart(operator.name, operator.start)
            for machine in self.machines.values():
                if not machine.process.alive and not machine.gone:
                    self._restart(machine.host, machine.start)

    def _restart(self, name: str, start: object) -> None:
        if name in self._restarting:
            return
        self._restarting.add(name)

        def run() -> None:
            self._restarting.discard(name)
            assert callable(start)
            start()

        self.loop.call_later(self.random.uniform(*RESTART_SECONDS), run)

    async def bring_jobs(self) -> None:
        await asyncio.gather(*(self._bring(job) for job in self.scenario.jobs))

    async def _bring(self, job: PlannedJob) -> None:
        await asyncio.sleep(job.arrives)
        body = job_body(
            job.name, parallelism=job.parallelism, contractRef={"name": f"contract-{job.halt_percent}"}
        )
        created = self.server.create(body)
        self.site.work[created["metadata"]["uid"]] = job.work
        if job.deleted_after is not None:
            await asyncio.sleep(job.deleted_after)
            self.delete_job(job.name)

    async def bring_faults(self) -> None:
        for fault in self.scenario.faults:
            await asyncio.sleep(max(0.0, fault.at - self.loop.time()))
            self.edges[f"fault.{fault.kind}"] += 1
            self.history.note(f"fault {fault.kind}")
            FAULTS[fault.kind](self)

    def calm_down(self) -> None:
        """Ends all trouble but what cannot be undone."""
        self.calm = True
        self.history.note("calm")
        self.network.heal()
        for operator in self.operators:
            operator.link.heal()
            operator.thaw()
            if operator.watch is not None:
                operator.watch.lag_seconds = 0.0
        for machine in self.machines.values():
            machine.failure_rate = 0.0
            machine.disk_full, machine.runtime_compatible = False, True
            machine.wake()

    def delete_job(self, name: str) -> None:
        try:
            self.server.delete(Key("AudioBatchJob", "team", name))
        except NotFound:
            return

    # What it looks like

    def all_ended(self) -> bool:
        return all(has_ended(job["status"]) for job in self.server.list("AudioBatchJob"))

    def all_settled(self) -> bool:
        return all(job["status"]["usage"]["settled"] for job in self.server.list("AudioBatchJob"))

    def all_gone(self) -> bool:
        left = any(machine.disk.attempts for machine in self.machines.values() if not machine.gone)
        return not self.server.list("AudioBatchJob") and not self.server.list("AudioShard") and not left

    async def until(self, holds: object, seconds: float) -> bool:
        assert callable(holds)
        end = self.loop.time() + seconds
        while not holds():
            if self.loop.time() >= end:
                return False
            await asyncio.sleep(5)
        return True


def has_ended(status: Json) -> bool:
    return any(
        item["type"] in ("Complete", "Failed") and item["status"] == "True" for item in status.get("conditions", ())
    )
