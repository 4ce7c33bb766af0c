"""Whether an endpoint's turns keep to the contract's p95, and which part makes them slow, where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.measured_turns import a_turn, counted

from voxfleet_api.endpoint_latency import FEWEST_TURNS
from voxfleet_api.session_protocol import LatencyKind, TurnMeasured
from voxfleet_operator.reconcile.endpoint.slo import RecentTurns, endpoint_slo, slo_verdict

TARGET = "1s"


def took(of_mac: Mapping[str, Sequence[TurnMeasured | int]], *, complete: bool = True) -> RecentTurns:
    """The turns of each Mac."""
    told = {mac: counted(*turns).told() for mac, turns in of_mac.items()}
    by_mac = {mac: {kind.latency: kind for kind in found.kinds} for mac, found in told.items()}
    return RecentTurns(by_mac=by_mac, complete=complete)


def verdict(turns: RecentTurns, target: str | None = TARGET) -> str:
    found = slo_verdict(endpoint_slo(None, target, turns), target, turns.window)
    return "absent" if found is None else f"{found[0]} {found[1]}: {found[2]}"


VERDICTS: dict[str, tuple[RecentTurns, str]] = {
    "nobody spoke": (took({}), "None NoTurns: no turn within 5m"),
    "one turn, in time": (
        took({"a": [400]}),
        "True TurnsWithinSLO: 0 of 1 turns within 5m took longer than 1s; the p95 is 400ms",
    ),
    "one turn, too slow": (
        took({"a": [1_500]}),
        "None TooFewTurns: 1 of 1 turns within 5m took longer than 1s; fewer than 5 turns say nothing of a p95",
    ),
    "five turns, all too slow": (
        took({"a": [1_500] * FEWEST_TURNS}),
        "False TurnsBeyondSLO: 5 of 5 turns within 5m took longer than 1s; at most 5 % may, the p95 is 1500ms",
    ),
    "exactly as many as a p95 allows": (
        took({"a": [400] * 19 + [1_500]}),
        "True TurnsWithinSLO: 1 of 20 turns within 5m took longer than 1s; the p95 is 400ms",
    ),
    "one more, on another Mac": (
        took({"a": [400] * 19 + [1_500], "b": [a_turn(1_500, infer=1_200, wait=300)]}),
        "False TurnsBeyondSLO: 2 of 21 turns within 5m took longer than 1s; at most 5 % may, the p95 is 1350ms;"
        " 80 % of the time of the slow ones is Infer, most of it on b",
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_the_verdict(name: str) -> None:
    turns, expected = VERDICTS[name]
    assert verdict(turns) == expected


def test_a_contract_without_a_target_promises_nothing() -> None:
    assert verdict(took({"a": [90_000] * 10}), target=None) == "absent"


def test_a_first_delta_is_of_no_verdict() -> None:
    assert verdict(took({"a": [a_turn(9_000, kind=LatencyKind.FIRST_TEXT)] * 9})).startswith("None NoTurns")


SLOW: dict[str, tuple[dict[str, list[TurnMeasured | int]], tuple[str, str, int] | None]] = {
    "no turn is slow": ({"a": [a_turn(900, wait=900)]}, None),
    "nothing is known of the slow ones": ({"a": [1_500]}, None),
    "the gateway": ({"a": [a_turn(2_000, gateway=1_500, infer=500)]}, ("Gateway", "a", 75)),
    "the tunnel": ({"a": [a_turn(2_000, tunnel=1_200, wait=800)]}, ("Tunnel", "a", 60)),
    "waiting": ({"a": [a_turn(2_000, wait=1_800, infer=200)]}, ("Wait", "a", 90)),
    "the model": ({"a": [a_turn(2_000, wait=200, infer=1_800)]}, ("Infer", "a", 90)),
    "only slow turns count": (
        {"a": [*[a_turn(900, infer=900)] * 50, a_turn(1_500, wait=1_000, infer=500)]},
        ("Wait", "a", 66),
    ),
    "the Mac that has most of it": (
        {"a": [a_turn(1_500, wait=1_000, infer=500)], "b": [a_turn(1_500, wait=1_100, infer=400)]},
        ("Wait", "b", 70),
    ),
    "the part is chosen first": (
        {"a": [a_turn(2_000, infer=2_000)], "b": [a_turn(1_500, wait=1_500)], "c": [a_turn(1_500, wait=1_400)]},
        ("Wait", "b", 59),
    ),
    "over all kinds": (
        {"a": [a_turn(1_500, wait=800, infer=700), a_turn(1_500, infer=1_500, kind=LatencyKind.UPLOADED_TEXT)]},
        ("Infer", "a", 73),
    ),
}


@pytest.mark.parametrize("name", SLOW)
def test_the_part_that_makes_turns_slow_and_its_mac(name: str) -> None:
    of_mac, expected = SLOW[name]
    found = endpoint_slo(None, TARGET, took(of_mac))
    assert found is not None
    slowest = found.slowest
    assert (None if slowest is None else (slowest.part, slowest.mac, slowest.percent)) == expected


def test_a_process_that_has_just_begun_leaves_what_it_knows_less_of() -> None:
    old = endpoint_slo(None, TARGET, took({"a": [1_500] * 20}))
    for little in (took({}, complete=False), took({"a": [400] * (FEWEST_TURNS - 1)}, complete=False)):
        assert endpoint_slo(old, TARGET, little) == old
        seen = endpoint_slo(old, TARGET, replace(little, complete=True))
        assert seen is not None and seen.breaches == 0
    enough = endpoint_slo(old, TARGET, took({"a": [400] * FEWEST_TURNS}, complete=False))
    assert enough is not None and enough.turns == FEWEST_TURNS


@given(st.lists(st.integers(0, 70_000), max_size=80))
def test_the_shown_p95_and_the_verdict_agree(times: list[int]) -> None:
    slo = endpoint_slo(None, TARGET, took({"a": [*times]}))
    found = slo_verdict(slo, TARGET, "5m")
    assert found is not None
    if slo is None or slo.p95 is None:
        assert found[0] is None
    elif found[0] is not None:
        assert found[0] == (int(slo.p95.removesuffix("ms")) <= 1_000)
