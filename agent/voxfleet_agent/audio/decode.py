"""From a clip on disk to samples for the model, through mlx-audio-io.

mlx-audio-io trusts the file's extension, returns short audio from damaged files without a word and passes NaN on, so
the clip is decoded under a name that fits its bytes and the result is held against its header.
"""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import mlx.core as mx
import mlx_audio_io  # type: ignore[import-untyped] # it ships no types

from voxfleet_agent.audio.conversions import plan_conversions
from voxfleet_agent.audio.facts import SCRATCH_PREFIX, HeaderFacts, damaged
from voxfleet_agent.audio.headers import refuse_duration
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.voice_contract import Container, VoiceContractSpec
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_api.results import Attestation

DECODER = f"mlx-audio-io {version('mlx-audio-io')}"
MAX_PEAK = 4.0
"""Lossy codecs overshoot 1.0 a little; a bit-flipped mp3 reaches 18."""

# wav and flac count samples exactly. An mp3 carries up to three frames of encoder and decoder delay and padding, an
# AAC track up to 2112 samples of delay and a frame of padding, and decoders differ in how much of it they cut off.
_TOLERANCE_FRAMES = {Container.WAV: 0, Container.FLAC: 0, Container.MP3: 3 * 1152, Container.M4A: 4 * 1024}


@dataclass(frozen=True, slots=True)
class DecodedClip:
    samples: mx.array
    """float32, (N,), one channel at the model's rate."""
    attestation: Attestation
    audio_milliseconds: int
    """As stored in the file, before any conversion."""


def open_clip(path: Path) -> BinaryIO:
    """Opens a clip; raises VoxFleetError(DECODE_ERROR) for what is not a regular file (a FIFO blocks for ever)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise damaged("is not a regular file")
    return os.fdopen(descriptor, "rb")


def decode(path: Path, facts: HeaderFacts, contract: VoiceContractSpec, model_rate_hz: int) -> DecodedClip:
    """Decodes a regular file that `headers.inspect` has seen, with no conversion but the contract's.

    Raises VoxFleetError(CONTRACT_VIOLATION | DECODE_ERROR).
    """
    plan = plan_conversions(facts, contract.conversions, model_rate_hz)
    # A second more than is accepted: enough to see that a clip is too long, too little to fill the memory.
    samples = _load(path, facts, duration_milliseconds(contract.input.max_clip) / 1000 + 1.0)
    frames = samples.shape[0]
    audio_milliseconds = frames * 1000 // facts.sample_rate_hz
    _check_length(frames, facts)
    violation = refuse_duration(audio_milliseconds, contract)
    if violation is not None:
        raise VoxFleetError(FailureClass.CONTRACT_VIOLATION, violation.reason)
    _check_samples(samples)
    if plan.downmix is not None:
        samples = mx.mean(samples, axis=1, keepdims=True)
    if plan.resample is not None:
        samples = mlx_audio_io.resample(samples, facts.sample_rate_hz, model_rate_hz, quality=plan.resample.quality)
    samples = samples.reshape(-1)
    mx.eval(samples)
    attestation = Attestation(
        container=facts.container,
        encoding=facts.encoding,
        sample_rate_hz=facts.sample_rate_hz,
        channels=facts.channels,
        conversions=plan.attested,
        decoder=DECODER,
    )
    return DecodedClip(samples, attestation, audio_milliseconds)


def _load(path: Path, facts: HeaderFacts, limit_seconds: float) -> mx.array:
    """Samples (N, channels) as stored."""
    with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX) as folder:
        link = Path(folder) / f"clip.{facts.container}"
        link.symlink_to(path.absolute())
        try:
            loaded: tuple[mx.array, int] = mlx_audio_io.load(link, duration=limit_seconds)
        except (ValueError, RuntimeError, MemoryError) as error:
            detail = str(error).replace(str(link), "the clip").replace(link.name, "the clip")
            raise damaged(f"cannot be decoded: {detail[:180]}") from error
    samples, rate_hz = loaded
    if rate_hz != facts.sample_rate_hz or samples.ndim != 2 or samples.shape[1] != facts.channels:
        raise damaged(
            f"decodes to {samples.shape[-1]} channels at {rate_hz} Hz,"
            f" but its header says {facts.channels} at {facts.sample_rate_hz} Hz"
        )
    return samples


def _check_length(frames: int, facts: HeaderFacts) -> None:
    if frames == 0:
        raise damaged("holds no audio")
    if facts.frames is None:
        return
    if abs(frames - facts.frames) > _TOLERANCE_FRAMES[facts.container]:
        raise damaged(
            f"decodes to {frames * 1000 // facts.sample_rate_hz} ms,"
            f" but its header announces {facts.audio_milliseconds} ms"
        )


def _check_samples(samples: mx.array) -> None:
    if not bool(mx.all(mx.isfinite(samples)).item()):
        raise damaged("holds samples that are not finite numbers")
    if bool(mx.any(mx.abs(samples) > MAX_PEAK).item()):
        raise damaged(f"holds samples beyond {MAX_PEAK:g} times full scale, which is damage")
