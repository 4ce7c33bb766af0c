"""Which clips a child is given, and what its death says about them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.lanes.child_exits import Blame, ChildEnd
from voxfleet_agent.lanes.clip_queue import MAX_ACCUSED, MAX_DEATHS_IN_A_ROW, ClipQueue, SentBatch
from voxfleet_agent.lanes.lane_types import LANE_BATCHES, ClipTask
from voxfleet_api.failures import FailureClass

CRASH = ChildEnd(FailureClass.LANE_CRASHED, "crashed")
KILLED = ChildEnd(FailureClass.GPU_ABORT_OUT_OF_MEMORY, "killed from outside", Blame.MAC)
GPU_FAULT = ChildEnd(FailureClass.GPU_ABORT_TIMEOUT, "the GPU gave up", Blame.CLIP_OR_MAC)


def clips(*indexes: int) -> list[ClipTask]:
    return [ClipTask(index, Path(f"/clip-{index}")) for index in indexes]


def indexes(sent: SentBatch | None) -> list[int] | None:
    return None if sent is None else [clip.index for clip in sent.clips]


def culprits(docket: ClipQueue) -> list[int]:
    return [culprit.clip.index for culprit in docket.culprits()]


def die_alone_twice(docket: ClipQueue, index: int, end: ChildEnd) -> bool:
    """What the second death says."""
    for _ in range(2):
        assert indexes(docket.next(1)) == [index]
        fault = docket.died({index}, end)
    return fault


def finish(docket: ClipQueue, sent: SentBatch | None) -> None:
    assert sent is not None
    for clip in sent.clips:
        assert docket.settle(clip.index, heard=True) == clip
    assert docket.close(sent.number) == sent.together


def test_four_batches_are_out_and_no_fifth_is_asked_for() -> None:
    docket = ClipQueue()
    assert (docket.wants_more, docket.empty, docket.idle) == (True, True, True)
    docket.add(clips(0, 1, 2, 3, 4, 5, 6))
    assert (docket.wants_more, docket.empty) == (False, False)
    first, *others = (docket.next(2) for _ in range(4))
    assert [indexes(sent) for sent in (first, *others)] == [[0, 1], [2, 3], [4, 5], [6]]
    assert (docket.wants_more, docket.next(2)) == (False, None)
    finish(docket, first)
    assert (docket.wants_more, docket.empty, docket.idle) == (True, False, False)
    for sent in others:
        finish(docket, sent)
    assert (docket.empty, docket.idle) == (True, True)


def test_a_batch_closes_only_when_every_clip_has_its_verdict() -> None:
    docket = ClipQueue()
    docket.add(clips(0, 1))
    sent = docket.next(2)
    assert sent is not None
    docket.settle(0, heard=True)
    assert not docket.close(sent.number)
    docket.settle(1, heard=True)
    assert docket.close(sent.number) and not docket.close(sent.number)
    assert docket.settle(1, heard=True) is None


def test_a_batch_keeps_the_size_that_it_was_sent_with() -> None:
    docket = ClipQueue()
    docket.add(clips(0, 1, 2, 3))
    first, second = docket.next(2), docket.next(1)
    assert first is not None and second is not None
    assert (first.together, second.together) == (2, 1)
    assert [docket.together(some) for some in ({1}, {2}, {1, 2}, {7})] == [2, 1, 2, 1]
    docket.settle(0, heard=True)
    docket.settle(1, heard=True)
    assert docket.close(first.number) == 2


def test_suspects_go_alone_before_the_others() -> None:
    docket = ClipQueue()
    docket.add(clips(0, 1, 2))
    docket.add(clips(3, 4))
    docket.next(3)
    docket.next(3)
    assert not docket.died({1, 2}, CRASH)
    for suspect in (1, 2):
        alone = docket.next(3)
        assert indexes(alone) == [suspect]
        assert docket.next(3) is None and not docket.wants_more
        finish(docket, alone)
    rest = docket.next(3)
    assert indexes(rest) == [0, 3, 4]


def test_a_clip_that_dies_alone_twice_is_given_up() -> None:
    docket = ClipQueue()
    docket.add(clips(0, 1))
    docket.next(2)
    assert not docket.died({0, 1}, CRASH)
    assert indexes(docket.next(2)) == [0]
    assert not docket.died({0}, CRASH)
    assert docket.deaths_alone(0) == (FailureClass.LANE_CRASHED,)
    finish(docket, docket.next(2))  # the other suspect waited longer
    assert indexes(docket.next(2)) == [0]
    assert not docket.died({0}, CRASH)
    assert culprits(docket) == [0]
    assert docket.empty and culprits(docket) == []


def test_a_death_that_no_clip_explains_gives_all_of_them_again() -> None:
    docket = ClipQueue()
    docket.add(clips(0, 1))
    docket.next(2)
    assert not docket.died(frozenset(), CRASH)
    assert indexes(docket.next(2)) == [0, 1]
    assert not docket.died({77}, CRASH)
    assert indexes(docket.next(2)) == [0, 1]


def test_deaths_without_a_verdict_between_them_are_a_storm() -> None:
    docket = ClipQueue()
    docket.add(clips(0, 1))
    for _ in range(MAX_DEATHS_IN_A_ROW):
        docket.next(2)
        docket.died(frozenset(), CRASH)
    assert not docket.stormy
    docket.next(2)
    docket.died(frozenset(), CRASH)
    assert docket.stormy


def test_a_verdict_ends_the_row_of_deaths() -> None:
    docket = ClipQueue()
    docket.add(clips(0, 1))
    for _ in range(MAX_DEATHS_IN_A_ROW):
        docket.next(2)
        docket.died(frozenset(), CRASH)
    docket.next(2)
    docket.settle(0, heard=True)
    docket.died(frozenset(), CRASH)
    assert not docket.stormy


def test_kills_from_outside_condemn_no_clip_and_end_in_the_macs_fault() -> None:
    docket = ClipQueue()
    docket.add(clips(0))
    assert die_alone_twice(docket, 0, KILLED)
    assert culprits(docket) == []


def test_a_kill_from_outside_is_not_added_to_a_clips_own_deaths() -> None:
    docket = ClipQueue()
    docket.add(clips(0))
    docket.next(1)
    assert not docket.died({0}, CRASH)
    docket.next(1)
    assert not docket.died({0}, KILLED)
    assert docket.deaths_alone(0) == (FailureClass.LANE_CRASHED,) and culprits(docket) == []
    finish(docket, docket.next(1))
    assert docket.empty


def test_a_gpu_fault_is_the_clips_once_another_clip_is_heard() -> None:
    docket = ClipQueue()
    docket.add(clips(0))
    docket.add(clips(1))
    docket.next(1)
    assert not docket.died({0}, GPU_FAULT)
    assert indexes(docket.next(1)) == [0]
    assert not docket.died({0}, GPU_FAULT)
    assert culprits(docket) == [] and not docket.empty and not docket.needs_check
    check = docket.next(1)
    assert indexes(check) == [1]
    assert culprits(docket) == []
    finish(docket, check)
    assert culprits(docket) == [0] and docket.empty


def test_a_verdict_without_the_model_proves_nothing_and_a_fresh_child_has_to() -> None:
    docket = ClipQueue()
    docket.add(clips(0, 1))
    docket.next(1)
    docket.died({0}, GPU_FAULT)
    docket.next(1)
    docket.died({0}, GPU_FAULT)
    undecodable = docket.next(1)
    assert undecodable is not None and docket.settle(1, heard=False) is not None
    assert docket.close(undecodable.number)
    assert (culprits(docket), docket.needs_check, docket.empty) == ([], True, False)
    docket.works()
    assert (culprits(docket), docket.needs_check, docket.empty) == ([0], False, True)


def test_who_was_at_no_death_is_tried_before_other_suspects() -> None:
    docket = ClipQueue()
    docket.add(clips(0, 1))
    docket.add(clips(2))
    docket.next(2)
    docket.died({0, 1}, GPU_FAULT)
    for suspect in (0, 1, 0):
        assert indexes(docket.next(2)) == [suspect]
        assert not docket.died({suspect}, GPU_FAULT)
    check = docket.next(2)
    assert indexes(check) == [2]
    finish(docket, check)
    assert culprits(docket) == [0]
    assert indexes(docket.next(2)) == [1]


def test_a_gpu_that_fails_clip_after_clip_is_the_macs_fault() -> None:
    docket = ClipQueue()
    for index in range(MAX_ACCUSED + 1):
        docket.add(clips(index))
        assert die_alone_twice(docket, index, GPU_FAULT) is (index == MAX_ACCUSED)
        assert culprits(docket) == []


@given(st.sets(st.integers(0, 11)), st.integers(1, 8), st.randoms(use_true_random=False))
def test_every_clip_gets_one_end_whoever_kills(killers: set[int], batch_size: int, chance: object) -> None:
    """A child that dies as soon as a killer is under its hands, with whatever else it holds."""
    docket = ClipQueue()
    docket.add(clips(*range(6)))
    docket.add(clips(*range(6, 12)))
    heard: list[int] = []
    given_up: list[int] = []
    held: list[SentBatch] = []
    for _ in range(500):
        while (sent := docket.next(batch_size)) is not None:
            held.append(sent)
        assert len(held) <= LANE_BATCHES
        if not held:
            break
        sent = held.pop(0)
        touched = {clip.index for clip in sent.clips}
        if touched & killers:
            assert not docket.died(touched, CRASH)
            held.clear()
            given_up += culprits(docket)
        else:
            finish(docket, sent)
            heard += touched
    assert docket.empty
    assert sorted(given_up) == sorted(killers)
    assert sorted(heard) == sorted(set(range(12)) - killers)
