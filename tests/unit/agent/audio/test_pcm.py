"""16-bit audio off a stream and back onto one, sample for sample."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.audio.pcm import PcmDecoder, pcm16, within_full_scale
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import Clipping


@given(st.binary(max_size=64), st.lists(st.integers(0, 64), max_size=10))
def test_where_a_stream_is_cut_does_not_matter(data: bytes, cuts: list[int]) -> None:
    decoder, heard = PcmDecoder(), [np.zeros(0, np.float32)]
    borders = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for begin, end in itertools.pairwise(borders):
        heard.append(decoder.feed(data[begin:end]))
        assert decoder.pending == (end % 2 == 1)
        assert heard[-1].dtype == np.float32
    whole = data[: len(data) // 2 * 2]
    expected = np.frombuffer(whole, "<i2") / 32768
    np.testing.assert_array_equal(np.concatenate(heard), expected)
    assert pcm16(np.concatenate(heard)) == whole


def test_a_frame_of_one_byte_waits_for_the_other() -> None:
    decoder = PcmDecoder()
    assert decoder.feed(b"\x00").size == 0 and decoder.pending
    assert decoder.feed(b"").size == 0 and decoder.pending
    assert decoder.feed(b"\x80").tolist() == [-1.0] and not decoder.pending


def test_samples_round_to_the_nearest_step_and_never_wrap_around() -> None:
    steps = np.array([0.0, 0.6, -0.6, 0.4, 32767.0, 32768.0, 40000.0, -32768.0, -40000.0], np.float32)
    integers = np.frombuffer(pcm16(steps / np.float32(32768)), "<i2")
    assert integers.tolist() == [0, 1, -1, 0, 32767, 32767, 32767, -32768, -32768]


@pytest.mark.parametrize("clipping", Clipping)
def test_what_is_within_full_scale_stays_as_it_is(clipping: Clipping) -> None:
    for samples in (np.array([1.0, -1.0, 0.3], np.float32), np.zeros(0, np.float32)):
        assert within_full_scale(samples, clipping) is samples


def test_what_is_beyond_full_scale_follows_the_contract() -> None:
    samples = np.array([0.5, -1.25, 1.1], np.float32)
    assert within_full_scale(samples, Clipping.LIMIT).tolist() == [0.5, -1.0, 1.0]
    with pytest.raises(VoxFleetError, match=r"1\.250 times full scale; write output\.audio\.clipping") as refusal:
        within_full_scale(samples, Clipping.REFUSE)
    assert refusal.value.failure_class is FailureClass.CONTRACT_VIOLATION


@pytest.mark.parametrize("sample", [np.nan, np.inf, -np.inf])
def test_a_model_that_speaks_no_numbers_has_failed(sample: float) -> None:
    with pytest.raises(VoxFleetError, match="finite") as failure:
        within_full_scale(np.array([0.0, sample], np.float32), Clipping.LIMIT)
    assert failure.value.failure_class is FailureClass.INFERENCE_ERROR
