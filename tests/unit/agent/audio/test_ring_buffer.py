"""The ring of decoded audio."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.audio.ring_buffer import RingBuffer, RingSlot, ring_frames
from voxfleet_api.kinds.contract_input import ContractInput, Conversions, Windows
from voxfleet_api.kinds.contract_limits import Buffer
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

END_SECONDS = 30.0


def samples(frames: int, value: float = 1.0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.full(frames, value, np.float32)


def test_a_ring_is_as_long_as_the_longest_piece_with_headroom() -> None:
    spec = VoiceContractSpec(
        input=ContractInput.model_validate(
            {"containers": ("wav",), "sample_rates_hz": (16_000,), "channels": (1,), "max_clip": "10s"}
        ),
        buffer=Buffer(headroom_percent=50),
    )
    slack = 160  # 10 ms, for rounding
    assert ring_frames(spec, 16_000) == 240_000 + slack
    windowed = spec.model_copy(update={"conversions": Conversions(windows=Windows(length="2s", seek="1s"))})
    assert ring_frames(windowed, 16_000) == 48_000 + slack
    long_windows = spec.model_copy(update={"conversions": Conversions(windows=Windows(length="60s"))})
    assert ring_frames(long_windows, 16_000) == 240_000 + slack


def test_pieces_come_out_as_they_went_in() -> None:
    ring = RingBuffer(10)
    first, second = ring.write(samples(4, 0.1)), ring.write(samples(5, 0.2))
    assert (first, second) == (RingSlot(0, 4), RingSlot(4, 5))
    assert ring.high_water_bytes == 36
    np.testing.assert_array_equal(ring.take(first), samples(4, 0.1))
    third = ring.write(samples(3, 0.3))
    assert third == RingSlot(0, 3)  # one run of frames: not one at the end and two at the beginning
    np.testing.assert_array_equal(ring.take(second), samples(5, 0.2))
    np.testing.assert_array_equal(ring.take(third), samples(3, 0.3))
    assert ring.high_water_bytes == 36


def test_taken_samples_are_a_copy() -> None:
    ring = RingBuffer(4)
    taken = ring.take(ring.write(samples(4, 0.1)))
    ring.write(samples(4, 0.2))
    np.testing.assert_array_equal(taken, samples(4, 0.1))


def test_a_piece_that_can_never_fit_is_an_error() -> None:
    ring = RingBuffer(4)
    with pytest.raises(ValueError, match="5 frames do not fit"):
        ring.write(samples(5))
    with pytest.raises(ValueError, match="0 frames"):
        ring.write(samples(0))


def test_slots_are_read_in_order() -> None:
    ring = RingBuffer(4)
    ring.write(samples(2))
    second = ring.write(samples(2))
    with pytest.raises(ValueError, match="order"):
        ring.take(second)


def test_a_full_ring_makes_the_writer_wait() -> None:
    ring = RingBuffer(4)
    first = ring.write(samples(3, 0.1))
    written: list[RingSlot] = []
    writer = threading.Thread(target=lambda: written.append(ring.write(samples(3, 0.2))))
    writer.start()
    writer.join(0.05)
    assert writer.is_alive() and not written
    ring.take(first)
    writer.join(END_SECONDS)
    assert written == [RingSlot(0, 3)]
    np.testing.assert_array_equal(ring.take(written[0]), samples(3, 0.2))


@given(st.integers(1, 40), st.data())
def test_no_piece_is_lost_or_overwritten(size: int, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, size), min_size=1, max_size=60))
    ring = RingBuffer(size)
    slots: list[RingSlot] = []
    ready = threading.Semaphore(0)

    def write() -> None:
        for number, length in enumerate(lengths):
            slots.append(ring.write(samples(length, number)))
            ready.release()

    writer = threading.Thread(target=write)
    writer.start()
    for number, length in enumerate(lengths):
        assert ready.acquire(timeout=END_SECONDS)
        np.testing.assert_array_equal(ring.take(slots[number]), samples(length, number))
    writer.join(END_SECONDS)
    assert ring.high_water_bytes <= ring.size_bytes
