"""`voxfleet why` of an endpoint: its lanes by Mac, why one failed or none fits, and what to do first."""

from __future__ import annotations

import pytest
from rich.console import Console
from tests.unit.operator.golden.endpoint_states import NO_FIT, endpoint_states

from voxfleet_api.endpoint_latency import LatencyPart
from voxfleet_api.kinds.endpoint_status import EndpointUsage, SlowestPart
from voxfleet_cli.explain import explain, failed
from voxfleet_cli.names import kind_of
from voxfleet_cli.render import print_explanation

STATES = endpoint_states()


def test_it_is_called_by_its_names() -> None:
    kinds = {kind_of(word) for word in ("ve", "endpoint", "endpoints", "voiceendpoints")}
    assert [kind.crd.kind for kind in kinds] == ["VoiceEndpoint"]


def test_it_counts_lanes_and_lists_them_by_mac_with_what_failed() -> None:
    said = explain(STATES["enough lanes are warm, and one failed"])
    assert said["state"] == "LanesWarm" and said["lanes"] == "1 warm of 1 wanted, 0 busy"
    assert "mac-a: ModelUnavailable: what to do" in said["next"]
    failing, warm = said["macs"]
    assert (failing["mac"], failing["state"], failing["class"]) == ("mac-a", "Failed", "ModelUnavailable")
    assert failing["failures"] == 1 and failing["triedAgain"] and "failures" not in warm


def test_it_names_the_part_that_makes_turns_slow_and_its_mac() -> None:
    said = explain(STATES["its lane is warm, and its turns are too slow"])
    assert said["turns"] == "20 within 5m, 2 slower than 1s: p50 356ms, p95 1350ms, p99 1500ms"
    assert said["slow"].startswith("70 % of the time of slow turns is Wait, most of it on mac-a: until the model took")
    assert said["next"] == (
        "2 of 20 turns within 5m took longer than 1s; at most 5 % may, the p95 is 1350ms;"
        " 70 % of the time of the slow ones is Wait, most of it on mac-a"
    )
    within = explain(STATES["its lane is warm, and its turns are in time"])
    assert within["turns"] == "21 within 5m, 1 slower than 1s: p50 355ms, p95 400ms, p99 1500ms"
    assert within["next"] == "nothing: 1 of 1 wanted lanes are warm"
    assert "turns" not in explain(STATES["its lane is warm, and nobody speaks"])


@pytest.mark.parametrize("part", LatencyPart)
def test_each_part_has_a_meaning(part: LatencyPart) -> None:
    slow = STATES["its lane is warm, and its turns are too slow"]
    slo = slow.status.slo
    assert slo is not None
    told = slo.model_copy(update={"slowest": SlowestPart(part=part, mac="mac-b", percent=50)})
    said = explain(slow.model_copy(update={"status": slow.status.model_copy(update={"slo": told})}))["slow"]
    assert said.startswith(f"50 % of the time of slow turns is {part}, most of it on mac-b: ")


def test_it_says_the_bill_so_far() -> None:
    warm = STATES["its lane is warm"]
    usage = EndpointUsage(
        machine_seconds="7.000", productive_seconds="3.000", overhead_seconds="4.000", rows=4,
        updated_at="2026-11-30T12:00:00Z",
    )  # fmt: skip
    paid = warm.model_copy(update={"status": warm.status.model_copy(update={"usage": usage})})
    assert explain(paid)["usage"] == (
        "7.000 s of lanes as of 2026-11-30T12:00:00Z: 3.000 s for sessions, 4.000 s overhead, 4 signed rows"
    )


def test_it_says_where_clients_call_it() -> None:
    warm = STATES["its lane is warm"]
    served = warm.model_copy(update={"status": warm.status.model_copy(update={"url": "https://speech.example/a/b"})})
    assert explain(served)["address"] == "https://speech.example/a/b"


def test_it_says_why_no_mac_fits() -> None:
    said = explain(STATES["no Mac fits"])
    assert said["waiting"] == said["next"] == NO_FIT


def test_people_read_words() -> None:
    console = Console(width=200)
    with console.capture() as printed:
        print_explanation(console, explain(STATES["its lane is warm"]))
    assert "Lanes: 1 warm of 1 wanted, 0 busy" in printed.get()


def test_one_that_cannot_be_accepted_fails_a_script_and_one_without_a_mac_does_not() -> None:
    wrong = STATES["its time zone is none"]
    assert failed(wrong) and explain(wrong)["next"].startswith("spec.timeZone: ")
    assert not failed(STATES["no Mac fits"]) and not failed(STATES["its lane failed"])
