"""One run: people, Macs, replicas of the operator, an API server and a network, on one virtual clock."""

from __future__ import annotations

import asyncio
import random as global_random
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from random import Random

from tests.rig.memory_archive import MemoryArchive
from tests.sim.agent_http import TOKEN
from tests.sim.api_server import ApiServer, key_of
from tests.sim.faults import FAULTS
from tests.sim.history import History
from tests.sim.invariants import CountedMonth, EndedJob, ExhaustedShard, Left
from tests.sim.machine import START, Machine, Site
from tests.sim.network import Network
from tests.sim.object_store import ObjectStore
from tests.sim.operator_process import CONTROL_PLANE, NAMESPACE, OperatorProcess
from tests.sim.scenario import PlannedFault, PlannedJob, Scenario
from tests.sim.seams import renew_at_ease
from tests.sim.tables import OF_A_MAC, mentions
from tests.unit.operator.decisions.bodies import contract, job_body, mac_agent

from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_billing.archive_format import TimeClass
from voxfleet_billing.archive_reader import newest_index, read_rows
from voxfleet_billing.archived_row import ArchivedRow
from voxfleet_operator.kube import Json
from voxfleet_operator.kube_errors import NotFound
from voxfleet_operator.queue import Key

COSTLY = frozenset({"Failed", "Lost", "Refused"})
"""Outcomes of attempts that cost their shard a retry."""
ENDS_WITHOUT_A_MAC = frozenset({"Finalizing"})
"""States of a job in which it ends even if no Mac is left."""
LATE_BEGIN_SECONDS, LATE_DIGIT = 20.0, 5
"""Every tenth seed runs agents that are late to begin."""
BUSY_DIGIT = 5
"""The seeds that end in it run busy agents."""
CALM_DOWN_SECONDS = 20.0
"""From calm until the last call has ended that began before it."""
CALM_SECONDS = 60.0
"""From the last fault until calm, if the fault does not last longer."""
LONGEST_WAIT_SECONDS = 240.0
"""For the moment that a fault waits for."""
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
        self.server = ApiServer(self.history, self.edges, self.wall)
        self.site = Site(
            self.random,
            Random(scenario.seed ^ 0xE7E),  # noqa: S311 # as above
            self.history,
            ObjectStore(),
            self.edges,
            beat_seconds=scenario.timing.silence_seconds / 2.5,
            lists_chains=scenario.seed % 2 == 0,
            busy_agents=scenario.seed % 10 == BUSY_DIGIT,
        )
        self.machines: dict[str, Machine] = {}
        self.archive = MemoryArchive()
        self.operators = [
            OperatorProcess(
                f"operator-{number}",
                self.server,
                self.machines,
                self.network,
                self.site,
                scenario.timing,
                self.archive,
            )
            for number in range(scenario.replicas)
        ]
        for operator in self.operators:
            operator.others = tuple(other for other in self.operators if other is not operator)
        self._restarting: set[str] = set()
        self._ended = False
        self._kept: set[asyncio.Task[None]] = set()
        self.trouble_until = 0.0

    def wall(self) -> datetime:
        return START + timedelta(seconds=self.loop.time()) + self.site.wall_offset

    # The life of the world

    def begin(self) -> None:
        self.server.create({"kind": "Namespace", "metadata": {"name": "kube-system", "uid": CONTROL_PLANE}})
        self.server.create({"kind": "Namespace", "metadata": {"name": "team", "labels": {"team": "speech"}}})
        self.server.create(
            {"kind": "Secret", "metadata": {"name": "fleet", "namespace": NAMESPACE}, "data": {"id": b"pem"}}
        )
        for number, lanes in enumerate(self.scenario.lanes):
            self.add_mac(f"mac-{number}", lanes)
        halts = {None, *(job.halt_percent for job in self.scenario.jobs)}
        for halt in sorted(halts, key=str):
            body = contract(quarantine={} if halt is None else {"haltFanOutPercent": halt})
            self.server.create({**body, "metadata": {"name": f"contract-{halt}", "namespace": "team"}})
        self.server.watchers.append(self._on_change)
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
        token = {
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "data": {"token": TOKEN.encode()},
        }
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
            await asyncio.sleep(self.scenario.garbage_seconds)
            self.server.collect_garbage()
            for operator in self.operators:
                if not operator.process.alive:
                    self._restart(operator.name, operator.start)
            for machine in self.machines.values():
                if not machine.process.alive and not machine.gone:
                    self._restart(machine.host, machine.start)

    def _restart(self, name: str, start: Callable[[], None]) -> None:
        if name in self._restarting:
            return
        self._restarting.add(name)

        def run() -> None:
            self._restarting.discard(name)
            if not self._ended:
                start()

        self.loop.call_later(self.random.uniform(*RESTART_SECONDS), run)

    async def bring_jobs(self) -> None:
        await asyncio.gather(*(self.bring_job(job) for job in self.scenario.jobs))

    async def bring_job(self, job: PlannedJob) -> None:
        await asyncio.sleep(job.arrives)
        body = job_body(job.name, parallelism=job.parallelism, contractRef={"name": f"contract-{job.halt_percent}"})
        created = self.server.create(body)
        self.site.work[created["metadata"]["uid"]] = job.work
        if job.deleted_after is not None:
            await asyncio.sleep(job.deleted_after)
            self.delete_job(job.name)

    async def bring_faults(self) -> None:
        await asyncio.gather(*(self._bring_fault(fault) for fault in self.scenario.faults))

    async def _bring_fault(self, fault: PlannedFault) -> None:
        if fault.after is not None:
            if not await self.server.moments.come(fault.after, LONGEST_WAIT_SECONDS):
                return
            self.edges[f"moment.{fault.after}"] += 1
        await asyncio.sleep(fault.at)
        self.edges[f"fault.{fault.kind}"] += 1
        self.history.note(f"fault {fault.kind}")
        FAULTS[fault.kind](self)
        self.trouble_lasts(CALM_SECONDS)

    def keep(self, work: Coroutine[None, None, None]) -> None:
        """Runs something beside all else, until the world ends."""
        task = self.loop.create_task(work)
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)

    def trouble_lasts(self, seconds: float) -> None:
        """Puts calm off."""
        self.trouble_until = max(self.trouble_until, self.loop.time() + seconds)

    def calm_down(self) -> None:
        """Ends all trouble but what cannot be undone."""
        self.history.note("calm")
        self.loop.call_later(CALM_DOWN_SECONDS, renew_at_ease)
        self.network.heal()
        self.archive.down = False
        self.site.jobs_at_fault = False
        for job in self.server.list("AudioBatchJob"):
            if job["spec"].get("suspend"):
                self.server.change_spec(key_of(job), {"suspend": False})
        for mac in self.server.list("MacAgent"):
            if mac["spec"].get("drain") or mac["spec"].get("availability"):
                self.server.change_spec(key_of(mac), {"drain": None, "availability": None})
        for operator in self.operators:
            operator.link.heal()
            operator.thaw()
            operator.clock.wall_offset = timedelta()
            if operator.watch is not None:
                operator.watch.lag_seconds = 0.0
        for machine in self.machines.values():
            machine.failure_rate = 0.0
            machine.disk_full, machine.runtime_compatible, machine.returns_work = False, True, False
            machine.write_as_usual()
            machine.wake()
            machine.wall_offset = timedelta()

    def remove_gone_macs(self) -> None:
        """A person takes Macs that never return out of the fleet."""
        for mac in self.server.list("MacAgent"):
            if self.machine_of(mac["metadata"]["name"]).gone:
                self.edges["people.mac removed"] += 1
                self.server.delete(Key("MacAgent", "", mac["metadata"]["name"]))

    def delete_jobs(self) -> None:
        for job in self.server.list("AudioBatchJob"):
            self.delete_job(job["metadata"]["name"])

    def delete_job(self, name: str) -> None:
        try:
            self.server.delete(Key("AudioBatchJob", "team", name))
        except NotFound:
            return

    async def end(self) -> None:
        """Ends all processes, and waits until none of their tasks is left."""
        self._ended = True
        for operator in self.operators:
            operator.crash()
        for machine in self.machines.values():
            machine.crash()
        self.history.close()
        for task in list(self._kept):
            task.cancel()
        for _ in range(100):
            await asyncio.sleep(0.01)
        for operator in self.operators:
            if operator.process.tasks:
                self.history.broken.append(f"{operator.name} has tasks that do not end: {list(operator.process.tasks)}")

    def _on_change(self, _: str, item: Json) -> None:
        """A status must not say that a Mac is empty while it works."""
        if item["kind"] != "MacAgent" or not item["spec"].get("drain"):
            return
        drained = any(
            condition["type"] == "Draining" and condition["status"] == "False"
            for condition in item.get("status", {}).get("conditions", ())
        )
        if drained:
            machine = self.machines[item["spec"]["ssh"]["host"]]
            self.edges["people.mac drained"] += 1
            if machine.disk.hardware_id in self.history.working():
                self.history.broken.append(f"{machine.host} works although its MacAgent says that it is drained")

    # What it looks like

    def unended(self) -> list[str]:
        """Jobs that have not ended though they should have."""
        return [
            f"{job['metadata']['name']} does not end: {state(job)}"
            for job in self.server.list("AudioBatchJob")
            if not has_ended(job["status"])
            and (self.usable_macs() or state(job) in ENDS_WITHOUT_A_MAC)
            and not self._waits_for_people(job)
        ]

    def _waits_for_people(self, job: Json) -> bool:
        """The job whose clips it is to run again was deleted, or waits for people itself."""
        source = job["spec"].get("source")
        if state(job) != "Pending" or source is None:
            return False
        rerun = self.server.objects.get(Key("AudioBatchJob", "team", source["jobRef"]["name"]))
        return rerun is None or self._waits_for_people(rerun)

    def unsettled(self) -> list[str]:
        """Jobs whose usage is not settled, though all rows can still be had."""
        return [
            f"{job['metadata']['name']} is not settled"
            for job in self.server.list("AudioBatchJob")
            if has_ended(job["status"]) and self.rows_reachable() and not job["status"]["usage"]["settled"]
        ]

    def usable_macs(self) -> list[str]:
        return [
            mac["metadata"]["name"]
            for mac in self.server.list("MacAgent")
            if not self.machine_of(mac["metadata"]["name"]).gone
        ]

    def rows_reachable(self) -> bool:
        """Whether each machine that ever signed a row can still deliver it."""
        chains = {
            self.machine_of(mac["metadata"]["name"]).disk.chain_id
            for mac in self.server.list("MacAgent")
            if not self.machine_of(mac["metadata"]["name"]).gone
        }
        lost = any(paid.signed.row.chain_id not in chains for paid in self.history.paid)
        return not lost and len(self.usable_macs()) == len(self.server.list("MacAgent"))

    def ended_jobs(self) -> list[EndedJob]:
        signed: Counter[str] = Counter()
        for paid in self.history.paid:
            signed[paid.signed.row.held_for.uid] += paid.signed.row.monotonic_milliseconds
        found = []
        for job in self.server.list("AudioBatchJob"):
            status, uid = job["status"], job["metadata"]["uid"]
            if not has_ended(status):
                continue
            clips = status["clips"]
            names = {"succeeded": "succeeded", "quarantined": "quarantined", "not_run": "notRun", "failed": "failed"}
            found.append(
                EndedJob(
                    name=job["metadata"]["name"],
                    complete=state(job) == "Finished",
                    total=clips["total"],
                    counts={ours: clips[theirs] for ours, theirs in names.items()},
                    rows=self.site.store.results.get(uid) if status.get("results") else None,
                    usage_milliseconds=seconds_milliseconds(status["usage"]["machineSeconds"]),
                    settled=status["usage"]["settled"],
                    signed_milliseconds=signed[uid],
                    reachable=self.rows_reachable(),
                )
            )
        return found

    def counted_months(self) -> list[CountedMonth]:
        statements: dict[tuple[str, str], list[Json]] = defaultdict(list)
        for item in self.server.list("MachineHourStatement"):
            statements[item["spec"]["mac"], item["spec"]["month"]].append(item["status"])
        found = []
        for (mac, month), parts in statements.items():
            cursors = {item["chainId"]: item["sequence"] for part in parts for item in part.get("cursors", ())}
            rows = [
                row.milliseconds
                for row in self.archived_rows(month, mac)
                if row.time_class != TimeClass.FOREIGN and row.sequence <= cursors.get(row.chain_id, -1)
            ]
            counted = sum(seconds_milliseconds(part.get("machineSeconds", "0.000")) for part in parts)
            estimated = sum(seconds_milliseconds(part.get("estimatedSeconds", "0.000")) for part in parts)
            known = newest_index(self.archive, month, mac)
            archived = 0 if known is None else known.index.estimated_milliseconds
            found.append(CountedMonth(f"{mac} in {month}", counted, sum(rows), estimated, archived))
            if estimated:
                self.edges["statement.estimated"] += 1
        return found

    def archived_rows(self, month: str, mac: str) -> list[ArchivedRow]:
        known = newest_index(self.archive, month, mac)
        return [] if known is None else list(read_rows(self.archive, known.index))

    def archived_hashes(self) -> list[str]:
        return [
            row.hash
            for month in self.archive.names("")
            for mac in self.archive.names(month)
            for row in self.archived_rows(month, mac)
        ]

    def exhausted(self) -> list[ExhaustedShard]:
        return [
            ExhaustedShard(
                shard["metadata"]["name"],
                shard["status"].get("folded", {}).get("retries", 0)
                + sum(record["outcome"] in COSTLY for record in shard["status"].get("attempts", ())),
            )
            for shard in self.server.list("AudioShard")
            if any(item["reason"] == "AttemptsExhausted" for item in shard["status"].get("conditions", ()))
        ]

    def left(self) -> Left:
        here = [machine for machine in self._named_machines() if not machine.gone]
        return Left(
            jobs=[job["metadata"]["name"] for job in self.server.list("AudioBatchJob")],
            shards=[shard["metadata"]["name"] for shard in self.server.list("AudioShard")],
            attempts={machine.host: [str(key) for key in machine.disk.attempts] for machine in here},
            lanes={machine.host: machine.lanes - machine.agent.free_lanes() for machine in here if machine.agent},
        )

    def remembered(self) -> dict[str, tuple[str, ...]]:
        """What the tables of operator and agents still say of jobs and shards."""
        named = self._named_machines()
        here = [machine for machine in named if not machine.gone]
        tables: dict[str, tuple[str, ...]] = {}
        for operator in self.operators:
            if operator.process.alive:
                tables |= mentions(operator.tables)
        if len(here) < len(named):
            tables = {table: entries for table, entries in tables.items() if not table.startswith(OF_A_MAC)}
        for machine in here:
            disk = machine.disk
            by_attempt = {"holds": [*disk.holds], "recorded": [*disk.recorded], "bases": [*disk.bases]}
            for name, keys in by_attempt.items():
                tables[f"{machine.host}.{name}"] = tuple(map(str, keys))
        return tables

    def _named_machines(self) -> list[Machine]:
        return [self.machine_of(mac["metadata"]["name"]) for mac in self.server.list("MacAgent")]

    async def until(self, holds: Callable[[], bool], seconds: float, step_seconds: float = 5.0) -> bool:
        end = self.loop.time() + seconds
        while not holds():
            if self.loop.time() >= end:
                return False
            await asyncio.sleep(step_seconds)
        return True


def has_ended(status: Json) -> bool:
    return any(
        item["type"] in ("Complete", "Failed") and item["status"] == "True" for item in status.get("conditions", ())
    )


def state(job: Json) -> str:
    return next((item["reason"] for item in job["status"].get("conditions", ()) if item["type"] == "Complete"), "-")
