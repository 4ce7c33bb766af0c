"""Every accepted container and encoding returns the samples that were stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.component.audio.audio_rig import contract, decode, noise, save, stored, tone, write
from tests.unit.agent.audio.audio_bytes import (
    CAF_FLOAT,
    CAF_LITTLE,
    FLOAT,
    PCM,
    aiff,
    caf,
    caf_chunk,
    caf_of_aac,
    core_audio_layout,
    extensible_wav,
    wav,
)

from voxfleet_agent.audio.decode import DECODER

FRAMES = 20_011
PCM_BITS = {16: "pcm16", 24: "pcm24", 32: "pcm32", 0: "float32"}


@pytest.mark.parametrize("bits", PCM_BITS)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_wav(tmp_path: Path, bits: int, channels: int) -> None:
    audio, read = stored(noise(FRAMES, channels), bits)
    content = wav(PCM if bits else FLOAT, bits or 32, 44_100, channels, audio=audio)
    _check(tmp_path, content, "wav", read, PCM_BITS[bits])


@pytest.mark.parametrize("bits", [16, 24])
def test_extensible_wav(tmp_path: Path, bits: int) -> None:
    audio, read = stored(noise(FRAMES), bits)
    _check(tmp_path, extensible_wav(PCM, bits, audio=audio), "wav", read, PCM_BITS[bits], rate_hz=16_000)


def test_wav_of_a_pipe(tmp_path: Path) -> None:
    audio, read = stored(noise(FRAMES), 16)
    _check(tmp_path, wav(rate_hz=44_100, audio=audio, announced_bytes=0xFFFFFFFF), "wav", read, "pcm16")


@pytest.mark.parametrize(
    ("code", "bits", "big"),
    [
        (None, 16, True),
        (None, 24, True),
        (None, 32, True),
        (b"NONE", 24, True),
        (b"twos", 16, True),
        (b"twos", 24, True),
        (b"sowt", 16, False),
        (b"in24", 24, True),
        (b"in32", 32, True),
        (b"fl32", 0, True),
        (b"FL32", 0, True),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_aiff(tmp_path: Path, code: bytes | None, bits: int, big: bool, channels: int) -> None:
    audio, read = stored(noise(FRAMES, channels), bits, big=big)
    content = aiff(code, bits or 32, 44_100, channels, FRAMES, audio=audio)
    _check(tmp_path, content, "aiff", read, PCM_BITS[bits])


def test_odd_aiff(tmp_path: Path) -> None:
    """The audio starts later than usual and precedes the description."""
    audio, read = stored(noise(FRAMES), 24, big=True)
    content = aiff(None, 24, 44_100, 1, FRAMES, audio=audio, skipped=bytes(6))
    _check(tmp_path, content, "aiff", read, "pcm24")
    _check(tmp_path, aiff(None, 24, 44_100, 1, FRAMES, audio=audio, sound_first=True), "aiff", read, "pcm24")


@pytest.mark.parametrize("bits", PCM_BITS)
@pytest.mark.parametrize("big", [True, False])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_caf(tmp_path: Path, bits: int, big: bool, channels: int) -> None:
    audio, read = stored(noise(FRAMES, channels), bits, big=big)
    flags = (0 if big else CAF_LITTLE) | (0 if bits else CAF_FLOAT)
    _check(tmp_path, caf(flags, bits or 32, 44_100.0, channels, audio=audio), "caf", read, PCM_BITS[bits])


def test_caf_to_the_end_of_the_file(tmp_path: Path) -> None:
    audio, read = stored(noise(FRAMES), 16)
    _check(tmp_path, caf(rate_hz=44_100.0, audio=audio, announced_bytes=-1), "caf", read, "pcm16")


@pytest.mark.parametrize(
    ("channels", "tag"), [(2, 101), (2, 102), (3, 133), (4, 115), (5, 117), (6, 121), (8, 128), (3, 147), (7, 147)]
)
def test_kept_layouts_keep_each_channel(tmp_path: Path, channels: int, tag: int) -> None:
    audio, read = stored(noise(FRAMES, channels), 16)
    layout = caf_chunk(b"chan", core_audio_layout(tag, channels))
    _check(tmp_path, caf(rate_hz=44_100.0, channels=channels, audio=audio, extra=layout), "caf", read, "pcm16")


@pytest.mark.parametrize(("channels", "mask"), [(2, 0x3), (3, 0xB), (4, 0x107), (5, 0x607), (6, 0x60F), (7, 0x70F)])
def test_kept_masks_keep_each_channel(tmp_path: Path, channels: int, mask: int) -> None:
    audio, read = stored(noise(FRAMES, channels), 16)
    layout = caf_chunk(b"chan", core_audio_layout(1, 0, mask))
    _check(tmp_path, caf(rate_hz=44_100.0, channels=channels, audio=audio, extra=layout), "caf", read, "pcm16")


@pytest.mark.parametrize("channels", [1, 2, 5, 6, 8])
@pytest.mark.parametrize("bits", [16, 24])
def test_flac(tmp_path: Path, bits: int, channels: int) -> None:
    _, read = stored(noise(FRAMES, channels), bits)
    content = save(tmp_path / "saved.flac", read, 44_100, f"pcm{bits}").read_bytes()
    _check(tmp_path, content, "flac", read, "flac")


@pytest.mark.parametrize("container", ["mp3", "m4a", "caf"])
def test_lossy_encodings_keep_time_and_level(tmp_path: Path, container: str) -> None:
    original = tone(44_100, 44_100)
    if container == "caf":
        m4a = save(tmp_path / "saved.m4a", original, 44_100).read_bytes()
        path = write(tmp_path / "x.caf", caf_of_aac(m4a, 44_100.0, 1))
    else:
        path = save(tmp_path / f"x.{container}", original, 44_100)
    decoding, (samples,) = decode(path, contract(), 44_100)
    assert abs(len(samples) - 44_100) <= 2 * 1152
    # No delay precedes the audio, and it is the tone.
    assert np.abs(samples[2_000:40_000] - original[2_000:40_000, 0]).max() < 0.05
    assert decoding.attestation.encoding == ("mp3" if container == "mp3" else "aac")


def test_an_m4a_is_measured_in_samples_not_packets(tmp_path: Path) -> None:
    path = save(tmp_path / "x.m4a", tone(44_100, 44_100), 44_100)
    decoding, _ = decode(path, contract(), 44_100)
    assert 990 <= decoding.audio_milliseconds <= 1_030


def test_padding_makes_no_clip_too_long(tmp_path: Path) -> None:
    path = save(tmp_path / "x.m4a", tone(2 * 44_100, 44_100), 44_100)
    decoding, (samples,) = decode(path, contract(max_clip="2s"), 44_100)
    assert len(samples) > 2 * 44_100
    assert decoding.audio_milliseconds > 2_000


def _check(
    folder: Path,
    content: bytes,
    container: str,
    read: np.typing.NDArray[np.float32],
    encoding: str,
    rate_hz: int = 44_100,
) -> None:
    """Also decodes it under a wrong name, because the bytes determine the format."""
    channels = read.shape[1]
    mixed = read[:, 0].copy()
    for channel in range(1, channels):
        mixed += read[:, channel]
    mixed /= np.float32(channels)
    for name in (f"x.{container}", "x.mp3" if container == "wav" else "x.wav", "x"):
        decoding, (samples,) = decode(write(folder / name, content), contract(), rate_hz)
        assert samples.dtype == np.float32
        assert np.array_equal(samples, mixed)
        attestation = decoding.attestation
        assert (attestation.container, attestation.encoding, attestation.channels) == (container, encoding, channels)
        assert attestation.conversions == ((f"downmix:{channels}->1:Mean",) if channels > 1 else ())
        assert attestation.decoder == DECODER
        assert decoding.audio_milliseconds == len(read) * 1000 // rate_hz
