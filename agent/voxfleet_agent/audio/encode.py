"""Writes synthesized samples to one file, once, with no conversion except the contract's clipping rule.

This module writes wav itself, chunk by chunk: mlx-audio-io's writer scales 16 bits by 32767 and its reader by 32768.
mlx-audio-io writes flac and m4a; it needs the whole recording in memory and does not report a full disk, so the file is
read back and its samples are counted.
"""

from __future__ import annotations

import contextlib
import errno
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mlx_audio_io  # type: ignore[import-untyped] # it ships no types
import numpy as np
import numpy.typing as npt

from voxfleet_agent.audio.header_facts import refused
from voxfleet_agent.audio.pcm import pcm16, to_integers, within_full_scale
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import AudioContainer, AudioEncoding, AudioOutput, Clipping

Samples = npt.NDArray[np.float32]

_PCM, _FLOAT = 1, 3
_BYTES = {AudioEncoding.PCM16: 2, AudioEncoding.PCM24: 3, AudioEncoding.FLOAT32: 4}
_MAX_WAV_BYTES = 2**32 - 1024  # wav lengths have 32 bits
_WAV_HEADER_BYTES = 58  # at most
_COUNTED_FRAMES = 2**16


@dataclass(frozen=True, slots=True)
class WrittenAudio:
    size_bytes: int
    frames: int
    """Samples of its single channel."""


def write_audio(
    path: Path,
    chunks: Iterable[Samples],
    sample_rate_hz: int,
    output: AudioOutput,
    *,
    max_frames: int | None = None,
    max_bytes: int | None = None,
) -> WrittenAudio:
    """Writes chunks, (n,) float32 at `sample_rate_hz`, to a new file, one after another and sample for sample.

    Stops before a chunk that exceeds `max_frames`, which also bounds the memory for flac and m4a, or that would make
    the uncompressed file larger than `max_bytes`. Removes a file that it could not complete. Raises
    VoxFleetError(CONTRACT_VIOLATION) beyond those limits, for a rate other than the contract's and for samples that
    its clipping rule refuses, VoxFleetError(INFERENCE_ERROR) for no samples or non-finite ones, and OSError when the
    disk refuses the data.
    """
    if sample_rate_hz != output.sample_rate_hz:
        raise refused(
            f"would be spoken at {sample_rate_hz} Hz and the contract's output is at {output.sample_rate_hz} Hz;"
            f" write output.audio.sampleRateHz: {sample_rate_hz}"
        )
    write = _write_wav if output.container is AudioContainer.WAV else _write_encoded
    with _new_file(path):
        frames = write(path, _checked(_limited(chunks, output, max_frames, max_bytes), output.clipping), output)
        size_bytes = path.stat().st_size
        if max_bytes is not None and size_bytes > max_bytes:
            raise _too_long()
    return WrittenAudio(size_bytes, frames)


def _too_long() -> VoxFleetError:
    return refused("would last longer than maxClip; shorten the text or raise input.maxClip")


def _limited(
    chunks: Iterable[Samples], output: AudioOutput, max_frames: int | None, max_bytes: int | None
) -> Iterator[Samples]:
    frames = 0
    for chunk in chunks:
        frames += len(chunk)
        size_bytes = _WAV_HEADER_BYTES + frames * _BYTES.get(output.encoding, 0)
        if (max_frames is not None and frames > max_frames) or (max_bytes is not None and size_bytes > max_bytes):
            raise _too_long()
        yield chunk


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[None]:
    """Creates a new file, never overwriting another, and removes it again on an error."""
    with path.open("xb"):
        pass
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _checked(chunks: Iterable[Samples], clipping: Clipping) -> Iterator[Samples]:
    """Yields the non-empty chunks, limited to full scale.

    Raises VoxFleetError(INFERENCE_ERROR | CONTRACT_VIOLATION); see `write_audio`.
    """
    has_samples = False
    for chunk in chunks:
        if len(chunk) == 0:
            continue
        has_samples = True
        yield within_full_scale(chunk, clipping)
    if not has_samples:
        raise VoxFleetError(FailureClass.INFERENCE_ERROR, "the model spoke no audio")


