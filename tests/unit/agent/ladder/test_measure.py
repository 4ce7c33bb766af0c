"""Measuring a ladder on a lane whose times are known."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.unit.agent.ladder.paper_lane import CLIP_BYTES, MIB, MODEL, PaperLane, fetching, make_clips, make_spec

from voxfleet_agent.ladder.measure import MeasuredLadder, measure_ladder, plan_batches
from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_shared.percentile import percentile

ENDLESS = 10**12


async def measured(
    lane: PaperLane, folder: Path, sizes: range = range(1, 9), cap_bytes: int = ENDLESS
) -> MeasuredLadder:
    return await measure_ladder(lane, MODEL, make_spec(), fetching(make_clips(folder)), sizes, cap_bytes)


def sizes_of(ladder: MeasuredLadder) -> list[int]:
    return [tier.batch_size for tier in ladder.tiers]


async def test_each_tier_is_measured_in_a_fresh_child_above_the_one_below(tmp_path: Path) -> None:
    lane = PaperLane()
    result = await measured(lane, tmp_path)
    assert sizes_of(result) == list(range(1, 9))
    assert lane.children == 8
    assert [len(batch) for batch in lane.ran] == sorted(len(batch) for batch in lane.ran)
    assert (lane.loaded, lane.batch_size) == (False, 4)


async def test_the_model_is_loaded_once_for_the_smallest_tier_before_clips_are_fetched(tmp_path: Path) -> None:
    lane, children = PaperLane(), []

    async def fetch() -> list[ClipTask]:
        children.append(lane.children)
        return make_clips(tmp_path)

    await lane.load(MODEL, make_spec())
    lane.ran.append([])  # what it has done before must not count for the first tier
    await measure_ladder(lane, MODEL, make_spec(), fetch, range(1, 3), ENDLESS)
    assert (children, lane.children) == ([2], 3), "one load before, then one a tier"


async def test_a_tier_sums_up_its_batches(tmp_path: Path) -> None:
    lane = PaperLane(fixed_milliseconds=100, each_milliseconds=20)
    tier = (await measured(lane, tmp_path, range(3, 4))).tiers[0]
    counted = lane.ran[1:]  # the first batch warms the child up
    clips = [clip for batch in counted for clip in batch]
    assert tier.infer_milliseconds == 160 * len(counted)
    assert (tier.clip_p50_milliseconds, tier.clip_p95_milliseconds) == (160, 160)
    assert tier.audio_milliseconds == sum(clip.audio_milliseconds for clip in clips)
    assert tier.scratch_bytes == CLIP_BYTES * len(clips)
    assert tier.peak_rss_bytes == 130 * MIB
    assert tier.metal_peak_bytes is None


async def test_a_moment_of_other_work_on_the_mac_does_not_decide_between_tiers(tmp_path: Path) -> None:
    quiet = (await measured(PaperLane(), tmp_path, range(4, 5))).tiers[0]
    stalls = iter([0, 5000, 0, 5000, 0, 0, 0])
    noisy = (await measured(PaperLane(disturb=lambda took: took + next(stalls)), tmp_path, range(4, 5))).tiers[0]
    assert noisy.audio_seconds_per_second == quiet.audio_seconds_per_second
    assert noisy.clip_p95_milliseconds > quiet.clip_p95_milliseconds, "a clip's tail is what it was"


async def test_the_warm_up_counts_for_memory_and_not_for_time(tmp_path: Path) -> None:
    took = iter([9000.0, *([10.0] * 100)])
    lane = PaperLane(disturb=lambda _: next(took))
    tier = (await measured(lane, tmp_path, range(2, 3))).tiers[0]
    assert tier.clip_p95_milliseconds == 10
    assert tier.peak_rss_bytes == 120 * MIB


async def test_measuring_ends_with_the_first_tier_over_the_cap(tmp_path: Path) -> None:
    assert sizes_of(await measured(PaperLane(), tmp_path, cap_bytes=135 * MIB)) == [1, 2, 3, 4]


@pytest.mark.parametrize("lane", [PaperLane(steps_down_above=3), PaperLane(aborts_above=3)])
async def test_measuring_ends_where_the_lane_steps_down(lane: PaperLane, tmp_path: Path) -> None:
    assert sizes_of(await measured(lane, tmp_path)) == [1, 2, 3]
    assert (lane.loaded, lane.batch_size) == (False, 4)


async def test_when_the_smallest_tier_does_not_fit_batch_size_one_is_measured(tmp_path: Path) -> None:
    assert sizes_of(await measured(PaperLane(steps_down_above=3), tmp_path, range(4, 9))) == [1]


async def test_a_failure_at_batch_size_one_is_raised(tmp_path: Path) -> None:
    with pytest.raises(VoxFleetError) as raised:
        await measured(PaperLane(aborts_above=0), tmp_path)
    assert raised.value.failure_class is FailureClass.GPU_ABORT_OUT_OF_MEMORY


async def test_a_clip_that_fails_is_left_out_and_the_tier_measured_again(tmp_path: Path) -> None:
    lane = PaperLane(bad_paths=frozenset({tmp_path / "0.wav"}))
    tiers = (await measured(lane, tmp_path, range(1, 3))).tiers
    assert [tier.batch_size for tier in tiers] == [1, 2]
    assert lane.children == 3
    assert tiers[0].audio_milliseconds == 2 * sum(30_000 - 1000 * n for n in range(1, 8)) + 29_000 + 28_000


async def test_without_a_clip_that_works_there_is_no_tier(tmp_path: Path) -> None:
    bad = frozenset(clip.path for clip in make_clips(tmp_path))
    assert (await measured(PaperLane(bad_paths=bad), tmp_path)).tiers == ()


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("count", [1, 3, 8])
def test_batches_use_every_clip_alike_and_no_index_twice(size: int, count: int, tmp_path: Path) -> None:
    clips = make_clips(tmp_path, count)
    batches = plan_batches(clips, size)
    tasks = [task for batch in batches for task in batch.tasks]
    assert all(len(batch.tasks) == size for batch in batches)
    assert len({task.index for task in tasks}) == len(tasks)
    assert [batch.counted for batch in batches] == [False] + [True] * (len(batches) - 1)
    assert batches[0].tasks[0].path == clips[0].path
    used = Counter(task.path for batch in batches if batch.counted for task in batch.tasks)
    assert set(used) == {clip.path for clip in clips}
    assert max(used.values()) - min(used.values()) <= 1


@pytest.mark.parametrize(
    ("values", "percent", "expected"), [([5], 95, 5), ([1, 2], 50, 1), ([1, 2, 3], 50, 2), (list(range(1, 21)), 95, 19)]
)
def test_percentile(values: list[int], percent: int, expected: int) -> None:
    assert percentile(values, percent) == expected
