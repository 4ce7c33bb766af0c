"""What an assigned attempt's Mac is sent with the spec: credentials, what it may read and write, a ladder."""

from __future__ import annotations

from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import AttemptRequest, S3Credentials
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.known_ladders import handed_ladder
from voxfleet_operator.reconcile.namespace_access import access_lost, opened
from voxfleet_operator.reconcile.shard.attempt_spec import attempt_request, attempt_spec
from voxfleet_operator.reconcile.shard.ended_attempts import job_shards
from voxfleet_operator.reconcile.shard.mutations import batch_halvings


class Envelope:
    """Of one attempt, with what the cache and the Macs show when it is asked for."""

    def __init__(self, context: Context, job: AudioBatchJob, shard: AudioShard, attempt: int, view: MacView) -> None:
        self._context = context
        self._job = job
        self._shard = shard
        self._attempt = attempt
        self._view = view

    def request(self, credentials: S3Credentials | None) -> AttemptRequest:
        """Raises SpecNotReady."""
        spec = attempt_spec(self._job, self._shard, self._attempt, self._merged())
        return attempt_request(
            spec,
            self._shard.status.lease_seconds or 1,
            credentials,
            self.open_prefixes(),
            handed_ladder(spec, self._view, self._context.fleet.views()),
            batch_halvings=batch_halvings(self._shard, self._split_from()),
            machine_time=self._shard.spec.machine_time,
        )

    def access_lost(self) -> str | None:
        """Why the Mac may not run the job any more; None if it may."""
        return access_lost(self._job, self.open_prefixes(), self._view.machine)

    def open_prefixes(self) -> tuple[str, ...]:
        """What the Mac opens to the job."""
        mac = self._context.cache.get(MacAgent, "", self._view.name)
        labels = self._context.cache.namespace_labels(self._job.metadata.namespace)
        return () if mac is None else opened(mac.spec.access, labels, self._job.spec.billing_key).prefixes

    def _merged(self) -> list[AudioShard]:
        """The shards of the job for the one that merges them; the others need not know of each other."""
        return job_shards(self._context, self._job) if self._shard.spec.stage is Stage.FINALIZE else []

    def _split_from(self) -> list[AudioShard]:
        """The shards that this one was split from."""
        piece, cache = self._shard.spec.piece, self._context.cache
        above = () if piece is None else piece.inherits
        return [shard for uid in above if (shard := cache.by_uid(AudioShard, uid)) is not None]
