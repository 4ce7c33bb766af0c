"""What a job is expected to take, and when a new expectation is worth a write."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.decisions.job_objects import LATER, NOW, PLAN, a_job, a_shard, failed
from tests.unit.operator.decisions.memory_api import sha

from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_shard import ShardPiece, Stage
from voxfleet_api.kinds.job_status import JobEstimate, JobPlan
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.estimate import ShardTime, job_estimate, meaningful, shard_share
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job.status import only_progress_moved
from voxfleet_operator.reconcile.lane_outlook import LaneOutlook, fits_window, seconds_until_done
from voxfleet_operator.reconcile.shard.new_shard import NewShard, shard_body

SHARDS = 10
JOB = a_job({**a_job().status.dump(), "plan": PLAN | {"boundaries": [*range(SHARDS + 1)], "audioSeconds": "10000.000"}})
"""Ten thousand seconds of audio in ten shards."""


def the_plan(job: AudioBatchJob = JOB) -> JobPlan:
    assert job.status.plan is not None
    return job.status.plan


def attempt(setup: int, work: int, number: int = 1, **fields: object) -> dict[str, Any]:
    usage = {"chainId": "c", "firstSequence": 0, "lastSequence": 2, "rows": 3, "complete": True}
    times = {"setupMilliseconds": setup * 1000, "workMilliseconds": work * 1000, "cleanupMilliseconds": 0}
    return {"attempt": number, "mac": "mac-a", "outcome": "Succeeded", "usage": usage | times, **fields}


def done(ordinal: int, *attempts: dict[str, Any]) -> AudioShard:
    commit = {"attempt": len(attempts), "sha256": sha(f"{ordinal}")}
    return a_shard(JOB, Stage.PROCESS, ordinal, attempt=len(attempts), commit=commit, attempts=list(attempts))


def live(ordinal: int, assigned_at: str = NOW) -> AudioShard:
    running = {"attempt": 1, "mac": "mac-a", "outcome": "Assigned"}
    return a_shard(JOB, Stage.PROCESS, ordinal, attempt=1, assignedAt=assigned_at, attempts=[running])


def outlook(lanes: int = 2, pace: float | None = 100_000, **fields: Any) -> LaneOutlook:
    """Lanes that work through a hundred seconds of audio in a second, unless said otherwise."""
    return LaneOutlook(lanes=lanes, audio_milliseconds_per_second=pace, **fields)


def estimated(*shards: AudioShard, parallelism: int = 100, now: str = NOW, **fields: Any) -> JobEstimate | None:
    return job_estimate(the_plan(), JobShards(shards), parallelism, outlook(**fields), now)


def seconds_left(estimate: JobEstimate | None, now: str = NOW) -> float:
    assert estimate is not None and estimate.finishes_at is not None
    return (datetime.fromisoformat(estimate.finishes_at) - datetime.fromisoformat(now)).total_seconds()


@pytest.mark.parametrize(
    ("shards", "fields", "machine_seconds", "left_seconds", "basis"),
    [
        pytest.param((), {}, 100, 50, "Ladder", id="by the ladder, on two lanes"),
        pytest.param((), {"pace": None}, None, None, None, id="nobody has measured it"),
        pytest.param((), {"lanes": 0}, 100, None, "Ladder", id="no Mac can serve it"),
        pytest.param((), {"lanes": 40}, 100, 10, "Ladder", id="no more lanes than shards"),
        pytest.param((), {"namespaces": 2}, 100, 100, "Ladder", id="another namespace has half of the lanes"),
        pytest.param((), {"ahead_seconds": 60.0}, 100, 80, "Ladder", id="jobs before it go first"),
        pytest.param((done(0, attempt(10, 50)),), {}, 600, 270, "Shards", id="its own shards know better"),
        pytest.param((done(0, attempt(10, 50)),), {"pace": None}, 600, 270, "Shards", id="and need no ladder"),
        pytest.param(
            (done(0, attempt(300, 50)), done(1, attempt(10, 50)), done(2, attempt(10, 50))),
            {},
            470 + 7 * 60,
            210,
            "Shards",
            id="a first shard that measured batch sizes is no example",
        ),
        pytest.param(
            (done(0, attempt(10, 20, outcome="Failed"), attempt(10, 50, number=2)),),
            {},
            90 + 9 * 90,
            405,
            "Shards",
            id="failed attempts are part of what a shard takes",
        ),
        pytest.param((failed(JOB, 0, "AttemptsExhausted"),), {}, 90, 45, "Ladder", id="a failed shard takes no more"),
        pytest.param(
            tuple(done(number, attempt(0, 5)) for number in range(SHARDS)), {}, None, None, None, id="nothing is left"
        ),
    ],
)
def test_what_a_job_takes(
    shards: tuple[AudioShard, ...],
    fields: dict[str, Any],
    machine_seconds: int | None,
    left_seconds: float | None,
    basis: str | None,
) -> None:
    found = estimated(*shards, **fields)
    assert (None if found is None else (found.machine_seconds, found.basis)) == (
        None if machine_seconds is None else (machine_seconds, basis)
    )
    if found is not None:
        assert (None if found.finishes_at is None else seconds_left(found)) == left_seconds


def test_parallelism_bounds_the_lanes() -> None:
    assert seconds_left(estimated(parallelism=1, lanes=10)) == 100


def test_while_shards_work_the_end_stays_where_it_was() -> None:
    begun = [done(0, attempt(0, 600)), live(1), live(2)]
    at_once, later = estimated(*begun), estimated(*begun, now="2026-11-20T22:05:00Z")
    assert at_once == later and at_once is not None and at_once.machine_seconds == 6000
    overdue = estimated(*begun, now=LATER)
    assert overdue is not None and seconds_left(overdue, LATER) == 7 * 600 / 2, "a slow shard does not move the others"


paces = st.floats(1.0, 1e6)
spans = st.floats(0.0, 1e9)


@given(left=spans, more=spans, lanes=st.integers(1, 1000), most=st.integers(1, 1000), ahead=spans)
def test_more_work_never_ends_earlier_and_time_is_never_negative(
    left: float, more: float, lanes: int, most: int, ahead: float
) -> None:
    found = [seconds_until_done(work, most, LaneOutlook(lanes, ahead_seconds=ahead)) for work in (left, left + more)]
    assert found[0] is not None and found[1] is not None
    assert 0 <= found[0] <= found[1]


@given(left=spans, lanes=st.integers(1, 500), namespaces=st.integers(1, 50), ahead=spans)
def test_twice_the_lanes_take_half_the_time(left: float, lanes: int, namespaces: int, ahead: float) -> None:
    one, two = (
        seconds_until_done(left, 10_000, LaneOutlook(count, namespaces=namespaces, ahead_seconds=ahead))
        for count in (lanes, 2 * lanes)
    )
    assert one is not None and two is not None
    assert two == pytest.approx(one / 2)


@given(audio=st.integers(1, 10**9), more=st.integers(0, 10**9), pace=paces, lanes=st.integers(0, 50))
def test_an_estimate_grows_with_the_audio(audio: int, more: int, pace: float, lanes: int) -> None:
    found = [
        job_estimate(
            the_plan().model_copy(update={"audio_seconds": f"{seconds}.000"}),
            JobShards(()),
            4,
            LaneOutlook(lanes, audio_milliseconds_per_second=pace * 1000 + 1e6),
            NOW,
        )
        for seconds in (audio, audio + more)
    ]
    assert found[0] is not None and found[1] is not None
    assert 0 < found[0].machine_seconds <= found[1].machine_seconds
    assert (found[0].finishes_at or "") <= (found[1].finishes_at or "")


TWENTY_SECONDS, HOUR = (20.0,) * 5, 3600.0


@pytest.mark.parametrize(
    ("running", "waiting", "most", "fields", "expected"),
    [
        pytest.param((), TWENTY_SECONDS, 4, {}, None, id="none closes"),
        pytest.param((), TWENTY_SECONDS, 1, {"closing_seconds": (60.0,)}, True, id="another lane stays open"),
        pytest.param((), TWENTY_SECONDS, 2, {"closing_seconds": (60.0, 40.0)}, True, id="five in all"),
        pytest.param((), TWENTY_SECONDS, 2, {"closing_seconds": (60.0, 39.0)}, False, id="one shard too many"),
        pytest.param((), TWENTY_SECONDS, 1, {"closing_seconds": (100.0, 40.0)}, True, id="one lane suffices"),
        pytest.param((), TWENTY_SECONDS, 1, {"closing_seconds": (99.0, 99.0)}, False, id="parallelism of one"),
        pytest.param((), (HOUR,) * 2, 2, {"closing_seconds": (1200.0, 6000.0)}, False, id="no time for a whole one"),
        pytest.param(
            (), (1200.0,) * 5, 2, {"closing_seconds": (HOUR, HOUR), "namespaces": 10}, False, id="ten namespaces"
        ),
        pytest.param((), (1200.0,) * 5, 2, {"closing_seconds": (HOUR, HOUR)}, True, id="and one alone"),
        pytest.param(
            (), (1200.0,) * 5, 2, {"closing_seconds": (HOUR, HOUR), "ahead_seconds": 2000.0}, False, id="others first"
        ),
        pytest.param((600.0,), (), 1, {"closing_seconds": (900.0, 10.0)}, True, id="the last one is nearly done"),
        pytest.param((950.0,), (), 1, {"closing_seconds": (900.0, 10.0)}, False, id="the last one takes too long"),
        pytest.param((600.0,), (HOUR,), 2, {"closing_seconds": (4200.0, 10.0)}, True, id="one after the other"),
        pytest.param((601.0,), (HOUR,), 2, {"closing_seconds": (4200.0, 10.0)}, False, id="no more after it"),
        pytest.param((), (450.0, 450.0), 2, {"closing_seconds": (500.0, 460.0)}, True, id="parts are short"),
    ],
)
def test_work_fits_into_what_is_left_until_its_lanes_close(
    running: tuple[float, ...], waiting: tuple[float, ...], most: int, fields: dict[str, Any], expected: bool | None
) -> None:
    assert fits_window(running, waiting, most, LaneOutlook(2, **fields)) is expected


# Shards that were split or tried again.

OF_EIGHT = a_job({**a_job().status.dump(), "plan": PLAN | {"boundaries": [*range(0, 81, 8)]}})
"""Ten shards of eight clips."""


def part(ordinal: int, path: str, *attempts: dict[str, Any]) -> AudioShard:
    piece = ShardPiece(path=path, inherits=("above",), after_attempt=1)
    body = shard_body(OF_EIGHT, NewShard(Stage.PROCESS, ordinal, piece))
    return AudioShard.load(body | {"status": done(ordinal, *attempts).status.dump() if attempts else {}})


def closed(ordinal: int, path: str = "", *attempts: dict[str, Any]) -> AudioShard:
    above = part(ordinal, path) if path else a_shard(OF_EIGHT, Stage.PROCESS, ordinal)
    status = {"attempt": 2, "supersededBy": ["a", "b"], "attempts": list(attempts)}
    return AudioShard.load({**above.dump(), "status": status})


def placed_seconds(shard: AudioShard, *others: AudioShard) -> float | None:
    plan = the_plan(OF_EIGHT)
    found = ShardTime.of(plan, others)
    return None if found is None else found.seconds(shard_share(plan, shard))


WAITING = a_shard(OF_EIGHT, Stage.PROCESS, 9)
RETRIED = done(1, attempt(0, 4200, outcome="Failed"), attempt(0, 3600, number=2))


@pytest.mark.parametrize(
    ("shard", "others", "seconds"),
    [
        pytest.param(WAITING, (), None, id="nothing is known"),
        pytest.param(WAITING, (live(0),), None, id="nothing has ended"),
        pytest.param(WAITING, (RETRIED,), 3600, id="a failed attempt does not hold the next one's Mac"),
        pytest.param(
            WAITING, (done(0, attempt(0, 600)), done(1, attempt(0, 600)), RETRIED), 600, id="one slow shard is no rule"
        ),
        pytest.param(WAITING, (done(0, attempt(30, 571)),), 660, id="whole minutes, rounded up"),
        pytest.param(part(0, "1"), (done(1, attempt(60, 1200)),), 660, id="a half takes half, and all of the setup"),
        pytest.param(part(0, "111"), (done(1, attempt(60, 4800)),), 660, id="a part of one clip of eight"),
        pytest.param(WAITING, (part(0, "0", attempt(60, 1200)),), 2460, id="only a half has ended"),
        pytest.param(
            WAITING,
            (part(0, "0", attempt(0, 6000)), part(0, "10", attempt(0, 6000)), done(1, attempt(0, 600))),
            600,
            id="a whole one tells more than parts",
        ),
        pytest.param(
            WAITING, (done(0, {"attempt": 1, "mac": "mac-a", "outcome": "Succeeded"}),), None, id="no row is verified"
        ),
    ],
)
def test_how_long_a_shard_holds_its_mac(
    shard: AudioShard, others: tuple[AudioShard, ...], seconds: float | None
) -> None:
    assert placed_seconds(shard, *others) == seconds


def test_a_part_counts_by_its_clips() -> None:
    plan = the_plan(OF_EIGHT)
    whole = [done(number, attempt(0, 800)) for number in range(1, 10)]
    parts = (closed(0), part(0, "0", attempt(0, 400)), closed(0, "1"), part(0, "10"), part(0, "11"))
    found = job_estimate(plan, JobShards((*whole, *parts)), 100, outlook(), NOW)
    assert found is not None and found.machine_seconds == 9 * 800 + 400 + 400, "half of one is left"
    assert seconds_left(found) == 200
    missing = job_estimate(plan, JobShards((*whole, closed(0), part(0, "0"))), 100, outlook(), NOW)
    assert missing is not None and missing.machine_seconds == 10 * 800, "the other half is still to be made"
    three_clips = plan.model_copy(update={"boundaries": (0, 3)})
    assert [shard_share(three_clips, part(0, path)) for path in "01"] == [2 / 3, 1 / 3]


# When it is written.


def test_small_change_is_no_news() -> None:
    old = JobEstimate(machine_seconds=1000, finishes_at="2026-11-20T23:00:00Z", basis="Ladder")
    same = old.model_copy(update={"machine_seconds": 1090, "finishes_at": "2026-11-20T23:05:00Z"})
    assert meaningful(old, same, NOW) is old
    for news in (
        {"machine_seconds": 1101},
        {"machine_seconds": 899},
        {"finishes_at": "2026-11-20T23:08:00Z"},
        {"finishes_at": "2026-11-20T22:53:00Z"},
        {"finishes_at": None},
        {"basis": "Shards"},
        {"fits_window": False},
    ):
        new = old.model_copy(update=news)
        assert meaningful(old, new, NOW) is new
    assert meaningful(None, old, NOW) is old


def test_near_the_end_a_minute_is_no_news() -> None:
    old = JobEstimate(machine_seconds=1000, finishes_at="2026-11-20T22:00:30Z", basis="Shards")
    new = old.model_copy(update={"finishes_at": "2026-11-20T22:01:29Z"})
    assert meaningful(old, new, NOW) is old


def test_what_was_known_stays_while_no_mac_is_there() -> None:
    old = JobEstimate(machine_seconds=1000, finishes_at="2026-11-20T23:00:00Z", basis="Ladder")
    kept = meaningful(old, None, NOW)
    assert kept == old.model_copy(update={"finishes_at": None})
    assert meaningful(kept, None, NOW) == kept


def decided(job: AudioBatchJob, *shards: AudioShard, found: LaneOutlook | None = None) -> JobEstimate | None:
    return plan_job(JobSnapshot(job, JobShards.of(job, shards), None, outlook=found), NOW).status.estimate


def test_a_job_has_an_estimate_from_its_plan_to_its_last_shard() -> None:
    unplanned = a_job({key: value for key, value in JOB.status.dump().items() if key != "plan"})
    planning = a_shard(unplanned, Stage.PLAN)
    assert decided(unplanned, planning, found=outlook()) is None
    result = {key: value for key, value in the_plan().dump().items() if key != "attempt"}
    planned = a_shard(unplanned, Stage.PLAN, attempt=1, commit={"attempt": 1, "sha256": sha("p")}, plan=result)
    assert decided(unplanned, planned, found=outlook()) == estimated(parallelism=4)
    running = [live(number) for number in range(SHARDS)]
    assert decided(JOB, *running, found=outlook()) == estimated(*running, parallelism=4)

    known = JOB.model_copy(update={"status": JOB.status.model_copy(update={"estimate": estimated()})})
    assert decided(known, *running) == estimated(), "without a new look it stays"
    assert decided(known, *running, found=outlook(lanes=3, pace=101_000)) == estimated(), "small change is not written"
    ended = [done(number, attempt(0, 5)) for number in range(SHARDS)]
    assert decided(known, *ended, found=outlook()) is None
    cancelled = known.model_copy(update={"spec": known.spec.model_copy(update={"cancel": True})})
    assert decided(cancelled, *running, found=outlook()) is None


def test_a_suspended_job_ends_at_no_time() -> None:
    suspended = JOB.model_copy(update={"spec": JOB.spec.model_copy(update={"suspend": True})})
    found = decided(suspended, a_shard(JOB, Stage.PROCESS, 0), found=outlook())
    assert found is not None and (found.machine_seconds, found.finishes_at) == (100, None)


def test_a_new_estimate_waits_for_the_next_progress() -> None:
    running = [live(number) for number in range(SHARDS)]
    old = plan_job(JobSnapshot(JOB, JobShards.of(JOB, running), None), NOW).status
    job = JOB.model_copy(update={"status": old})
    new = plan_job(JobSnapshot(job, JobShards.of(job, running), None, outlook=outlook()), NOW).status
    assert old.estimate is None and new.estimate is not None and only_progress_moved(old, new)
