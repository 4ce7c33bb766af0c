"""What is left to do about a shard's attempts that have ended; a shard that keeps failing is split here."""

from __future__ import annotations

from functools import partial

import structlog

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import AttemptRecord, AudioShardStatus
from voxfleet_operator.fleet.mac_view import MacView, Order, Outcome, attempt_view
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.job_life import JobWish, wish_of
from voxfleet_operator.reconcile.shard.coverage import Coverage
from voxfleet_operator.reconcile.shard.decide import Superseded, superseded
from voxfleet_operator.reconcile.shard.missing_rows import LOOK_SECONDS, awaits_rows, given_up, may_stand_for
from voxfleet_operator.reconcile.shard.new_shard import belongs
from voxfleet_operator.reconcile.shard.split import SplitLimits, closed, is_split_due, is_suspect, knows_pieces
from voxfleet_operator.reconcile.shard.status import with_usages
from voxfleet_operator.reconcile.status_writer import write_status

UNANSWERED_POLL_SECONDS = 30.0
"""Looks again although nothing has woken the shard; an answer does."""

log = structlog.get_logger(__name__)


class EndedAttempts:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def settle(self, job: AudioBatchJob, shard: AudioShard) -> float | None:
        """Records their machine time, deletes what their Macs still hold of them, and closes a shard that is split."""
        left = left_of_superseded(self._context, shard)
        missing = given_up(job, shard, self._is_removed, self._is_silent, self._context.now())
        status = with_usages(shard.status, (*missing, *left.usages))
        splits = self._is_split_due(job, shard)
        if splits:
            status = closed(shard.model_copy(update={"status": status}), self._context.timestamp())
        if await write_status(self._context, shard, status) is None:
            return 0.0
        if splits:
            self._log_split(job, shard, status)
        for view, key in left.deletes:
            delete_attempt(self._context, view, key)
        if left.deletes:
            return UNANSWERED_POLL_SECONDS
        return LOOK_SECONDS if awaits_rows(job, shard.model_copy(update={"status": status})) else None

    def _is_removed(self, record: AttemptRecord) -> bool:
        """Whether no MacAgent stands for its machine. Asks the cache: a new leader's fleet does not know all yet."""
        macs = self._context.cache.all(MacAgent)
        if not self._context.synced():
            return False
        return not any(may_stand_for(mac, record) for mac in macs)

    def _is_silent(self, record: AttemptRecord) -> bool:
        view = attempt_view(record, self._context.fleet.views())
        return view is None or not view.connected

    def split_limits(self, job: AudioBatchJob) -> SplitLimits:
        return SplitLimits(
            self._context.options.retry_limit,
            job_splits=len(Coverage.of(job_shards(self._context, job)).superseded),
            agents_can=knows_pieces(self._context.fleet.views().values()),
        )

    def _is_split_due(self, job: AudioBatchJob, shard: AudioShard) -> bool:
        if not is_suspect(shard) or wish_of(job, shard.spec.stage) is not JobWish.WORK:
            return False
        return is_split_due(shard, self.split_limits(job))

    def _log_split(self, job: AudioBatchJob, shard: AudioShard, status: AudioShardStatus) -> None:
        log.warning(
            "shard split",
            namespace=job.metadata.namespace,
            job=job.metadata.name,
            shard=shard.metadata.name,
            halves=status.superseded_by,
        )


def job_shards(context: Context, job: AudioBatchJob) -> list[AudioShard]:
    return [shard for shard in context.cache.owned_by(AudioShard, job.metadata.uid) if belongs(shard, job)]


def left_of_superseded(context: Context, shard: AudioShard) -> Superseded:
    return superseded(shard, context.fleet.views(), partial(is_being_deleted, context))


def is_being_deleted(context: Context, mac: MacView, key: AttemptKey) -> bool:
    answer = context.fleet.answer(mac, Order.DELETE, key)
    return answer is not None and answer.outcome is Outcome.DELETING


def delete_attempt(context: Context, mac: MacView, key: AttemptKey) -> Outcome | None:
    """States that the attempt is to go, and returns the newest answer."""
    context.leader.check()
    answer = context.fleet.delete(mac, key)
    return None if answer is None else answer.outcome
