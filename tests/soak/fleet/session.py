"""One seeded run: a job on the fleet, through its faults, to its end and its deletion."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from tests.soak.findings import Findings
from tests.soak.fleet import facts
from tests.soak.fleet.faults import Fault, FleetSchedule
from tests.soak.fleet.invariants import judge
from tests.soak.fleet.job import SoakJob
from tests.soak.fleet.rig import FleetRig, NoAnswer, NotReady
from tests.soak.fleet.strikes import Seen, Strikes

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.ledger import LedgerError
from voxfleet_api.protocol import AttemptStatus
from voxfleet_dev.processes import ChildFailed, wait_ended

JOB_SECONDS = 240.0
DELETE_SECONDS = 120.0
TICK_SECONDS = 0.1
STATUS_SECONDS = 0.5
LANE_END_SECONDS = 30.0


class RunFailed(Exception):
    """The run did not come to its end."""


class FleetSession:
    def __init__(self, rig: FleetRig, schedule: FleetSchedule) -> None:
        self.takeovers = 0
        self.notes: list[str] = []
        """What is no finding."""
        self._rig = rig
        self._schedule = schedule
        self._strikes = Strikes(rig, schedule)
        self._job = SoakJob(rig, schedule, f"soak-{schedule.seed}")
        self._deleting = False
        self._seen: defaultdict[AttemptKey, set[str]] = defaultdict(set)
        self._read_at = 0.0

    @property
    def struck(self) -> list[Fault]:
        return self._strikes.struck

    def run(self) -> Findings:
        """Never raises for what the fleet did wrong: that is a finding."""
        before = [f"after the run before: {found}" for found in self._rig.new_tracebacks()]
        try:
            findings = self._run()
        except (RunFailed, NotReady, ChildFailed, LedgerError, OSError, ValueError, *NoAnswer) as error:
            findings = Findings(failures=[*self._strikes.troubles, f"{type(error).__name__}: {error}"])
        finally:
            self._strikes.end_all()
        self.notes += [f"an operator ended with {code}" for code in self._strikes.operator_exits]
        if survivors := wait_ended(self._strikes.orphans, LANE_END_SECONDS):
            findings.failures.append(f"{len(survivors)} lanes outlived their agent")
        findings.failures += [*before, *self._rig.new_tracebacks()]
        return findings

    def _run(self) -> Findings:
        self._rig.prepare(self._schedule.replicas)
        self._job.submit()
        self._until("the job ended and settled", self._has_settled, JOB_SECONDS)
        self.takeovers = self._job.takeovers
        ended = facts.of_ended_job(self._rig, self._job)
        self._deleting = True
        self._until("the API server took the deletion", self._job.delete, DELETE_SECONDS)
        self._until("the job was gone from everywhere", self._is_gone, DELETE_SECONDS)
        whole = replace(
            ended,
            seen=self._seen,
            freezes=self._strikes.freezes,
            late_seconds=self._strikes.late_seconds,
            left=facts.of_what_is_left(self._rig, self._job.namespace),
            residue_bytes=sum(mac.scratch_bytes() for mac in self._rig.macs),
            troubles=self._strikes.troubles,
        )
        return judge(whole)

    def _until(self, what: str, ready: Callable[[], bool], timeout_seconds: float) -> None:
        """Lets faults strike until `ready` and none goes on. Raises RunFailed."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._strikes.tick(self._look())
            with suppress(*NoAnswer):
                if ready() and not self._strikes.going_on:
                    return
            if time.monotonic() > deadline:
                raise RunFailed(f"{what}: not after {timeout_seconds:g} s\n{self._explain()}")
            time.sleep(TICK_SECONDS)

    def _look(self) -> Seen:
        attempts: dict[int, tuple[AttemptStatus, ...]] = {}
        for number, mac in enumerate(self._rig.macs):
            if self._strikes.quiet(number) or not mac.agent.running:
                continue
            with suppress(*NoAnswer):
                attempts[number] = mac.attempts().attempts
                for attempt in attempts[number]:
                    self._seen[AttemptKey(attempt.shard_uid, attempt.attempt)].add(mac.mac.name)
        return Seen(attempts, self._deleting, self._job.lost_a_mac)

    def _has_settled(self) -> bool:
        if time.monotonic() - self._read_at < STATUS_SECONDS:
            return False
        self._job.read()
        self._read_at = time.monotonic()
        return self._job.has_settled

    def _is_gone(self) -> bool:
        left = facts.of_what_is_left(self._rig, self._job.namespace)
        return not (left.jobs or left.shards or any(dict(left.attempts).values()))

    def _explain(self) -> str:
        with suppress(*NoAnswer):
            self._job.read()
        found = [f"struck: {'; '.join(map(str, self.struck))}", self._job.explain()]
        for mac in self._rig.macs:
            with suppress(*NoAnswer):
                found.append(f"{mac.mac.name} has {[one.dump() for one in mac.attempts().attempts]}")
        found += [f"operator {one.log}:\n{one.child.log_tail(25)}" for one in self._rig.operators if one.child.running]
        return "\n".join(found)
