"""Whether what the decoder gives is what the header says. One rule for all containers; pure.

Rate and channels must be the header's, or one of the formats that the header leaves open. The number of samples may
differ from the header's by the container's tolerance:

- wav, aiff, flac and PCM in caf state it exactly: none.
- An mp3 whose length header the decoder is given has up to three frames of delay and padding, of which decoders cut off
  more or less: three frames of 1152 samples. Of an mp3 without one they give every frame, but for one frame and their
  own delay of 529 samples; what lies before the file they may leave out.
- An AAC track has up to 2112 samples of delay and one packet of padding: four packets. With spectral band replication
  a packet decodes to twice as many samples.
"""

from __future__ import annotations

import dataclasses

from voxfleet_agent.audio.header_facts import HeaderFacts, damaged
from voxfleet_api.kinds.contract_input import Container, Encoding

_MP3_TOLERANCE_FRAMES = 3 * 1152
_MP3_COUNTED_TOLERANCE_FRAMES = 1152 + 529
_AAC_TOLERANCE_PACKETS = 4
_AAC_PACKET_FRAMES = 1024


def tolerance_frames(facts: HeaderFacts) -> int:
    """By how many samples of one channel the decoder may differ from the header."""
    if facts.container is Container.MP3:
        return _MP3_TOLERANCE_FRAMES if facts.trimmed else _MP3_COUNTED_TOLERANCE_FRAMES
    if facts.encoding is Encoding.AAC:
        return _AAC_TOLERANCE_PACKETS * _AAC_PACKET_FRAMES * facts.replication
    return 0


def agreed_facts(facts: HeaderFacts, rate_hz: int, channels: int) -> HeaderFacts:
    """The facts in the format that the decoder gives.

    Raises VoxFleetError(DECODE_ERROR) when the header excludes it.
    """
    if (rate_hz, channels) == (facts.sample_rate_hz, facts.channels):
        return facts
    if (rate_hz, channels) not in facts.other_formats:
        raise damaged(
            f"decodes to {_format(rate_hz, channels)}, but its header says"
            f" {_format(facts.sample_rate_hz, facts.channels)}"
        )

    def scaled(frames: int) -> int:
        return frames * rate_hz // facts.sample_rate_hz

    return dataclasses.replace(
        facts,
        sample_rate_hz=rate_hz,
        channels=channels,
        frames=None if facts.frames is None else scaled(facts.frames),
        priming_frames=scaled(facts.priming_frames),
        replication=facts.replication * max(1, rate_hz // facts.sample_rate_hz),
    )


def refuse_other_length(facts: HeaderFacts, decoded_frames: int) -> None:
    """Raises VoxFleetError(DECODE_ERROR) when the decoded samples are not as many as the header or the frames say."""
    if facts.frames is None:
        if decoded_frames == 0:
            raise damaged("decodes to no audio")
        return
    tolerance = tolerance_frames(facts)
    fewest = facts.frames - facts.undecodable_frames - tolerance
    if decoded_frames == 0 or not fewest <= decoded_frames <= facts.frames + tolerance:
        decoded = _length(facts, decoded_frames) if decoded_frames else "no audio"
        stated = "its frames hold" if facts.counted else "its header announces"
        raise damaged(f"decodes to {decoded}, but {stated} {_length(facts, facts.frames)}")


def _length(facts: HeaderFacts, frames: int) -> str:
    return f"{frames} samples of each channel ({frames * 1000 // facts.sample_rate_hz} ms)"


def _format(rate_hz: int, channels: int) -> str:
    return f"{channels} channel{'' if channels == 1 else 's'} at {rate_hz} Hz"
