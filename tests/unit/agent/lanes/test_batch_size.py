"""When a lane halves its batches, and which halvings it caused itself."""

from __future__ import annotations

import pytest

from voxfleet_agent.lanes.batch_size import BatchSize
from voxfleet_agent.lanes.lane_types import StepDown


def test_one_shortage_halves_once_however_many_batches_were_sent_before_it() -> None:
    batch_size = BatchSize(8)
    assert [batch_size.halve(8, "short", caused_by_lane=True) for _ in range(4)] == [True, False, False, False]
    assert (batch_size.size, batch_size.stepped_down) == (4, StepDown(4, "short"))
    assert batch_size.halve(4, "short again", caused_by_lane=True)
    assert (batch_size.size, batch_size.stepped_down) == (2, StepDown(2, "short again"))


def test_a_batch_holds_at_least_one_clip() -> None:
    batch_size = BatchSize(3)
    assert batch_size.halve(3, "short", caused_by_lane=True) and not batch_size.halve(1, "short", caused_by_lane=True)
    assert batch_size.size == 1
    with pytest.raises(ValueError, match="at least one"):
        BatchSize(0)


def test_halvings_that_others_caused_do_not_count_as_stepping_down() -> None:
    batch_size = BatchSize(16)
    assert batch_size.halve(16, "killed", caused_by_lane=False)
    assert (batch_size.size, batch_size.stepped_down) == (8, None)
    assert batch_size.halve(8, "short", caused_by_lane=True)
    assert batch_size.halve(4, "killed", caused_by_lane=False)
    assert (batch_size.size, batch_size.stepped_down) == (2, StepDown(8, "short"))


def test_a_clip_that_needs_too_much_alone_undoes_the_halvings_that_it_explains() -> None:
    batch_size = BatchSize(16)
    batch_size.halve(16, "died", caused_by_lane=True, suspects=frozenset({1, 2}))
    batch_size.halve(8, "short", caused_by_lane=True)
    batch_size.halve(4, "killed", caused_by_lane=False, suspects=frozenset({1, 2}))
    batch_size.undo_halvings_caused_by(3)
    assert (batch_size.size, batch_size.stepped_down) == (2, StepDown(4, "short"))
    batch_size.undo_halvings_caused_by(2)
    assert (batch_size.size, batch_size.stepped_down) == (4, StepDown(8, "short"))
