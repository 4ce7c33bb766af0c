"""The one rule by which header and decoder are compared."""

from __future__ import annotations

import dataclasses

import pytest

from voxfleet_agent.audio.decoder_agreement import agreed_facts, refuse_other_length, tolerance_frames
from voxfleet_agent.audio.header_facts import HeaderFacts
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Container, Encoding

AAC = HeaderFacts(
    Container.M4A,
    Encoding.AAC,
    22_050,
    1,
    1_000,
    22_050,
    priming_frames=1_024,
    other_formats=((44_100, 1), (44_100, 2)),
)


def test_what_the_header_says_is_taken_as_it_is() -> None:
    assert agreed_facts(AAC, 22_050, 1) is AAC


@pytest.mark.parametrize("channels", [1, 2])
def test_what_the_header_leaves_open_is_taken_from_the_decoder(channels: int) -> None:
    facts = agreed_facts(AAC, 44_100, channels)
    assert (facts.sample_rate_hz, facts.channels, facts.frames, facts.priming_frames) == (
        44_100,
        channels,
        44_100,
        2_048,
    )
    assert facts.audio_milliseconds == AAC.audio_milliseconds
    assert tolerance_frames(facts) == 2 * tolerance_frames(AAC)


@pytest.mark.parametrize(
    ("rate_hz", "channels", "said"),
    [
        (22_050, 2, "2 channels at 22050 Hz"),
        (48_000, 1, "1 channel at 48000 Hz"),
        (44_100, 3, "3 channels at 44100 Hz"),
    ],
)
def test_anything_else_is_damage(rate_hz: int, channels: int, said: str) -> None:
    with pytest.raises(VoxFleetError) as caught:
        agreed_facts(AAC, rate_hz, channels)
    assert caught.value.failure_class is FailureClass.DECODE_ERROR
    assert caught.value.message == f"decodes to {said}, but its header says 1 channel at 22050 Hz"


@pytest.mark.parametrize(
    ("container", "encoding", "tolerance"),
    [
        (Container.WAV, Encoding.PCM16, 0),
        (Container.AIFF, Encoding.PCM24, 0),
        (Container.FLAC, Encoding.FLAC, 0),
        (Container.CAF, Encoding.FLOAT32, 0),
        (Container.CAF, Encoding.AAC, 4_096),
        (Container.M4A, Encoding.AAC, 4_096),
    ],
)
def test_lengths_differ_by_no_more_than_the_tolerance_of_the_container(
    container: Container, encoding: Encoding, tolerance: int
) -> None:
    facts = dataclasses.replace(AAC, container=container, encoding=encoding, frames=100_000)
    for decoded in (100_000 - tolerance, 100_000, 100_000 + tolerance):
        refuse_other_length(facts, decoded)
    for decoded in (100_000 - tolerance - 1, 100_000 + tolerance + 1):
        with pytest.raises(VoxFleetError) as caught:
            refuse_other_length(facts, decoded)
        assert caught.value.message == (
            f"decodes to {decoded} samples of each channel ({decoded * 1000 // 22_050} ms),"
            " but its header announces 100000 samples of each channel (4535 ms)"
        )


def test_no_audio_is_told_with_what_was_announced() -> None:
    with pytest.raises(VoxFleetError, match="decodes to no audio, but its header announces 22050 samples"):
        refuse_other_length(AAC, 0)
