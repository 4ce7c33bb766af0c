"""How long a Process shard will hold a Mac, from what its job's finished shards took. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_batch_job import JobPlan


def expected_process_seconds(plan: JobPlan | None, shards: Iterable[AudioShard]) -> float | None:
    """None: unknown, as no shard of the job has finished yet. `shards`: the job's Process shards.

    Plan divides the audio into shards of about the same length. Loading counts, so that few finished shards tell too
    much rather than too little.
    """
    if plan is None or len(plan.boundaries) < 2:
        return None
    audio = machine = 0
    for shard in shards:
        commit = shard.status.commit
        for record in shard.status.attempts:
            if commit is not None and commit.attempt == record.attempt and record.usage is not None:
                audio += record.usage.audio_milliseconds
                machine += record.usage.machine_milliseconds
    if audio == 0:
        return None
    shard_audio_seconds = float(plan.audio_seconds) / (len(plan.boundaries) - 1)
    return shard_audio_seconds * machine / audio
