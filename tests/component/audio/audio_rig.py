"""Clips of known samples, and contracts that accept them."""

from __future__ import annotations

from pathlib import Path

import mlx_audio_io  # type: ignore[import-untyped] # it ships no types
import numpy as np
import numpy.typing as npt

from voxfleet_agent.audio.decode import AudioDecoder, open_decoder
from voxfleet_api.kinds.contract_input import (
    Container,
    ContractInput,
    Conversions,
    Downmix,
    Resample,
    ResampleQuality,
    Truncated,
    Windows,
)
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

Samples = npt.NDArray[np.float32]
RATES_HZ = (8_000, 16_000, 22_050, 44_100, 48_000)


def contract(
    *,
    to_hz: int | None = 16_000,
    quality: ResampleQuality = ResampleQuality.SOXR_VHQ,
    downmix: bool = True,
    windows: Windows | None = None,
    max_clip: str = "10m",
    min_clip: str = "1ms",
    channels: tuple[int, ...] = tuple(range(1, 9)),
    truncated: Truncated = Truncated.REFUSE,
) -> VoiceContractSpec:
    return VoiceContractSpec(
        input=ContractInput(
            containers=tuple(Container),
            sample_rates_hz=RATES_HZ,
            channels=channels,
            max_clip=max_clip,
            min_clip=min_clip,
            truncated=truncated,
        ),
        conversions=Conversions(
            resample=None if to_hz is None else Resample(to_hz=to_hz, quality=quality),
            downmix=Downmix() if downmix else None,
            windows=windows,
        ),
    )


def noise(frames: int, channels: int = 1, seed: int = 1) -> Samples:
    """Noise, (frames, channels), within full scale."""
    drawn = np.random.default_rng(seed).standard_normal((frames, channels)) * 0.2
    return drawn.clip(-0.99, 0.99).astype(np.float32)


def tone(frames: int, rate_hz: int, frequency_hz: float = 440.0) -> Samples:
    """A sine, (frames, 1)."""
    angle = 2 * np.pi * frequency_hz * np.arange(frames) / rate_hz
    return (0.5 * np.sin(angle)).astype(np.float32).reshape(-1, 1)


def stored(samples: Samples, bits: int, *, big: bool = False) -> tuple[bytes, Samples]:
    """Samples as integers of 16, 24 or 32 bits, or as floats for 0 bits, and the samples that a reader gets back."""
    order = ">" if big else "<"
    if bits == 0:
        return samples.astype(f"{order}f4").tobytes(), samples
    scale = 2.0 ** (bits - 1)
    whole = np.rint(samples.astype(np.float64) * scale).clip(-scale, scale - 1)
    read = (whole / scale).astype(np.float32)
    if bits == 24:
        numbers = whole.astype(f"{order}i4").view(np.uint8).reshape(-1, 4)
        return (numbers[:, 1:] if big else numbers[:, :3]).tobytes(), read
    return whole.astype(f"{order}i{bits // 8}").tobytes(), read


def save(path: Path, samples: Samples, rate_hz: int, encoding: str = "auto") -> Path:
    """Saves with mlx-audio-io, in the container of the file's suffix."""
    mlx_audio_io.save(path, samples, rate_hz, layout="channels_last", encoding=encoding, clip=False)
    return path


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def decode(path: Path, spec: VoiceContractSpec, rate_hz: int) -> tuple[AudioDecoder, list[Samples]]:
    decoding = open_decoder(path, spec, rate_hz)
    return decoding, list(decoding.pieces())
