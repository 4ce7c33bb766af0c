"""The most memory that decoding one clip, or one window, takes. Pure: admission uses it without MLX."""

from __future__ import annotations

from voxfleet_agent.audio.levels import STRETCH_SAMPLES
from voxfleet_agent.audio.windows import WindowRule
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import duration_milliseconds

BLOCK_SAMPLES = 2**17
"""The number of samples decoded at once, all channels together."""
SPARE_MILLISECONDS = 1000
"""How much is decoded beyond maxClip, so that a clip that is too long is recognized."""
_FLOAT_BYTES = 4
_RESAMPLING_BYTES = 12
"""Bytes per input sample and per output sample: soxr_vhq keeps them all as doubles, and mlx-audio-io copies them once.

Measured with mlx-audio-io 1.3.24 from 8,000 to 384,000 Hz: 12.0 bytes; with soxr_hq 8.0.
"""
_DECODER_BYTES = 48 * 2**20
"""The bytes of libav's tables for 16 MiB of m4a header, its pending samples, and its blocks."""

_STRETCHES = 2
"""The stretch whose levels are compared, and the copies and spectra that looking for speech in it takes."""


def working_set_bytes(contract: VoiceContractSpec) -> int:
    """The bytes for the largest clip that the contract accepts: its samples in one channel, and their resampling."""
    stretch_bytes = 0
    if contract.conversions.downmix is not None:
        stretch_bytes = _STRETCHES * STRETCH_SAMPLES * _FLOAT_BYTES
    return (
        _DECODER_BYTES
        + stretch_bytes
        + max(_piece_bytes(contract, rate_hz) for rate_hz in contract.input.sample_rates_hz)
    )


def _piece_bytes(contract: VoiceContractSpec, rate_hz: int) -> int:
    conversions = contract.conversions
    clip_frames = (duration_milliseconds(contract.input.max_clip) + SPARE_MILLISECONDS) * rate_hz // 1000
    buffered_frames, piece_frames = clip_frames, clip_frames
    if conversions.windows is not None:
        rule = WindowRule.of(conversions.windows, rate_hz)
        piece_frames = min(clip_frames, rule.length_frames)
        # The buffer that windows are cut from, and the window itself.
        buffered_frames = min(clip_frames, rule.ahead_frames + BLOCK_SAMPLES) + piece_frames
    size_bytes = buffered_frames * _FLOAT_BYTES
    if conversions.resample is not None and conversions.resample.to_hz != rate_hz:
        resampled_frames = piece_frames * conversions.resample.to_hz // rate_hz
        size_bytes += (piece_frames + resampled_frames) * _RESAMPLING_BYTES
    return size_bytes
