"""Which clips a child gets, and what its death means for them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.lanes.child_exits import Blame, ChildEnd
from voxfleet_agent.lanes.clip_queue import MAX_DEATHS_IN_A_ROW, MAX_GPU_FAULT_SUSPECTS, ClipQueue, SentBatch
from voxfleet_agent.lanes.lane_types import LANE_BATCHES, ClipTask
from voxfleet_api.failures import FailureClass

CRASH = ChildEnd(FailureClass.LANE_CRASHED, "crashed")
KILLED = ChildEnd(FailureClass.GPU_ABORT_OUT_OF_MEMORY, "killed from outside", Blame.MAC)
GPU_FAULT = ChildEnd(FailureClass.GPU_ABORT_TIMEOUT, "the GPU gave up", Blame.CLIP_OR_MAC)


def clips(*indexes: int) -> list[ClipTask]:
    return [ClipTask(index, Path(f"/clip-{index}")) for index in indexes]


def indexes(sent: SentBatch | None) -> list[int] | None:
    return None if sent is None else [clip.index for clip in sent.clips]


def new_poison(queue: ClipQueue) -> list[int]:
    return [poison.clip.index for poison in queue.pop_new_poison()]


def die_alone_twice(queue: ClipQueue, index: int, end: ChildEnd) -> bool:
    """Returns whether the second death is the Mac's fault."""
    for _ in range(2):
        assert indexes(queue.next_batch(1)) == [index]
        macs_fault = queue.child_died({index}, end)
    return macs_fault


def finish(queue: ClipQueue, sent: SentBatch | None) -> None:
    assert sent is not None
    for clip in sent.clips:
        assert queue.verdict_received(clip.index, inferred=True) == clip
    assert queue.batch_done(sent.number) == sent.batch_size


def test_four_batches_are_in_flight_and_no_fifth_is_requested() -> None:
    queue = ClipQueue()
    assert (queue.wants_more, queue.empty, queue.idle) == (True, True, True)
    queue.add(clips(0, 1, 2, 3, 4, 5, 6))
    assert (queue.wants_more, queue.empty) == (False, False)
    first, *others = (queue.next_batch(2) for _ in range(4))
    assert [indexes(sent) for sent in (first, *others)] == [[0, 1], [2, 3], [4, 5], [6]]
    assert (queue.wants_more, queue.next_batch(2)) == (False, None)
    finish(queue, first)
    assert (queue.wants_more, queue.empty, queue.idle) == (True, False, False)
    for sent in others:
        finish(queue, sent)
    assert (queue.empty, queue.idle) == (True, True)


def test_a_batch_closes_only_when_every_clip_has_its_verdict() -> None:
    queue = ClipQueue()
    queue.add(clips(0, 1))
    sent = queue.next_batch(2)
    assert sent is not None
    queue.verdict_received(0, inferred=True)
    assert not queue.batch_done(sent.number)
    queue.verdict_received(1, inferred=True)
    assert queue.batch_done(sent.number) and not queue.batch_done(sent.number)
    assert queue.verdict_received(1, inferred=True) is None


def test_a_batch_keeps_the_size_that_it_was_sent_with() -> None:
    queue = ClipQueue()
    queue.add(clips(0, 1, 2, 3))
    first, second = queue.next_batch(2), queue.next_batch(1)
    assert first is not None and second is not None
    assert (first.batch_size, second.batch_size) == (2, 1)
    assert [queue.largest_batch_size(some) for some in ({1}, {2}, {1, 2}, {7})] == [2, 1, 2, 1]
    queue.verdict_received(0, inferred=True)
    queue.verdict_received(1, inferred=True)
    assert queue.batch_done(first.number) == 2


def test_suspects_go_alone_before_the_others() -> None:
    queue = ClipQueue()
    queue.add(clips(0, 1, 2))
    queue.add(clips(3, 4))
    queue.next_batch(3)
    queue.next_batch(3)
    assert not queue.child_died({1, 2}, CRASH)
    for suspect in (1, 2):
        alone = queue.next_batch(3)
        assert indexes(alone) == [suspect]
        assert queue.next_batch(3) is None and not queue.wants_more
        finish(queue, alone)
    rest = queue.next_batch(3)
    assert indexes(rest) == [0, 3, 4]


def test_a_clip_that_dies_alone_twice_is_given_up() -> None:
    queue = ClipQueue()
    queue.add(clips(0, 1))
    queue.next_batch(2)
    assert not queue.child_died({0, 1}, CRASH)
    assert indexes(queue.next_batch(2)) == [0]
    assert not queue.child_died({0}, CRASH)
    assert queue.deaths_alone(0) == (FailureClass.LANE_CRASHED,)
    finish(queue, queue.next_batch(2))  # the other suspect waited longer
    assert indexes(queue.next_batch(2)) == [0]
    assert not queue.child_died({0}, CRASH)
    assert new_poison(queue) == [0]
    assert queue.empty and new_poison(queue) == []


def test_a_death_that_no_clip_explains_gives_all_of_them_again() -> None:
    queue = ClipQueue()
    queue.add(clips(0, 1))
    queue.next_batch(2)
    assert not queue.child_died(frozenset(), CRASH)
    assert indexes(queue.next_batch(2)) == [0, 1]
    assert not queue.child_died({77}, CRASH)
    assert indexes(queue.next_batch(2)) == [0, 1]


