"""Whether what the decoder gives is what the header says. One rule for all containers; pure.

Rate and channels must be the header's, or one of the formats that the header leaves open. The number of samples may
differ from the header's by the container's tolerance:

- wav, aiff, flac and PCM in caf state it exactly: none.
- An mp3 has up to three frames of encoder delay, decoder delay and padding, of which decoders cut off more or less:
  three frames of 1152 samples, which are 26 to 72 ms at the usual rates.
- An AAC track has up to 2112 samples of delay and one packet of padding: four packets. With spectral band replication
  a packet decodes to twice as many samples.
"""

from __future__ import annotations

import dataclasses

from voxfleet_agent.audio.header_facts import HeaderFacts, damaged
from voxfleet_api.kinds.contract_input import Container, Encoding

MP3_TOLERANCE_FRAMES = 3 * 1152
_AAC_TOLERANCE_PACKETS = 4
_AAC_PACKET_FRAMES = 1024


def tolerance_frames(facts: HeaderFacts) -> int:
    """By how many samples of one channel the decoder may differ from the header."""
    if facts.container is Container.MP3:
        return MP3_TOLERANCE_FRAMES
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
    """Raises VoxFleetError(DECODE_ERROR) when the decoded samples are not as many as the header says."""
    if decoded_frames == 0:
        raise damaged(
            "decodes to no audio"
            if facts.frames is None
            else f"decodes to no audio, but its header announces {facts.frames} samples of each channel"
        )
    if facts.frames is not None and abs(decoded_frames - facts.frames) > tolerance_frames(facts):
        raise damaged(f"decodes to {decoded_frames} samples of each channel, but its header announces {facts.frames}")


def _format(rate_hz: int, channels: int) -> str:
    return f"{channels} channel{'' if channels == 1 else 's'} at {rate_hz} Hz"
