"""Which clips a child is given, and what its death says about them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.pools.docket import MAX_DEATHS_IN_A_ROW, MAX_SENT, Docket, Sent
from voxfleet_agent.stages.stage import ClipTask


def clips(*indexes: int) -> list[ClipTask]:
    return [ClipTask(index, Path(f"/clip-{index}")) for index in indexes]


def indexes(sent: Sent | None) -> list[int] | None:
    return None if sent is None else [clip.index for clip in sent.clips]


def finish(docket: Docket, sent: Sent | None) -> None:
    assert sent is not None
    for clip in sent.clips:
        assert docket.settle(clip.index) == clip
    assert docket.close(sent.number)


def test_two_batches_are_out_and_no_third_is_asked_for() -> None:
    docket = Docket()
    assert (docket.wants_more, docket.empty, docket.idle) == (True, True, True)
    docket.add(clips(0, 1, 2))
    assert (docket.wants_more, docket.empty) == (False, False)
    first = docket.next(2)
    assert indexes(first) == [0, 1]
    second = docket.next(2)
    assert indexes(second) == [2]
    assert (docket.wants_more, docket.next(2)) == (False, None)
    finish(docket, first)
    assert (docket.wants_more, docket.empty, docket.idle) == (True, False, False)
    finish(docket, second)
    assert (docket.empty, docket.idle) == (True, True)


def test_a_batch_closes_only_when_every_clip_has_its_verdict() -> None:
    docket = Docket()
    docket.add(clips(0, 1))
    sent = docket.next(2)
    assert sent is not None
    docket.settle(0)
    assert not docket.close(sent.number)
    docket.settle(1)
    assert docket.close(sent.number) and not docket.close(sent.number)
    assert docket.settle(1) is None


def test_suspects_go_alone_before_the_others() -> None:
    docket = Docket()
    docket.add(clips(0, 1, 2))
    docket.add(clips(3, 4))
    docket.next(3)
    docket.next(3)
    assert docket.died({1, 2}) is None
    for suspect in (1, 2):
        alone = docket.next(3)
        assert indexes(alone) == [suspect]
        assert docket.next(3) is None and not docket.wants_more
        finish(docket, alone)
    rest = docket.next(3)
    assert indexes(rest) == [0, 3, 4]


def test_a_clip_that_dies_alone_twice_is_given_up() -> None:
    docket = Docket()
    docket.add(clips(0, 1))
    docket.next(2)
    assert docket.died({0, 1}) is None
    assert indexes(docket.next(2)) == [0]
    assert docket.died({0}) is None
    assert docket.deaths_alone(0) == 1
    finish(docket, docket.next(2))  # the other suspect waited longer
    assert indexes(docket.next(2)) == [0]
    culprit = docket.died({0})
    assert culprit is not None and culprit.index == 0
    assert docket.empty


def test_a_death_that_no_clip_explains_gives_all_of_them_again() -> None:
    docket = Docket()
    docket.add(clips(0, 1))
    docket.next(2)
    assert docket.died(frozenset()) is None
    assert indexes(docket.next(2)) == [0, 1]
    assert docket.died({77}) is None
    assert indexes(docket.next(2)) == [0, 1]


def test_deaths_without_a_verdict_between_them_are_a_storm() -> None:
    docket = Docket()
    docket.add(clips(0, 1))
    for _ in range(MAX_DEATHS_IN_A_ROW):
        docket.next(2)
        docket.died(frozenset())
    assert not docket.stormy
    docket.next(2)
    docket.died(frozenset())
    assert docket.stormy


def test_a_verdict_ends_the_row_of_deaths() -> None:
    docket = Docket()
    docket.add(clips(0, 1))
    for _ in range(MAX_DEATHS_IN_A_ROW):
        docket.next(2)
        docket.died(frozenset())
    docket.next(2)
    docket.settle(0)
    docket.died(frozenset())
    assert not docket.stormy


@given(st.sets(st.integers(0, 11)), st.integers(1, 8), st.randoms(use_true_random=False))
def test_every_clip_gets_one_end_whoever_kills(killers: set[int], batch_size: int, chance: object) -> None:
    """A child that dies as soon as a killer is under its hands, with whatever else it holds."""
    docket = Docket()
    docket.add(clips(*range(6)))
    docket.add(clips(*range(6, 12)))
    heard: list[int] = []
    given_up: list[int] = []
    held: list[Sent] = []
    for _ in range(500):
        while (sent := docket.next(batch_size)) is not None:
            held.append(sent)
        assert len(held) <= MAX_SENT
        if not held:
            break
        sent = held.pop(0)
        touched = {clip.index for clip in sent.clips}
        if touched & killers:
            culprit = docket.died(touched)
            held.clear()
            if culprit is not None:
                given_up.append(culprit.index)
        else:
            finish(docket, sent)
            heard += touched
    assert docket.empty
    assert sorted(given_up) == sorted(killers)
    assert sorted(heard) == sorted(set(range(12)) - killers)
