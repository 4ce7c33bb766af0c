"""What a job is billed: the exact sum of its attempts' rows, and whether any can still come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.decisions.job_objects import a_job, a_shard
from tests.unit.operator.decisions.memory_api import sha

from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptUsage, Stage
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_operator.metering.usage import NO_ROWS, job_usage, machine_time

usages = st.builds(
    AttemptUsage,
    chain_id=st.just("c"),
    first_sequence=st.just(0),
    last_sequence=st.just(2),
    rows=st.integers(1, 9),
    setup_milliseconds=st.integers(0, 10**9),
    work_milliseconds=st.integers(0, 10**9),
    cleanup_milliseconds=st.integers(0, 10**9),
    audio_milliseconds=st.integers(0, 10**9),
    complete=st.just(True),
)


@given(st.lists(st.lists(usages, min_size=1, max_size=3), max_size=5))
def test_usage_is_the_exact_sum(per_shard: list[list[AttemptUsage]]) -> None:
    job = a_job()
    shards = []
    for ordinal, found in enumerate(per_shard):
        last = len(found)
        attempts = [
            {
                "attempt": number,
                "mac": f"mac-{ordinal % 2}{number}",
                "outcome": "Succeeded" if number == last else "Lost",
                "usage": usage.dump(),
            }
            for number, usage in enumerate(found, 1)
        ]
        commit = {"attempt": last, "sha256": sha("x")}
        shards.append(
            AudioShard.load(
                {
                    "metadata": {"name": f"job-{ordinal:05d}"},
                    "spec": {
                        "jobRef": {"name": "job", "uid": "u"},
                        "stage": "Process",
                        "ordinal": ordinal,
                        "indexes": "0",
                    },
                    "status": {"attempts": attempts, "commit": commit},
                }
            )
        )
    usage = job_usage(shards, ended=True)
    everything = [item for found in per_shard for item in found]
    assert usage.settled and usage.rows == sum(item.rows for item in everything)
    machine = seconds_milliseconds(usage.machine_seconds)
    assert machine == sum(item.machine_milliseconds for item in everything)
    parts = [
        seconds_milliseconds(text) for text in (usage.productive_seconds, usage.retry_seconds, usage.overhead_seconds)
    ]
    assert sum(parts) == machine
    assert parts[0] == sum(found[-1].work_milliseconds for found in per_shard)
    assert not job_usage(shards, ended=False).settled
    by_mac = machine_time(shards)
    assert by_mac.open_attempts == 0
    assert [
        sum(mac.productive_milliseconds for mac in by_mac.macs),
        sum(mac.retry_milliseconds for mac in by_mac.macs),
        sum(mac.overhead_milliseconds for mac in by_mac.macs),
    ] == parts
    assert sum(mac.rows for mac in by_mac.macs) == usage.rows
    assert by_mac.audio_milliseconds == seconds_milliseconds(usage.audio_seconds)
    assert job.metadata.uid not in usage.machine_hours


@pytest.mark.parametrize(
    ("outcome", "usage", "settled"),
    [
        (AttemptOutcome.ASSIGNED, None, False),
        (AttemptOutcome.LOST, None, False),
        (AttemptOutcome.LOST, NO_ROWS.model_copy(update={"complete": False}), False),
        (AttemptOutcome.REFUSED, NO_ROWS, True),
    ],
)
def test_settled_means_that_no_row_can_come(outcome: AttemptOutcome, usage: AttemptUsage | None, settled: bool) -> None:
    attempt: dict[str, object] = {"attempt": 1, "mac": "mac-a", "outcome": outcome}
    if usage is not None:
        attempt["usage"] = usage.dump()
    shard = a_shard(a_job(), Stage.PROCESS, 0, attempt=1, attempts=[attempt])
    assert job_usage([shard], ended=True).settled is settled
