"""Synthesized audio is written once, sample for sample, at the contract's rate, encoding and clipping rule."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import mlx_audio_io  # type: ignore[import-untyped] # it ships no types
import numpy as np
import pytest
from tests.component.audio.audio_rig import Samples, contract, decode, noise, stored, tone

from voxfleet_agent.audio.encode import WrittenAudio, write_audio
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import AudioContainer, AudioEncoding, AudioOutput, Clipping

RATE_HZ = 22_050
BITS = {AudioEncoding.PCM16: 16, AudioEncoding.PCM24: 24, AudioEncoding.FLOAT32: 0}
EXACT = [
    (AudioContainer.WAV, AudioEncoding.PCM16),
    (AudioContainer.WAV, AudioEncoding.PCM24),
    (AudioContainer.WAV, AudioEncoding.FLOAT32),
    (AudioContainer.FLAC, AudioEncoding.PCM16),
    (AudioContainer.FLAC, AudioEncoding.PCM24),
]
ALL = [*EXACT, (AudioContainer.M4A, AudioEncoding.AAC)]


def output(
    container: AudioContainer = AudioContainer.WAV,
    encoding: AudioEncoding = AudioEncoding.PCM16,
    clipping: Clipping = Clipping.REFUSE,
) -> AudioOutput:
    return AudioOutput(container=container, encoding=encoding, sample_rate_hz=RATE_HZ, clipping=clipping)


def chunks(samples: Samples) -> list[Samples]:
    """Splits into uneven chunks, some of them empty."""
    return [samples[:1], samples[1:1], samples[1:7_000], samples[7_000:7_003], samples[7_003:], samples[:0]]


@pytest.mark.parametrize(("container", "encoding"), EXACT)
@pytest.mark.parametrize("name", ["x", None])
def test_chunks_are_joined_sample_for_sample(
    tmp_path: Path, container: AudioContainer, encoding: AudioEncoding, name: str | None
) -> None:
    samples = noise(20_011)[:, 0]
    samples[:2] = 1.0, -1.0
    path = tmp_path / (name or f"x.{container}")
    written = write_audio(path, chunks(samples), RATE_HZ, output(container, encoding))
    assert written == WrittenAudio(path.stat().st_size, len(samples))
    assert list(tmp_path.iterdir()) == [path]
    decoding, (read,) = decode(path, contract(), RATE_HZ)
    assert np.array_equal(read, stored(samples, BITS[encoding])[1])
    assert decoding.attestation.container == container
    assert decoding.attestation.encoding == ("flac" if container is AudioContainer.FLAC else encoding)


def test_aac_keeps_the_tone(tmp_path: Path) -> None:
    samples = tone(2 * RATE_HZ, RATE_HZ)[:, 0]
    path = tmp_path / "x.m4a"
    written = write_audio(path, chunks(samples), RATE_HZ, output(*ALL[-1]))
    assert written.frames == len(samples)
    decoding, (read,) = decode(path, contract(), RATE_HZ)
    assert decoding.attestation.encoding == "aac"
    assert 0 <= len(read) - len(samples) < 1024
    assert np.abs(read[2_000:40_000] - samples[2_000:40_000]).max() < 0.05


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("encoding", list(BITS))
def test_a_wav_header_is_exact(tmp_path: Path, encoding: AudioEncoding, frames: int) -> None:
    path = tmp_path / "x.wav"
    write_audio(path, [noise(frames)[:, 0]], RATE_HZ, output(encoding=encoding))
    content = path.read_bytes()
    frame_bytes = (BITS[encoding] or 32) // 8
    assert struct.unpack_from("<I", content, 4) == (len(content) - 8,)
    assert len(content) % 2 == 0
    data = content.index(b"data")
    assert struct.unpack_from("<I", content, data + 4) == (frames * frame_bytes,)
    tag, channels, rate_hz, byte_rate, block, bits = struct.unpack_from("<HHIIHH", content, 20)
    assert (tag, channels, rate_hz) == (1 if BITS[encoding] else 3, 1, RATE_HZ)
    assert (byte_rate, block, bits) == (RATE_HZ * frame_bytes, frame_bytes, frame_bytes * 8)


@pytest.mark.parametrize(("container", "encoding"), ALL)
def test_beyond_full_scale_is_refused_or_limited(
    tmp_path: Path, container: AudioContainer, encoding: AudioEncoding
) -> None:
    samples = tone(8_000, RATE_HZ)[:, 0]
    samples[5_000] = -1.25
    path = tmp_path / f"x.{container}"
    with pytest.raises(VoxFleetError, match=r"1\.250 times full scale.*clipping: Limit") as caught:
        write_audio(path, chunks(samples), RATE_HZ, output(container, encoding))
    assert caught.value.failure_class is FailureClass.CONTRACT_VIOLATION
    assert list(tmp_path.iterdir()) == []
    write_audio(path, chunks(samples), RATE_HZ, output(container, encoding, Clipping.LIMIT))
    if container is not AudioContainer.M4A:
        _, (read,) = decode(path, contract(), RATE_HZ)
        assert read[5_000] == -1.0


@pytest.mark.parametrize(("container", "encoding"), ALL)
@pytest.mark.parametrize(
    ("spoken", "failure_class"),
    [
        ([], FailureClass.INFERENCE_ERROR),
        ([np.zeros(0, np.float32)], FailureClass.INFERENCE_ERROR),
        ([np.zeros(9, np.float32), np.full(9, np.nan, np.float32)], FailureClass.INFERENCE_ERROR),
        ([np.zeros(9, np.float32), np.full(9, np.inf, np.float32)], FailureClass.INFERENCE_ERROR),
    ],
)
def test_a_failed_file_is_removed(
    tmp_path: Path,
    container: AudioContainer,
    encoding: AudioEncoding,
    spoken: list[Samples],
    failure_class: FailureClass,
) -> None:
    with pytest.raises(VoxFleetError) as caught:
        write_audio(tmp_path / "x", spoken, RATE_HZ, output(container, encoding))
    assert caught.value.failure_class is failure_class
    assert list(tmp_path.iterdir()) == []


def test_a_rate_is_not_converted(tmp_path: Path) -> None:
    unread = iter([noise(1)[:, 0]])
    with pytest.raises(VoxFleetError, match=r"write output\.audio\.sampleRateHz: 24000") as caught:
        write_audio(tmp_path / "x.wav", unread, 24_000, output())
    assert caught.value.failure_class is FailureClass.CONTRACT_VIOLATION
    assert len(list(unread)) == 1  # the model was not run


@pytest.mark.parametrize(("container", "encoding"), ALL)
@pytest.mark.parametrize("name", ["x", None])
def test_another_file_is_never_overwritten(
    tmp_path: Path, container: AudioContainer, encoding: AudioEncoding, name: str | None
) -> None:
    path = tmp_path / (name or f"x.{container}")
    path.write_bytes(b"kept")
    with pytest.raises(FileExistsError):
        write_audio(path, [noise(100)[:, 0]], RATE_HZ, output(container, encoding))
    assert path.read_bytes() == b"kept"


@pytest.mark.parametrize(("container", "encoding"), ALL[3:])
def test_a_short_write_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: AudioContainer, encoding: AudioEncoding
) -> None:
    """libav does not report that a disk is full."""
    save = mlx_audio_io.save

    def cut_short(path: Path, samples: Samples, *rest: object, **options: object) -> None:
        save(path, samples[:-5_000], *rest, **options)

    monkeypatch.setattr(mlx_audio_io, "save", cut_short)
    with pytest.raises(OSError, match="check the disk") as caught:
        write_audio(tmp_path / f"x.{container}", [noise(20_000)[:, 0]], RATE_HZ, output(container, encoding))
    assert caught.value.errno == errno.EIO
    assert list(tmp_path.iterdir()) == []
