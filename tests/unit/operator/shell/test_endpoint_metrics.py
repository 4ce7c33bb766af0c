"""Endpoints at a scrape: their lanes, whether their turns are in time, and how long turns took."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from tests.rig.measured_turns import a_turn, counted
from tests.unit.operator.decisions.endpoint_world import LOADED, EndpointWorld, warm
from tests.unit.operator.golden.endpoint_states import endpoint_states

from voxfleet_api.endpoint_latency import LatencyPart
from voxfleet_api.session_protocol import LatencyKind
from voxfleet_operator.cache import Cache
from voxfleet_operator.monitoring.endpoint_collector import EndpointCollector
from voxfleet_operator.turn_metrics import TurnMetrics

STATES = endpoint_states()
NAMED = {"namespace": "team", "endpoint": "captions"}


def scraped(state: str) -> dict[str, float | None]:
    cache, registry = Cache(), CollectorRegistry()
    found = STATES[state]
    cache.put(found.model_copy(update={"metadata": found.metadata.model_copy(update={"resource_version": "1"})}))
    registry.register(EndpointCollector(cache))
    names = ("lanes_wanted", "lanes_warm", "lanes_busy", "slo_met")
    return {
        **{name: registry.get_sample_value(f"voxfleet_endpoint_{name}", NAMED) for name in names},
        "waiting": registry.get_sample_value("voxfleet_endpoints_waiting", {}),
    }


@pytest.mark.parametrize(
    ("state", "wanted", "warm_lanes", "met", "waiting"),
    [
        ("its lane is warm", 1, 1, None, 0),
        ("its lane is warm, and nobody speaks", 1, 1, None, 0),
        ("its lane is warm, and its turns are in time", 1, 1, 1, 0),
        ("its lane is warm, and its turns are too slow", 1, 1, 0, 0),
        ("one of two lanes is warm, and no Mac fits the other", 2, 1, None, 1),
        ("no Mac fits", None, None, None, 1),  # without a lane it has no series
        ("suspended", None, None, None, 0),
    ],
)
def test_an_endpoint_is_named_while_it_has_a_lane(
    state: str, wanted: int | None, warm_lanes: int | None, met: int | None, waiting: int
) -> None:
    busy = None if wanted is None else 0
    assert scraped(state) == {
        "lanes_wanted": wanted,
        "lanes_warm": warm_lanes,
        "lanes_busy": busy,
        "slo_met": met,
        "waiting": waiting,
    }


def test_turns_are_histograms_by_kind_and_part() -> None:
    registry = CollectorRegistry()
    metrics = TurnMetrics(registry)
    told = counted(a_turn(400, wait=300, infer=90), a_turn(1_500, wait=1_200, infer=90, stalls=2)).told()
    for _ in range(2):
        metrics.took("team", "captions", {kind.latency: kind for kind in told.kinds})
    labels = {**NAMED, "kind": LatencyKind.FINAL_TEXT}

    def value(series: str, **more: str) -> float | None:
        return registry.get_sample_value(f"voxfleet_endpoint_{series}", {**labels, **more})

    assert [value("turn_seconds_bucket", part="Total", le=le) for le in ("0.3", "0.4", "1.2", "1.5", "+Inf")] == [
        0, 2, 2, 4, 4
    ]  # fmt: skip
    assert value("turn_seconds_sum", part="Total") == pytest.approx(3.8)
    assert [value("turn_seconds_sum", part=part) for part in LatencyPart] == pytest.approx([0, 0, 3.0, 0.36])
    assert value("slow_turns_total") == 2 and value("stalls_total") == 4
    metrics.forget("team", "captions")
    assert value("slow_turns_total") is None


def slow_turns(world: EndpointWorld) -> float | None:
    [*_, slow, _] = world.metrics.turns.collect()
    return sum(sample.value for sample in slow.samples) if slow.samples else None


async def test_each_turn_is_counted_once_and_an_endpoint_that_is_gone_has_no_series() -> None:
    world = await warm(target="1s")
    world.speak("mac-a", 400, 1_500)
    await world.live(10)
    assert slow_turns(world) == 1
    world.edit(transcription={"language": "en"})
    await world.live(3 * LOADED)
    world.speak("mac-a", 1_500, 1_500)
    await world.live(10)
    assert slow_turns(world) == 3, "a lane that is loaded anew begins to count anew"
    world.edit(suspend=True)
    await world.live(LOADED)
    world.delete()
    await world.live(LOADED)
    assert slow_turns(world) is None


async def test_a_kind_that_nobody_knows_gets_no_series_and_no_room() -> None:
    world = await warm(target="1s")
    world.speak("mac-a", 400, *(a_turn(400).model_copy(update={"latency": f"Invented{n}"}) for n in range(3)))
    await world.live(10)
    [*_, slow, _] = world.metrics.turns.collect()
    assert {sample.labels["kind"] for sample in slow.samples} == {LatencyKind.FINAL_TEXT}
