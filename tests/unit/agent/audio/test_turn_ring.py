"""The ring of a session's latest audio."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from voxfleet_agent.audio.turn_ring import BLOCK_FRAMES, Samples, TurnRing, TurnRingFull

BLOCK_BYTES = BLOCK_FRAMES * 4


def numbered(start: int, frames: int) -> Samples:
    """Samples that tell their frame numbers."""
    return np.arange(start, start + frames).astype(np.float32)


def test_frames_keep_their_numbers() -> None:
    ring = TurnRing(100)
    ring.write(numbered(0, 60))
    ring.drop_before(50)
    ring.write(numbered(60, 90))
    assert (ring.start_frame, ring.end_frame) == (50, 150)
    np.testing.assert_array_equal(ring.read(50, 150), numbered(50, 100))
    np.testing.assert_array_equal(ring.read(149, 150), numbered(149, 1))
    assert ring.read(70, 70).size == 0


def test_what_is_read_is_a_copy() -> None:
    ring = TurnRing(10)
    ring.write(numbered(0, 5))
    ring.read(0, 5)[:] = 7
    np.testing.assert_array_equal(ring.read(0, 5), numbered(0, 5))


def test_a_write_beyond_the_capacity_writes_nothing() -> None:
    ring = TurnRing(10)
    ring.write(numbered(0, 4))
    with pytest.raises(TurnRingFull, match="7 more frames make 11, and the ring holds 10"):
        ring.write(numbered(4, 7))
    assert ring.end_frame == 4
    ring.write(numbered(4, 6))
    np.testing.assert_array_equal(ring.read(0, 10), numbered(0, 10))


@pytest.mark.parametrize(("start", "end"), [(1, 5), (2, 7), (4, 3), (-1, 3)])
def test_frames_that_are_not_held_cannot_be_read(start: int, end: int) -> None:
    ring = TurnRing(10)
    ring.write(numbered(0, 6))
    ring.drop_before(2)
    with pytest.raises(ValueError, match="not held, but 2 to 6"):
        ring.read(start, end)


def test_the_future_cannot_be_dropped_and_the_past_stays_gone() -> None:
    ring = TurnRing(10)
    ring.write(numbered(0, 6))
    with pytest.raises(ValueError, match="frame 7 has not come yet"):
        ring.drop_before(7)
    ring.drop_before(4)
    ring.drop_before(1)
    assert ring.start_frame == 4


def test_a_ring_takes_memory_for_what_it_holds() -> None:
    ring = TurnRing(100 * BLOCK_FRAMES)
    assert ring.allocated_bytes == 0
    ring.write(numbered(0, 1))
    assert ring.allocated_bytes == BLOCK_BYTES
    ring.write(numbered(1, 3 * BLOCK_FRAMES))
    assert ring.allocated_bytes == 4 * BLOCK_BYTES
    ring.drop_before(3 * BLOCK_FRAMES)
    assert ring.allocated_bytes == BLOCK_BYTES
    ring.drop_before(3 * BLOCK_FRAMES + 1)
    assert ring.allocated_bytes == 0


@given(st.integers(1, 3 * BLOCK_FRAMES), st.integers(1, 3 * BLOCK_FRAMES))
def test_a_session_that_drops_what_it_reads_takes_no_more_memory_however_long_it_is(frames: int, kept: int) -> None:
    ring = TurnRing(frames + kept)
    for _ in range(20):
        ring.write(np.zeros(frames, np.float32))
        assert ring.allocated_bytes <= (ring.capacity_frames // BLOCK_FRAMES + 2) * BLOCK_BYTES
        ring.drop_before(max(0, ring.end_frame - kept))


class RingAgainstArray(RuleBasedStateMachine):
    """Every write, read and drop is as with an array that forgets nothing."""

    capacity_frames = 2 * BLOCK_FRAMES + 7

    def __init__(self) -> None:
        super().__init__()
        self.ring = TurnRing(self.capacity_frames)
        self.dropped = 0
        self.written = 0

    @rule(frames=st.integers(0, BLOCK_FRAMES + 3) | st.sampled_from([BLOCK_FRAMES, 2 * BLOCK_FRAMES]))
    def write(self, frames: int) -> None:
        if self.written + frames - self.dropped > self.capacity_frames:
            with pytest.raises(TurnRingFull):
                self.ring.write(numbered(self.written, frames))
        else:
            self.ring.write(numbered(self.written, frames))
            self.written += frames

    @precondition(lambda self: self.written > self.dropped)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        start = data.draw(st.integers(self.dropped, self.written))
        end = data.draw(st.integers(start, self.written))
        np.testing.assert_array_equal(self.ring.read(start, end), numbered(start, end - start))

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        frame = data.draw(st.integers(0, self.written))
        self.ring.drop_before(frame)
        self.dropped = max(self.dropped, frame)

    @invariant()
    def all_is_held(self) -> None:
        assert (self.ring.start_frame, self.ring.end_frame) == (self.dropped, self.written)
        np.testing.assert_array_equal(
            self.ring.read(self.dropped, self.written), numbered(self.dropped, self.written - self.dropped)
        )


TestRingAgainstArray = RingAgainstArray.TestCase
TestRingAgainstArray.settings = settings(max_examples=25, stateful_step_count=25)
