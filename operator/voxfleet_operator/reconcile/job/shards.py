"""The shards of one job, and how far they are as a whole. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from voxfleet_api.clip_limits import beyond_halt
from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_operator.reconcile.job_life import halted_condition
from voxfleet_operator.reconcile.shard.coverage import Coverage
from voxfleet_operator.reconcile.shard.facts import ShardFacts
from voxfleet_operator.reconcile.shard.status import failed_condition


@dataclass(frozen=True)
class JobShards:
    """All shards of a job, by stage."""

    all: tuple[AudioShard, ...]
    halt_percent: int | None = None
    """The contract's quarantine.haltFanOutPercent."""
    was_halted: bool = False
    """Whether the job's status says so, which it never takes back."""
    given_facts: tuple[ShardFacts, ...] = field(default=(), compare=False)

    @classmethod
    def of(
        cls,
        job: AudioBatchJob,
        shards: Iterable[AudioShard],
        facts_of: Callable[[AudioShard], ShardFacts] = ShardFacts.of,
    ) -> JobShards:
        """`facts_of`: who remembers them, of the versions that are known."""
        contract, made_for = job.status.contract, (job.metadata.uid, job.metadata.name)
        facts = tuple([found for found in map(facts_of, shards) if found.job == made_for])
        return cls(
            tuple([found.shard for found in facts]),
            None if contract is None else contract.spec.quarantine.halt_fan_out_percent,
            halted_condition(job) is not None,
            facts,
        )

    @cached_property
    def facts(self) -> tuple[ShardFacts, ...]:
        return self.given_facts if self.given_facts or not self.all else tuple(map(ShardFacts.of, self.all))

    @cached_property
    def plan(self) -> AudioShard | None:
        return next((found.shard for found in self.facts if found.stage is Stage.PLAN), None)

    @cached_property
    def coverage(self) -> Coverage:
        return Coverage.of_facts(self.facts)

    @property
    def process(self) -> tuple[AudioShard, ...]:
        """The Process shards that cover the clips, in the order of their clips; those that were split are left out."""
        return self.coverage.process

    @cached_property
    def finalize(self) -> AudioShard | None:
        return next((found.shard for found in self.facts if found.stage is Stage.FINALIZE), None)

    @cached_property
    def halted(self) -> bool:
        """Whether Process shards get no new attempts: the job or its clips are at fault, or Finalize has begun."""
        return self.was_halted or self.finalize is not None or self.halt_cause is not None

    @cached_property
    def halt_cause(self) -> tuple[str, str] | None:
        """Why the shards themselves halt the job, as reason and message."""
        for shard in (found.shard for found in self.coverage.covering if found.concerns_job):
            failed = failed_condition(shard)
            if failed is not None:
                return failed.reason, f"shard {shard.metadata.name} failed: {failed.message}"
        beyond = self.quarantined_beyond_halt
        if beyond is None:
            return None
        return (
            Reason.QUARANTINE_LIMIT_EXCEEDED,
            f"{beyond[0]} of the first {beyond[1]} clips were quarantined, beyond the contract's haltFanOutPercent of"
            f" {self.halt_percent}",
        )

    @cached_property
    def quarantined_beyond_halt(self) -> tuple[int, int] | None:
        """Counts of (quarantined, finished) clips in committed shards, once they exceed `halt_percent`."""
        if self.halt_percent is None:
            return None
        counts = (found.shard.status.clips for found in self.coverage.covering if found.is_committed)
        return beyond_halt((clips for clips in counts if clips is not None), self.halt_percent)

    def processed(self, total: int) -> bool:
        """Whether no Process shard has an attempt now or will get one."""
        if not self.halted and self.coverage.missing(total):
            return False
        return all(
            found.is_committed or found.is_failed or (self.halted and not found.is_live)
            for found in self.coverage.covering
        )