def test_deaths_without_a_verdict_between_them_become_too_many() -> None:
    queue = ClipQueue()
    queue.add(clips(0, 1))
    for _ in range(MAX_DEATHS_IN_A_ROW):
        queue.next_batch(2)
        queue.child_died(frozenset(), CRASH)
    assert not queue.too_many_deaths
    queue.next_batch(2)
    queue.child_died(frozenset(), CRASH)
    assert queue.too_many_deaths


def test_a_verdict_ends_the_row_of_deaths() -> None:
    queue = ClipQueue()
    queue.add(clips(0, 1))
    for _ in range(MAX_DEATHS_IN_A_ROW):
        queue.next_batch(2)
        queue.child_died(frozenset(), CRASH)
    queue.next_batch(2)
    queue.verdict_received(0, inferred=True)
    queue.child_died(frozenset(), CRASH)
    assert not queue.too_many_deaths


def test_kills_from_outside_poison_no_clip_and_are_the_macs_fault() -> None:
    queue = ClipQueue()
    queue.add(clips(0))
    assert die_alone_twice(queue, 0, KILLED)
    assert new_poison(queue) == []


def test_a_kill_from_outside_is_not_added_to_a_clips_own_deaths() -> None:
    queue = ClipQueue()
    queue.add(clips(0))
    queue.next_batch(1)
    assert not queue.child_died({0}, CRASH)
    queue.next_batch(1)
    assert not queue.child_died({0}, KILLED)
    assert queue.deaths_alone(0) == (FailureClass.LANE_CRASHED,) and new_poison(queue) == []
    finish(queue, queue.next_batch(1))
    assert queue.empty


def test_a_gpu_fault_is_the_clips_once_another_clip_is_inferred() -> None:
    queue = ClipQueue()
    queue.add(clips(0))
    queue.add(clips(1))
    queue.next_batch(1)
    assert not queue.child_died({0}, GPU_FAULT)
    assert indexes(queue.next_batch(1)) == [0]
    assert not queue.child_died({0}, GPU_FAULT)
    assert new_poison(queue) == [] and not queue.empty and not queue.needs_fresh_child
    check = queue.next_batch(1)
    assert indexes(check) == [1]
    assert new_poison(queue) == []
    finish(queue, check)
    assert new_poison(queue) == [0] and queue.empty


def test_a_verdict_without_the_model_confirms_no_poison_and_a_fresh_child_does() -> None:
    queue = ClipQueue()
    queue.add(clips(0, 1))
    queue.next_batch(1)
    queue.child_died({0}, GPU_FAULT)
    queue.next_batch(1)
    queue.child_died({0}, GPU_FAULT)
    undecodable = queue.next_batch(1)
    assert undecodable is not None and queue.verdict_received(1, inferred=False) is not None
    assert queue.batch_done(undecodable.number)
    assert (new_poison(queue), queue.needs_fresh_child, queue.empty) == ([], True, False)
    queue.confirm_poison()
    assert (new_poison(queue), queue.needs_fresh_child, queue.empty) == ([0], False, True)


def test_a_clip_that_no_child_died_on_is_tried_before_other_suspects() -> None:
    queue = ClipQueue()
    queue.add(clips(0, 1))
    queue.add(clips(2))
    queue.next_batch(2)
    queue.child_died({0, 1}, GPU_FAULT)
    for suspect in (0, 1, 0):
        assert indexes(queue.next_batch(2)) == [suspect]
        assert not queue.child_died({suspect}, GPU_FAULT)
    check = queue.next_batch(2)
    assert indexes(check) == [2]
    finish(queue, check)
    assert new_poison(queue) == [0]
    assert indexes(queue.next_batch(2)) == [1]


def test_a_gpu_that_fails_clip_after_clip_is_the_macs_fault() -> None:
    queue = ClipQueue()
    for index in range(MAX_GPU_FAULT_SUSPECTS + 1):
        queue.add(clips(index))
        assert die_alone_twice(queue, index, GPU_FAULT) is (index == MAX_GPU_FAULT_SUSPECTS)
        assert new_poison(queue) == []


@given(st.sets(st.integers(0, 11)), st.integers(1, 8), st.randoms(use_true_random=False))
def test_every_clip_gets_one_outcome_whichever_clips_kill(killers: set[int], batch_size: int, chance: object) -> None:
    """A child dies as soon as it works on a killer, and loses all of its batches."""
    queue = ClipQueue()
    queue.add(clips(*range(6)))
    queue.add(clips(*range(6, 12)))
    finished: list[int] = []
    given_up: list[int] = []
    sent_batches: list[SentBatch] = []
    for _ in range(500):
        while (sent := queue.next_batch(batch_size)) is not None:
            sent_batches.append(sent)
        assert len(sent_batches) <= LANE_BATCHES
        if not sent_batches:
            break
        sent = sent_batches.pop(0)
        active = {clip.index for clip in sent.clips}
        if active & killers:
            assert not queue.child_died(active, CRASH)
            sent_batches.clear()
            given_up += new_poison(queue)
        else:
            finish(queue, sent)
            finished += active
    assert queue.empty
    assert sorted(given_up) == sorted(killers)
    assert sorted(finished) == sorted(set(range(12)) - killers)
