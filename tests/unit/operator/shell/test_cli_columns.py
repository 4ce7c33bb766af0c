"""Tables look like kubectl's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from voxfleet_api.kinds import KINDS, MacAgent, Resource, VoiceContract
from voxfleet_cli.columns import age, header, look_up, row, table

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CONTRACT = VoiceContract.load(
    {
        "metadata": {"name": "calls", "namespace": "ns", "creationTimestamp": "2026-11-20T11:00:00Z"},
        "spec": {"input": {"containers": ["wav", "flac"], "sampleRatesHz": [16000], "channels": [1]}},
        "status": {
            "conditions": [
                {
                    "type": "Accepted",
                    "status": "True",
                    "reason": "Accepted",
                    "lastTransitionTime": "2026-11-20T11:00:00Z",
                }
            ]
        },
    }
)


def test_cells_come_from_fields_and_conditions() -> None:
    head = header(VoiceContract, wide=False, namespaced=True)
    cells = dict(zip(head, row(CONTRACT, NOW, wide=False, namespaced=True), strict=True))
    assert cells == {
        "NAMESPACE": "ns",
        "NAME": "calls",
        "ACCEPTED": "True",
        "CONTAINERS": "wav,flac",
        "RATES": "16000",
        "RESAMPLE": "",
        "AGE": "60m",
    }


def test_a_path_may_choose_a_list_item() -> None:
    pools = [{"name": "day", "kind": "Interactive", "lanes": 1}, {"name": "night", "kind": "Offline", "lanes": 3}]
    path = '.status.machine.pools[?(@.kind=="Offline")].lanes'
    assert look_up({"status": {"machine": {"pools": pools}}}, path) == 3
    assert look_up({"status": {"machine": {"pools": pools[:1]}}}, path) is None
    assert look_up({"status": {}}, path) is None


def test_a_path_may_name_the_item_of_a_list_by_its_number() -> None:
    slots = ["2026-11-21T02:00:00Z", "2026-11-22T02:00:00Z"]
    status: dict[str, object] = {"status": {"nextScheduleTimes": slots}}
    assert look_up(status, ".status.nextScheduleTimes[1]") == "2026-11-22T02:00:00Z"
    assert look_up(status, ".status.nextScheduleTimes[2]") is None
    assert look_up({"status": {}}, ".status.nextScheduleTimes[0]") is None


def test_wide_shows_more() -> None:
    assert {"HOST", "OS"} <= set(header(MacAgent, wide=True, namespaced=False))
    assert "HOST" not in header(MacAgent, wide=False, namespaced=False)


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(seconds=-3), "0s"),
        (timedelta(seconds=119), "119s"),
        (timedelta(minutes=2), "2m"),
        (timedelta(hours=5), "5h"),
        (timedelta(hours=24), "1d"),
        (timedelta(days=400), "400d"),
    ],
)
def test_age(passed: timedelta, text: str) -> None:
    assert age(passed) == text


def test_columns_are_aligned() -> None:
    assert table(["A", "LONG"], [["xyz", ""], ["x", "y"]]) == "A     LONG\nxyz\nx     y"


def test_a_path_may_name_a_field_of_all_items() -> None:
    lanes = [{"mac": "mac-a"}, {"mac": "mac-b"}]
    assert look_up({"status": {"macs": lanes}}, ".status.macs[*].mac") == ["mac-a", "mac-b"]
    assert look_up({"status": {}}, ".status.macs[*].mac") == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_path_of_every_column_is_understood(kind: type[Resource]) -> None:
    for column in kind.crd.columns:
        assert look_up({}, column.json_path) in (None, [])
