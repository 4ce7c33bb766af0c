"""Tables look like kubectl's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from voxfleet_api.kinds import MacAgent, VoiceContract
from voxfleet_cli.columns import age, header, row, table

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
