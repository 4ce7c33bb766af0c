"""What header inspection accepts, refuses and says. No MLX here."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from voxfleet_agent.audio.headers import HeaderFacts, inspect, refuse
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.voice_contract import Container, ContractInput, VoiceContractSpec

CLIPS = Path(__file__).parents[4] / "examples" / "clips"
PCM, FLOAT = 1, 3
REFUSALS = {FailureClass.UNSUPPORTED_CONTAINER, FailureClass.DECODE_ERROR, FailureClass.CONTRACT_VIOLATION}
STARTS = [
    b"RIFF\x00\x00\x00\x00WAVE",
    b"fLaC",
    b"\x00\x00\x00\x18ftypM4A ",
    b"ID3\x04\x00\x00\x00\x00\x00\x00",
    b"\xff\xfb\x90",
]


def wav(
    tag: int = PCM,
    bits: int = 16,
    rate_hz: int = 16_000,
    channels: int = 1,
    frames: int = 1600,
    *,
    announced_bytes: int | None = None,
    block_bytes: int | None = None,
    extra: bytes = b"",
) -> bytes:
    block = channels * bits // 8 if block_bytes is None else block_bytes
    audio = bytes(channels * bits // 8 * frames)
    head = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block % 2**32, block, bits)
    length = len(audio) if announced_bytes is None else announced_bytes
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + extra + b"data" + struct.pack("<I", length) + audio
    return b"RIFF" + struct.pack("<I", (4 + len(chunks)) % 2**32) + b"WAVE" + chunks


def extensible_wav(sub_tag: int, bits: int) -> bytes:
    head = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 16_000, 16_000 * bits // 8, bits // 8, bits, 22, bits, 4)
    head += struct.pack("<H", sub_tag) + bytes.fromhex("000000001000800000aa00389b71")
    audio = bytes(bits // 8 * 1600)
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(audio)) + audio
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def flac(rate_hz: int = 16_000, channels: int = 1, frames: int = 16_000) -> bytes:
    packed = rate_hz << 44 | (channels - 1) << 41 | 15 << 36 | frames
    return b"fLaC\x80\x00\x00\x22" + bytes(10) + packed.to_bytes(8, "big") + bytes(16)


def clip(name: str) -> bytes:
    return (CLIPS / name).read_bytes()


def facts_of(content: bytes) -> HeaderFacts:
    return inspect(io.BytesIO(content), len(content))


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
        # What writers to a pipe leave as the length: the file's end counts.
        (wav(announced_bytes=0xFFFFFFFF), Container.WAV, "pcm16", 16_000, 1, 1600),
        (wav(announced_bytes=0x7FFFF000), Container.WAV, "pcm16", 16_000, 1, 1600),
        (flac(), Container.FLAC, "flac", 16_000, 1, 16_000),
        (flac(rate_hz=96_000, channels=8), Container.FLAC, "flac", 96_000, 8, 16_000),
        (flac(frames=0), Container.FLAC, "flac", 16_000, 1, None),
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


@pytest.mark.parametrize(
    ("content", "failure_class", "says"),
    [
        (b"", FailureClass.DECODE_ERROR, "is empty"),
        (b"OggS" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "is an Ogg file"),
        (b"\x1aE\xdf\xa3" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "Matroska or WebM"),
        (b"RF64\xff\xff\xff\xffWAVE" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "is an RF64 file"),
        (b"FORM\x00\x00\x10\x00AIFF" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "is an AIFF file"),
        (b"caff\x00\x01\x00\x00" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "Core Audio"),
        (b"\xff\xf1\x50\x80" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "raw AAC stream (ADTS)"),
        (b"\xff\xfd\x90\x00" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "not layer III"),
        (b"<!doctype html><p>404", FailureClass.UNSUPPORTED_CONTAINER, "text file (HTML"),
        (b"RIFF\x24\x00\x00\x00AVI " + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "but not of audio"),
        (b"\x00" * 64, FailureClass.UNSUPPORTED_CONTAINER, "(00 00 00 00)"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x02ab" + flac(), FailureClass.UNSUPPORTED_CONTAINER, "behind an ID3 tag"),
        (wav(tag=6, bits=8), FailureClass.CONTRACT_VIOLATION, "of A-law;"),
        (wav(tag=7, bits=8), FailureClass.CONTRACT_VIOLATION, "of mu-law;"),
        (wav(tag=2, bits=4, block_bytes=256), FailureClass.CONTRACT_VIOLATION, "of ADPCM;"),
        (wav(tag=0x11, bits=4, block_bytes=256), FailureClass.CONTRACT_VIOLATION, "of IMA ADPCM;"),
        (wav(tag=0x55, bits=16), FailureClass.CONTRACT_VIOLATION, "of format 0x0055;"),
        (wav(bits=8), FailureClass.CONTRACT_VIOLATION, "of 8-bit PCM;"),
        (wav(tag=FLOAT, bits=64), FailureClass.CONTRACT_VIOLATION, "of 64-bit float;"),
        (wav(rate_hz=1), FailureClass.CONTRACT_VIOLATION, "is at 1 Hz"),
        (wav(rate_hz=2**31), FailureClass.CONTRACT_VIOLATION, "is at 2147483648 Hz"),
        (wav(channels=0), FailureClass.CONTRACT_VIOLATION, "has 0 channels"),
        (wav(bits=16, channels=65, frames=10), FailureClass.CONTRACT_VIOLATION, "has 65 channels"),
        (wav(block_bytes=3), FailureClass.DECODE_ERROR, "3 bytes a frame"),
        (wav(frames=0), FailureClass.DECODE_ERROR, "holds no audio"),
        (wav()[:20], FailureClass.DECODE_ERROR, "ends inside its format chunk"),
        (wav()[:36], FailureClass.DECODE_ERROR, "before any audio"),
        (wav(frames=16_000)[: 44 + 3200], FailureClass.DECODE_ERROR, "announces 1000 ms, 100 ms are there"),
        (clip("truncated.wav"), FailureClass.DECODE_ERROR, "announces 2352 ms, 940 ms are there"),
        (flac(frames=2**36 - 1), FailureClass.CONTRACT_VIOLATION, "1193 hours"),
        (flac(rate_hz=0), FailureClass.CONTRACT_VIOLATION, "is at 0 Hz"),
        (flac()[:30], FailureClass.DECODE_ERROR, "ends inside its header"),
        (clip("mp3-16000-03.mp3")[:3000], FailureClass.DECODE_ERROR, "is cut short"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x02ab" + bytes(500), FailureClass.DECODE_ERROR, "without a layer III frame"),
        (clip("m4a-48000-16.m4a")[:3000], FailureClass.DECODE_ERROR, "is cut short"),
        (clip("m4a-48000-16.m4a").replace(b"moov", b"free"), FailureClass.DECODE_ERROR, "without its header"),
        (clip("m4a-48000-16.m4a").replace(b"mp4a", b"alac"), FailureClass.CONTRACT_VIOLATION, "of alac;"),
        (clip("m4a-48000-16.m4a").replace(b"soun", b"vide"), FailureClass.UNSUPPORTED_CONTAINER, "MP4 film"),
        (clip("m4a-48000-16.m4a").replace(b"soun", b"text"), FailureClass.UNSUPPORTED_CONTAINER, "0 audio tracks"),
        (clip("m4a-48000-16.m4a").replace(b"mdhd", b"free"), FailureClass.DECODE_ERROR, "without its mdhd box"),
    ],
)
def test_refuses(content: bytes, failure_class: FailureClass, says: str) -> None:
    with pytest.raises(VoxFleetError) as caught:
        facts_of(content)
    assert caught.value.failure_class is failure_class
    assert says in caught.value.message
    assert len(caught.value.message) <= 256


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


@settings(deadline=None)
@given(st.binary(max_size=512) | st.builds(bytes.__add__, st.sampled_from(STARTS), st.binary(max_size=512)))
@example(b"RIFF")
@example(b"\xff\xfa\x10\x00")
def test_random_bytes_get_a_verdict(content: bytes) -> None:
    _verdict(content)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(
        [wav(frames=50), clip("m4a-16000-04.m4a"), clip("mp3-16000-03.mp3"), flac(), extensible_wav(PCM, 16)]
    ),
    st.lists(st.tuples(st.integers(0, 4000) | st.integers(-1500, -1), st.integers(0, 255)), max_size=12),
    st.integers(0, 100_000),
)
def test_damaged_files_get_a_verdict(seed: bytes, edits: list[tuple[int, int]], keep: int) -> None:
    _verdict(_damaged(seed, edits, keep))


def _verdict(content: bytes) -> None:
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


def contract(**changes: object) -> VoiceContractSpec:
    fields: dict[str, object] = {
        "containers": ("wav", "flac"),
        "sample_rates_hz": (16_000, 44_100),
        "channels": (1,),
        "max_clip": "1m",
        "max_clip_bytes": "1Mi",
        **changes,
    }
    return VoiceContractSpec(input=ContractInput.model_validate(fields))


FACTS = HeaderFacts(Container.WAV, "pcm16", 16_000, 1, 1000, 16_000)


@pytest.mark.parametrize(
    ("facts", "size_bytes", "reason"),
    [
        (FACTS, 32_044, None),
        (
            HeaderFacts(Container.MP3, "mp3", 16_000, 1, 1000, 16_000),
            9000,
            "is a file of type mp3; the contract accepts wav, flac",
        ),
        (
            HeaderFacts(Container.WAV, "pcm16", 8_000, 1, 1000, 8_000),
            16_044,
            "is at 8000 Hz; the contract accepts 16000, 44100 Hz",
        ),
        (
            HeaderFacts(Container.WAV, "pcm16", 16_000, 2, 1000, 16_000),
            64_044,
            "has 2 channels; the contract accepts 1",
        ),
        (
            HeaderFacts(Container.WAV, "pcm16", 16_000, 1, 99, 1_584),
            3_212,
            "lasts 99 ms; the contract accepts at least 100ms",
        ),
        (
            HeaderFacts(Container.WAV, "pcm16", 16_000, 1, 60_001, 960_016),
            9_000,
            "lasts 60001 ms; the contract accepts at most 1m",
        ),
        (FACTS, 2**20 + 1, "has 1048577 bytes; the contract accepts at most 1Mi"),
        # A length that is only estimated refuses nothing; decoding tells.
        (HeaderFacts(Container.FLAC, "flac", 16_000, 1, 0, None), 9_000, None),
    ],
)
def test_refuse_names_the_clause(facts: HeaderFacts, size_bytes: int, reason: str | None) -> None:
    error = refuse(facts, size_bytes, contract())
    assert (error and error.reason) == reason
    assert error is None or error.failure_class is FailureClass.CONTRACT_VIOLATION


def test_a_clip_at_8_khz_is_refused() -> None:
    content = clip("rate-8000.wav")
    error = refuse(facts_of(content), len(content), contract())
    assert error is not None and "8000 Hz" in error.reason


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


@pytest.mark.parametrize("make", [lambda: wav(frames=1_000_000), lambda: flac() + bytes(2_000_000)])
def test_audio_is_not_read(make: Callable[[], bytes]) -> None:
    content = make()
    reader = Counting(content)
    inspect(reader, len(content))
    assert reader.read_bytes < 1024
