"""One attempt in memory: its journal record, its lease and, while it runs, its task and lane meter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from voxfleet_agent.attempts.lane_meter import LaneMeter
from voxfleet_agent.attempts.leases import Lease
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.lanes.lane_types import LaneHandle
from voxfleet_agent.logs import Logger, logger
from voxfleet_agent.storage import Storage
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.machine_time import MachineTime
from voxfleet_api.protocol import S3Credentials, ShardProgress


@dataclass(slots=True)
class LiveAttempt:
    """One attempt of this agent. `lock` guards every change of state, and stopping the task."""

    record: JournaledAttempt
    lease_seconds: int = 0
    renewed_at_seconds: float = 0.0
    credentials: S3Credentials | None = None
    uri_prefixes: Sequence[str] | None = None
    """What is open to the job's namespace, as of the newest PUT."""
    batch_halvings: int = 0
    """How often its batch size is halved, as of the newest PUT."""
    machine_time: MachineTime | None = None
    """For Finalize: what the job has used, as of the newest PUT."""
    storage: Storage | None = None
    """What the running stage reads and writes; None while none runs."""
    lane: LaneHandle | None = None
    """The lane of the latest run."""
    task: asyncio.Task[None] | None = None
    release: Callable[[], None] | None = None
    """Frees the slot, or withdraws the claim to one; None once that is done."""
    stopping: bool = False
    meter: LaneMeter | None = None
    progressed: int = 0
    """The agent-wide progress count at this attempt's latest progress."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def key(self) -> AttemptKey:
        return self.record.key

    @property
    def lease(self) -> Lease:
        return Lease(self.key, self.record.state, self.lease_seconds, self.renewed_at_seconds)

    def set_credentials(self, credentials: S3Credentials | None) -> None:
        """A running stage goes on with new ones."""
        self.credentials = credentials
        if self.storage is not None and credentials is not None:
            self.storage.renew_credentials(credentials)

    def set_uri_prefixes(self, prefixes: Sequence[str] | None) -> None:
        """A running stage goes on within the new ones."""
        self.uri_prefixes = prefixes
        if self.storage is not None:
            self.storage.renew_namespace(prefixes)

    def set_progress(self, done: int, total: int) -> None:
        self.record = replace(self.record, progress=ShardProgress(done=done, total=total))

    def log(self) -> Logger:
        spec = self.record.spec
        return logger("voxfleet.attempts").bind(
            namespace=spec.namespace,
            job=spec.job.name,
            shard=spec.shard_name,
            attempt=spec.attempt,
            stage=spec.stage.value,
        )
