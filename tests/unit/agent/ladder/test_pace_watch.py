"""The pace of lanes is watched while they work, within a bound, and heat or failures are no evidence."""

from __future__ import annotations

import pytest
from tests.unit.agent.ladder.measured_mac import BATCH, CLIP_MILLISECONDS, LONG_ENOUGH, TABLE, MeasuredMac

from voxfleet_agent.ladder.contention import HOLD_SECONDS, MAX_SAMPLES, MIN_BATCHES
from voxfleet_agent.thermal_pressure import under_thermal_pressure
from voxfleet_api.failures import FailureClass
from voxfleet_api.machine_messages import LaneContention


@pytest.fixture
def mac() -> MeasuredMac:
    return MeasuredMac()


def test_a_lane_that_is_slow_for_minutes_is_told_with_a_coarse_figure_that_stays(mac: MeasuredMac) -> None:
    lane = mac.watch.of("offline-0")
    with lane.working():
        lane.compare_with(TABLE)
        mac.work(lane, 2.1)
        told = mac.watch.contended_lanes()
        assert told == (LaneContention(lane="offline-0", slowdown_percent=200),)
        mac.work(lane, 4.0, 2 * LONG_ENOUGH)
        assert mac.watch.contended_lanes() == told
        assert mac.watch.readings()["offline-0"].slowdown == pytest.approx(4.0)
        mac.work(lane, 1.0, 2 * LONG_ENOUGH)
    assert mac.watch.contended_lanes() == ()
    assert mac.watch.readings()["offline-0"].contended is False


def test_a_few_slow_batches_do_not_become_contention_by_being_asked_for(mac: MeasuredMac) -> None:
    lane = mac.watch.of("offline-0")
    with lane.working():
        lane.compare_with(TABLE)
        mac.work(lane, 3.0, MIN_BATCHES)
    for _ in range(10):
        mac.now_seconds += HOLD_SECONDS / 2
        assert mac.watch.contended_lanes() == ()


def test_a_lane_without_work_keeps_its_verdict_for_a_while_only(mac: MeasuredMac) -> None:
    lane = mac.watch.of("offline-0")
    with lane.working():
        lane.compare_with(TABLE)
        mac.work(lane, 2.0)
    mac.now_seconds += 60
    assert len(mac.watch.contended_lanes()) == 1
    mac.now_seconds += 3600
    assert mac.watch.contended_lanes() == ()
    assert mac.watch.readings()["offline-0"].slowdown is None


def test_two_lanes_of_this_agent_are_not_each_others_co_tenants(mac: MeasuredMac) -> None:
    first, second = mac.watch.of("offline-0"), mac.watch.of("offline-1")
    with first.working(), second.working():
        first.compare_with(TABLE)
        second.clips_sent(1)
        mac.work(first, 2.0)
        assert mac.watch.contended_lanes() == ()
    with first.working():
        first.compare_with(TABLE)
        mac.work(first, 2.0, LONG_ENOUGH + MAX_SAMPLES // BATCH)
        assert len(mac.watch.contended_lanes()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"failure_class": FailureClass.INFERENCE_ERROR},
        {"retried_for": (FailureClass.TRUNCATED_OUTPUT,)},
        {"audio_milliseconds": CLIP_MILLISECONDS // 4},
    ],
    ids=["failed", "tried twice", "short"],
)
def test_clips_that_take_longer_for_themselves_say_nothing(mac: MeasuredMac, changes: dict[str, object]) -> None:
    lane = mac.watch.of("offline-0")
    with lane.working():
        lane.compare_with(TABLE)
        mac.work(lane, 9.0, LONG_ENOUGH, **changes)
    assert mac.watch.contended_lanes() == ()
    assert mac.watch.readings()["offline-0"].slowdown is None


def test_heat_is_not_taken_for_a_co_tenant(mac: MeasuredMac) -> None:
    lane = mac.watch.of("offline-0")
    mac.hot = True
    with lane.working():
        lane.compare_with(TABLE)
        mac.work(lane, 3.0)
    assert mac.watch.contended_lanes() == () and mac.watch.readings()["offline-0"].slowdown is None


def test_a_lane_that_has_no_clips_yet_slows_nobody_down(mac: MeasuredMac) -> None:
    first, fetching = mac.watch.of("offline-0"), mac.watch.of("offline-1")
    with first.working(), fetching.working():
        first.compare_with(TABLE)
        mac.work(first, 2.0)
        assert mac.watch.readings()["offline-0"].slowdown == pytest.approx(2.0)
        assert len(mac.watch.contended_lanes()) == 1
        fetching.clips_sent(2)
        assert mac.watch.at_work == {"offline-1"}
    assert mac.watch.at_work == set(), "clips without a verdict are in flight no longer than their attempt"


def test_sessions_of_this_agent_are_not_taken_for_a_co_tenant(mac: MeasuredMac) -> None:
    lane = mac.watch.of("offline-0")
    with lane.working():
        lane.compare_with(TABLE)
        mac.serves_sessions = True
        mac.work(lane, 3.0)
        assert mac.watch.contended_lanes() == () and lane.slowdown() is None
        mac.serves_sessions = False
        mac.work(lane, 1.0)
        assert lane.slowdown() == pytest.approx(1.0)


def test_waits_for_the_disk_and_for_decoding_are_not_in_the_pace(mac: MeasuredMac) -> None:
    lane = mac.watch.of("offline-0")
    with lane.working():
        lane.compare_with(TABLE)
        mac.work(lane, 1.0, decode_milliseconds=60_000, wait_milliseconds=60_000)
    assert mac.watch.readings()["offline-0"].slowdown == pytest.approx(1.0)


def test_another_models_clips_are_not_mixed_in(mac: MeasuredMac) -> None:
    lane = mac.watch.of("offline-0")
    with lane.working():
        lane.compare_with(TABLE)
        mac.work(lane, 2.0, MIN_BATCHES)
        lane.compare_with(TABLE.model_copy(update={"model_digest": "sha256:" + "3" * 64}))
        assert lane.slowdown() is None
        lane.compare_with(None)
        mac.work(lane, 2.0)
    assert lane.slowdown() is None


def test_this_machine_tells_of_its_heat_or_says_no() -> None:
    assert under_thermal_pressure() in (True, False)
