"""A job's machine time as it is known now. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.job_status import JobUsage
from voxfleet_api.machine_time import MachineTime, MacTime
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_operator.metering.usage import machine_time


def time_of_now(
    job: AudioBatchJob, shards: Sequence[AudioShard], known: Sequence[MacTime], archived: Sequence[MacTime]
) -> MachineTime:
    """While shards are there, they tell by Mac. Once it is settled they are gone, and status.usage has the sums.

    `known`: as the job's results have it. `archived`: as signed rows have it, if they were read. They tell by Mac only
    where they come to the same as status.usage.
    """
    usage = job.status.usage
    if not usage.settled and shards:
        return machine_time(shards)
    macs = next((macs for macs in (known, archived) if macs and _comes_to(macs, usage)), (_whole(usage),))
    return MachineTime(
        macs=tuple(macs),
        audio_milliseconds=seconds_milliseconds(usage.audio_seconds),
        open_attempts=0 if usage.settled else 1,
        unverified_attempts=usage.unverified_attempts,
    )


def _comes_to(macs: Sequence[MacTime], usage: JobUsage) -> bool:
    whole = _whole(usage)
    sums = (
        sum(mac.productive_milliseconds for mac in macs),
        sum(mac.retry_milliseconds for mac in macs),
        sum(mac.overhead_milliseconds for mac in macs),
        sum(mac.rows for mac in macs),
    )
    return sums == (
        whole.productive_milliseconds,
        whole.retry_milliseconds,
        whole.overhead_milliseconds,
        whole.rows,
    )


def _whole(usage: JobUsage) -> MacTime:
    return MacTime(
        productive_milliseconds=seconds_milliseconds(usage.productive_seconds),
        retry_milliseconds=seconds_milliseconds(usage.retry_seconds),
        overhead_milliseconds=seconds_milliseconds(usage.overhead_seconds),
        rows=usage.rows,
    )
