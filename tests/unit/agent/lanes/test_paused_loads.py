"""A lane that is paused stands still for others, but not while it loads its own job's model."""

from __future__ import annotations

from voxfleet_agent.lanes.giving_way import GivingWay


def test_a_load_while_the_lane_is_paused_is_no_standing_still() -> None:
    giving_way, told = GivingWay(), list[bool]()
    giving_way.changed = told.append
    giving_way.work_begins(lambda: False)
    giving_way.pause()
    with giving_way.while_loading():
        assert told == [True, False]
    assert told == [True, False, True]
    giving_way.work_ends()
    assert told == [True, False, True, False]
