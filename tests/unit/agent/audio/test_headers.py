"""What header inspection tells of good, damaged and random bytes, and what it reads for it. Needs no MLX."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.agent.audio.audio_bytes import (
    CAF_FLOAT,
    CAF_LITTLE,
    FLOAT,
    PCM,
    aiff,
    caf,
    caf_chunk,
    core_audio_layout,
    extensible_wav,
    flac,
    wav,
)
from tests.unit.agent.audio.header_files import MASK, clip, facts_of, fragmented, layout

from voxfleet_agent.audio.headers import inspect
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Container

REFUSALS = {FailureClass.UNSUPPORTED_CONTAINER, FailureClass.DECODE_ERROR, FailureClass.CONTRACT_VIOLATION}
STARTS = [
    b"RIFF\x00\x00\x00\x00WAVE",
    b"fLaC",
    b"\x00\x00\x00\x18ftypM4A ",
    b"ID3\x04\x00\x00\x00\x00\x00\x00",
    b"\xff\xfb\x90",
    b"FORM\x00\x00\x10\x00AIFC",
    b"caff\x00\x01\x00\x00desc\x00\x00\x00\x00\x00\x00\x00\x20",
    b"fLaC\x00\x00\x00\x22" + bytes(10) + b"\x0a\xc4\x42\xf0",
]


@pytest.mark.parametrize(
    ("content", "container", "encoding", "rate_hz", "channels", "frames"),
    [
        (wav(), Container.WAV, "pcm16", 16_000, 1, 1600),
        (wav(bits=24, channels=2, rate_hz=48_000), Container.WAV, "pcm24", 48_000, 2, 1600),
        (wav(bits=32), Container.WAV, "pcm32", 16_000, 1, 1600),
        (wav(tag=FLOAT, bits=32), Container.WAV, "float32", 16_000, 1, 1600),
        (extensible_wav(PCM, 24), Container.WAV, "pcm24", 16_000, 1, 1600),
        (extensible_wav(FLOAT, 32), Container.WAV, "float32", 16_000, 1, 1600),
        # A chunk of odd length is followed by a byte of padding.
        (wav(extra=b"LIST\x03\x00\x00\x00abc\x00"), Container.WAV, "pcm16", 16_000, 1, 1600),
        # A program that writes to a pipe leaves a placeholder as the length; the end of the file counts.
        (wav(announced_bytes=0xFFFFFFFF), Container.WAV, "pcm16", 16_000, 1, 1600),
        (wav(announced_bytes=0x7FFFF000), Container.WAV, "pcm16", 16_000, 1, 1600),
        (flac(), Container.FLAC, "flac", 16_000, 1, 16_000),
        (flac(rate_hz=96_000, channels=8), Container.FLAC, "flac", 96_000, 8, 16_000),
        (flac(frames=0), Container.FLAC, "flac", 16_000, 1, None),
        (aiff(), Container.AIFF, "pcm16", 16_000, 1, 1600),
        (aiff(bits=24, channels=2, rate_hz=48_000), Container.AIFF, "pcm24", 48_000, 2, 1600),
        (aiff(b"NONE", bits=32), Container.AIFF, "pcm32", 16_000, 1, 1600),
        (aiff(b"twos", bits=24), Container.AIFF, "pcm24", 16_000, 1, 1600),
        (aiff(b"sowt"), Container.AIFF, "pcm16", 16_000, 1, 1600),
        (aiff(b"in24", bits=24), Container.AIFF, "pcm24", 16_000, 1, 1600),
        (aiff(b"in32", bits=32), Container.AIFF, "pcm32", 16_000, 1, 1600),
        (aiff(b"fl32", bits=32), Container.AIFF, "float32", 16_000, 1, 1600),
        (aiff(b"FL32", bits=32, channels=64), Container.AIFF, "float32", 16_000, 64, 1600),
        (aiff(rate_hz=22254.5454), Container.AIFF, "pcm16", 22_255, 1, 1600),
        (aiff(sound_first=True), Container.AIFF, "pcm16", 16_000, 1, 1600),
        (aiff(skipped=b"1234"), Container.AIFF, "pcm16", 16_000, 1, 1600),
        (aiff(channels=6, extra=layout(core_audio_layout(121, 6))), Container.AIFF, "pcm16", 16_000, 6, 1600),
        (
            aiff(frames=0x3F800000, audio=bytes(200), announced_bytes=0x7F000000),
            Container.AIFF,
            "pcm16",
            16_000,
            1,
            100,
        ),
        (caf(), Container.CAF, "pcm16", 16_000, 1, 1600),
        (caf(0, bits=24, channels=2, rate_hz=44_100.0), Container.CAF, "pcm24", 44_100, 2, 1600),
        (caf(bits=32), Container.CAF, "pcm32", 16_000, 1, 1600),
        (caf(CAF_FLOAT, bits=32), Container.CAF, "float32", 16_000, 1, 1600),
        (caf(CAF_FLOAT | CAF_LITTLE, bits=32), Container.CAF, "float32", 16_000, 1, 1600),
        (caf(announced_bytes=-1), Container.CAF, "pcm16", 16_000, 1, 1600),
        (caf(extra=caf_chunk(b"free", bytes(400))), Container.CAF, "pcm16", 16_000, 1, 1600),
        (caf(channels=2, extra=caf_chunk(b"chan", core_audio_layout(101, 2))), Container.CAF, "pcm16", 16_000, 2, 1600),
        (flac(channels=2, comment=MASK + b"0x3"), Container.FLAC, "flac", 16_000, 2, 16_000),
        (flac(channels=3, comment=MASK + b"0xB"), Container.FLAC, "flac", 16_000, 3, 16_000),
        (flac(channels=6, comment=b"TITLE=six"), Container.FLAC, "flac", 16_000, 6, 16_000),
        (clip("flac-48000-30.flac"), Container.FLAC, "flac", 48_000, 2, 63_683),
        (clip("mp3-16000-03.mp3"), Container.MP3, "mp3", 16_000, 1, 21_021),
        (clip("mp3-44100-27.mp3"), Container.MP3, "mp3", 44_100, 2, 56_570),
        (clip("m4a-16000-04.m4a"), Container.M4A, "aac", 16_000, 1, 22_576),
        (clip("m4a-44100-28.m4a"), Container.M4A, "aac", 44_100, 2, 57_065),
    ],
)
def test_accepts(
    content: bytes, container: Container, encoding: str, rate_hz: int, channels: int, frames: int | None
) -> None:
    facts = facts_of(content)
    assert (facts.container, facts.encoding, facts.sample_rate_hz, facts.channels) == (
        container,
        encoding,
        rate_hz,
        channels,
    )
    assert facts.frames == frames
    if frames is not None:
        assert facts.audio_milliseconds == frames * 1000 // rate_hz


def test_an_mp3_of_constant_rate_without_a_length_is_estimated_from_its_size() -> None:
    frame = b"\xff\xfb\x90\x00" + bytes(413)  # MPEG 1 layer III, 128 kbit/s, 44.1 kHz: 417 bytes
    facts = facts_of(frame * 100)
    assert facts.frames is None
    assert facts.audio_milliseconds == 100 * 417 * 8 // 128


def _damaged(seed: bytes, edits: list[tuple[int, int]], keep: int) -> bytes:
    content = bytearray(seed)
    for position, value in edits:
        content[position % len(content)] = value
    return bytes(content[: max(1, keep % (len(content) + 1))])


@given(st.binary(max_size=512) | st.builds(bytes.__add__, st.sampled_from(STARTS), st.binary(max_size=512)))
@example(b"RIFF")
@example(b"\xff\xfa\x10\x00")
def test_random_bytes_give_facts_or_an_error(content: bytes) -> None:
    _check_inspection(content)


@settings(max_examples=400)
@given(
    st.sampled_from(
        [
            wav(frames=50),
            extensible_wav(PCM, 16),
            clip("m4a-16000-04.m4a"),
            clip("mp3-16000-03.mp3"),
            flac(channels=2, comment=MASK + b"0x3"),
            aiff(b"sowt", extra=layout(core_audio_layout(101, 2))),
            caf(frames=50, extra=caf_chunk(b"pakt", bytes(24)) + caf_chunk(b"chan", core_audio_layout(101, 2))),
            fragmented(3),
        ]
    ),
    st.lists(st.tuples(st.integers(0, 4000) | st.integers(-1500, -1), st.integers(0, 255)), max_size=12),
    st.integers(0, 100_000),
)
def test_damaged_files_give_facts_or_an_error(seed: bytes, edits: list[tuple[int, int]], keep: int) -> None:
    _check_inspection(_damaged(seed, edits, keep))


def _check_inspection(content: bytes) -> None:
    try:
        facts = facts_of(content)
    except VoxFleetError as caught:
        error = caught
    else:
        assert 4_000 <= facts.sample_rate_hz <= 384_000
        assert 1 <= facts.channels <= 64
        assert 0 <= facts.audio_milliseconds <= 24 * 3_600_000
        return
    assert error.failure_class in REFUSALS
    assert len(error.message) <= 256


def test_header_checks_need_no_mlx() -> None:
    code = "import sys, voxfleet_agent.audio.headers as h; print([m for m in sys.modules if m.startswith('mlx')])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


class Counting(io.BytesIO):
    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.read_bytes += len(data)
        return data


@pytest.mark.parametrize(
    "make",
    [
        lambda: wav(frames=1_000_000),
        lambda: flac() + b"\x01" * 2_000_000,
        lambda: aiff(frames=1_000_000),
        lambda: caf(frames=1_000_000),
    ],
)
def test_audio_is_not_read(make: Callable[[], bytes]) -> None:
    content = make()
    reader = Counting(content)
    inspect(reader, len(content))
    assert reader.read_bytes < 1024
