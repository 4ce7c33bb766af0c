"""When a lane's batches become smaller, and what of it is the lane's own."""

from __future__ import annotations

import pytest

from voxfleet_agent.lanes.batch_size import BatchSize
from voxfleet_agent.lanes.lane_types import StepDown


def test_one_shortage_halves_once_however_many_batches_were_sent_before_it() -> None:
    sizing = BatchSize(8)
    assert [sizing.halve(8, "short", caused_by_lane=True) for _ in range(4)] == [True, False, False, False]
    assert (sizing.size, sizing.stepped_down) == (4, StepDown(4, "short"))
    assert sizing.halve(4, "short again", caused_by_lane=True)
    assert (sizing.size, sizing.stepped_down) == (2, StepDown(2, "short again"))


def test_one_is_the_least() -> None:
    sizing = BatchSize(3)
    assert sizing.halve(3, "short", caused_by_lane=True) and not sizing.halve(1, "short", caused_by_lane=True)
    assert sizing.size == 1
    with pytest.raises(ValueError, match="at least one"):
        BatchSize(0)


def test_what_others_caused_is_not_in_what_the_lane_steps_down_to() -> None:
    sizing = BatchSize(16)
    assert sizing.halve(16, "killed", caused_by_lane=False)
    assert (sizing.size, sizing.stepped_down) == (8, None)
    assert sizing.halve(8, "short", caused_by_lane=True)
    assert sizing.halve(4, "killed", caused_by_lane=False)
    assert (sizing.size, sizing.stepped_down) == (2, StepDown(8, "short"))


def test_a_clip_that_needs_too_much_alone_takes_back_what_it_was_suspected_of() -> None:
    sizing = BatchSize(16)
    sizing.halve(16, "died", caused_by_lane=True, suspects=frozenset({1, 2}))
    sizing.halve(8, "short", caused_by_lane=True)
    sizing.halve(4, "killed", caused_by_lane=False, suspects=frozenset({1, 2}))
    sizing.undo_halvings_caused_by(3)
    assert (sizing.size, sizing.stepped_down) == (2, StepDown(4, "short"))
    sizing.undo_halvings_caused_by(2)
    assert (sizing.size, sizing.stepped_down) == (4, StepDown(8, "short"))