def _write_wav(path: Path, chunks: Iterator[Samples], output: AudioOutput) -> int:
    frame_bytes = _BYTES[output.encoding]
    frames = 0
    with path.open("wb") as file:
        file.write(_wav_header(output, 0))
        for chunk in chunks:
            frames += len(chunk)
            if frames * frame_bytes > _MAX_WAV_BYTES:
                raise refused("is longer than a wav file can be; write output.audio.container: flac")
            file.write(_wav_bytes(chunk, output.encoding))
        file.write(bytes(frames * frame_bytes % 2))
        file.seek(0)
        file.write(_wav_header(output, frames))
    return frames


def _wav_header(output: AudioOutput, frames: int) -> bytes:
    frame_bytes = _BYTES[output.encoding]
    data_bytes = frames * frame_bytes
    rate_hz = output.sample_rate_hz
    if output.encoding is AudioEncoding.FLOAT32:
        # A format other than PCM needs an extension, here empty, and a sample count.
        form = struct.pack("<HHIIHHH", _FLOAT, 1, rate_hz, rate_hz * frame_bytes, frame_bytes, 8 * frame_bytes, 0)
        chunks = _chunk(b"fmt ", form) + _chunk(b"fact", struct.pack("<I", frames))
    else:
        chunks = _chunk(
            b"fmt ", struct.pack("<HHIIHH", _PCM, 1, rate_hz, rate_hz * frame_bytes, frame_bytes, 8 * frame_bytes)
        )
    size_bytes = 4 + len(chunks) + 8 + data_bytes + data_bytes % 2
    return b"RIFF" + struct.pack("<I", size_bytes) + b"WAVE" + chunks + b"data" + struct.pack("<I", data_bytes)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body


def _wav_bytes(samples: Samples, encoding: AudioEncoding) -> bytes:
    """The samples as a wav file stores them, little-endian."""
    if encoding is AudioEncoding.PCM16:
        return pcm16(samples)
    if encoding is AudioEncoding.PCM24:
        return to_integers(samples, 24).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return samples.astype("<f4").tobytes()


def _write_encoded(path: Path, chunks: Iterator[Samples], output: AudioOutput) -> int:
    samples = np.concatenate(list(chunks))
    if output.encoding is AudioEncoding.PCM24:
        # libav truncates samples to 24 bits; a sample on a whole step loses nothing.
        samples = to_integers(samples, 24) / np.float32(2**23)
    encoding = "auto" if output.encoding is AudioEncoding.AAC else output.encoding.value
    if path.suffix == f".{output.container}":
        _save(path, samples, encoding, output)
    else:
        named = path.with_name(f"{path.name}.{output.container}")  # mlx-audio-io chooses the format by the name
        with _new_file(named):
            _save(named, samples, encoding, output)
            named.replace(path)
    return len(samples)


def _save(path: Path, samples: Samples, encoding: str, output: AudioOutput) -> None:
    try:
        mlx_audio_io.save(path, samples, output.sample_rate_hz, layout="channels_last", encoding=encoding, clip=False)
        stored = sum(len(chunk) for chunk, _ in mlx_audio_io.stream(path, chunk_frames=_COUNTED_FRAMES))
    except (ValueError, RuntimeError) as error:
        detail = str(error).replace(str(path), "the file").replace(path.name, "the file")
        raise OSError(errno.EIO, f"mlx-audio-io could not write it: {detail[:180]}") from error
    exact = output.container is AudioContainer.FLAC
    if stored < len(samples) or (exact and stored != len(samples)):
        raise OSError(errno.EIO, f"{stored} of {len(samples)} samples were written; check the disk and its free space")
