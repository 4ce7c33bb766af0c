"""Placement on Macs that drain, are closed, or close soon."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.operator.decisions.placement_objects import NOW, a_job, a_mac, a_shard, placed, run

from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_operator.placement import filters
from voxfleet_operator.placement.filters import LEAST_LEFT_SECONDS
from voxfleet_operator.placement.snapshot import MacSlot, PendingShard

CLOSED: dict[str, Any] = {"unavailable": filters.OUTSIDE_WINDOW, "detail": "opens at 2026-11-20 20:00 Europe/Berlin"}

CASES: dict[str, tuple[PendingShard, MacSlot, bool]] = {
    "a Mac that never closes": (a_shard(a_job(), expected_seconds=1e6), a_mac(), True),
    "it ends in time": (a_shard(a_job(), expected_seconds=99), a_mac(closes_seconds=NOW + 99), True),
    "it would not end in time": (a_shard(a_job(), expected_seconds=100), a_mac(closes_seconds=NOW + 99), False),
    "a short one fits the last minute": (a_shard(a_job(), expected_seconds=5), a_mac(closes_seconds=NOW + 60), True),
    "nobody knows how long it takes": (a_shard(a_job()), a_mac(closes_seconds=NOW + LEAST_LEFT_SECONDS), True),
    "and little time is left": (a_shard(a_job()), a_mac(closes_seconds=NOW + LEAST_LEFT_SECONDS - 1), False),
    "a plan needs its time, too": (a_shard(a_job(), stage=Stage.PLAN), a_mac(closes_seconds=NOW + 60), False),
    "a closed Mac": (a_shard(a_job()), a_mac(**CLOSED), False),
    "a Mac that drains": (a_shard(a_job()), a_mac(unavailable=filters.DRAINING), False),
}


@pytest.mark.parametrize("name", CASES)
def test_a_shard_starts_where_it_can_end(name: str) -> None:
    shard, mac, fits = CASES[name]
    assert bool(placed(run([shard], [mac]))) is fits


def test_pending_reasons_of_closed_macs() -> None:
    macs = [
        *(a_mac(f"mac-{number:02}", **CLOSED) for number in (3, 4)),
        *(a_mac(f"mac-{number:02}", unavailable=filters.DRAINING) for number in (5, 6, 7)),
        a_mac("mac-08", closes_seconds=NOW + 1),
        a_mac("mac-09", unavailable=filters.OUTSIDE_RENTAL, detail="its rental ended at 2026-11-20 20:00 UTC"),
        a_mac("mac-10", unavailable=filters.UNUSABLE_HOURS, detail="spec.availability.timeZone: …"),
    ]
    assert run([a_shard(a_job())], macs).pending["team/job"] == (
        "0/8 Macs fit: 1 closes before the shard would end,"
        " 1 has a spec.availability that cannot be read (mac-10: spec.availability.timeZone: …),"
        " 1 is outside its rental (mac-09: its rental ended at 2026-11-20 20:00 UTC),"
        " 2 are outside their availability window (mac-03: opens at 2026-11-20 20:00 Europe/Berlin),"
        " 3 draining"
    )


def test_wakes_when_the_first_mac_opens_or_closes() -> None:
    macs = [a_mac("mac-a", **CLOSED, opens_seconds=NOW + 50), a_mac("mac-b", free_lanes=0, closes_seconds=NOW + 70)]
    assert run([a_shard(a_job())], macs).wake_after_seconds == 50
    assert run([a_shard(a_job())], macs[1:]).wake_after_seconds == 70
    assert run([], macs).wake_after_seconds is None, "nothing waits"
