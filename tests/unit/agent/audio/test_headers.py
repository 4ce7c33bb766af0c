"""What header inspection accepts and refuses, and its messages. Needs no MLX."""

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
from tests.unit.agent.audio.audio_bytes import (
    CAF_FLOAT,
    CAF_LITTLE,
    FLOAT,
    PCM,
    aiff,
    box,
    caf,
    caf_chunk,
    core_audio_layout,
    extensible_wav,
    flac,
    wav,
)

from voxfleet_agent.audio.headers import HeaderFacts, contract_violation, inspect
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Container, ContractInput, Encoding
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.rows import RowError

CLIPS = Path(__file__).parents[4] / "examples" / "clips"
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
MASK = b"waveformatextensible_channel_mask="


def layout(chunk: bytes) -> bytes:
    return b"CHAN" + struct.pack(">I", len(chunk)) + chunk


def packet_bomb(name: bytes, at: int, count: int) -> bytes:
    """An m4a that announces `count` packets."""
    content = bytearray(clip("m4a-16000-04.m4a"))
    position = content.index(name) + at
    content[position : position + 4] = struct.pack(">I", count)
    return bytes(content)


def fragmented(packets: int) -> bytes:
    run = box(b"trun", struct.pack(">III", 0, packets, 0))
    return clip("m4a-16000-04.m4a") + box(b"moof", box(b"traf", run))


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


@pytest.mark.parametrize(
    ("content", "failure_class", "says"),
    [
        (b"", FailureClass.DECODE_ERROR, "is empty"),
        (b"OggS" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "is an Ogg file"),
        (b"\x1aE\xdf\xa3" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "Matroska or WebM"),
        (b"RF64\xff\xff\xff\xffWAVE" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "is an RF64 file"),
        (b"\xff\xf1\x50\x80" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "raw AAC stream (ADTS)"),
        (b"\xff\xfd\x90\x00" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "MPEG layer II audio stream"),
        (b"<!doctype html><p>404", FailureClass.UNSUPPORTED_CONTAINER, "text file (HTML"),
        (
            b"RIFF\x24\x00\x00\x00AVI " + bytes(60),
            FailureClass.UNSUPPORTED_CONTAINER,
            "not of audio (its type is 'AVI ')",
        ),
        (b"RIFF\x24\x00", FailureClass.DECODE_ERROR, "ends inside its header, behind 6 bytes"),
        (b"\xff\xfb\x00\x00" + bytes(600), FailureClass.UNSUPPORTED_CONTAINER, "an mp3 stream of free format"),
        (box(b"styp", b"msdh") + box(b"moof"), FailureClass.DECODE_ERROR, "without its header (moov)"),
        (b"\x00" * 64, FailureClass.UNSUPPORTED_CONTAINER, "(00 00 00 00)"),
        (
            b"ID3\x04\x00\x00\x00\x00\x00\x02ab\xff\xf1\x50\x80" + bytes(60),
            FailureClass.UNSUPPORTED_CONTAINER,
            "(ADTS) behind an ID3v2 tag",
        ),
        (wav(tag=6, bits=8), FailureClass.CONTRACT_VIOLATION, "of A-law;"),
        (wav(tag=7, bits=8), FailureClass.CONTRACT_VIOLATION, "of mu-law;"),
        (wav(tag=2, bits=4, block_bytes=256), FailureClass.CONTRACT_VIOLATION, "of ADPCM;"),
        (wav(tag=0x11, bits=4, block_bytes=256), FailureClass.CONTRACT_VIOLATION, "of IMA ADPCM;"),
        (wav(tag=0x55, bits=16), FailureClass.CONTRACT_VIOLATION, "of MP3;"),
        (wav(tag=0x99, bits=16), FailureClass.CONTRACT_VIOLATION, "of format 0x0099;"),
        (extensible_wav(PCM, 16, guid="10" * 14), FailureClass.CONTRACT_VIOLATION, "of an unknown sub-format;"),
        (wav(tag=0xFFFE), FailureClass.DECODE_ERROR, "extensible format chunk of 16 bytes"),
        (wav(bits=8), FailureClass.CONTRACT_VIOLATION, "of 8-bit PCM;"),
        (wav(tag=FLOAT, bits=64), FailureClass.CONTRACT_VIOLATION, "of 64-bit float;"),
        (wav(rate_hz=1), FailureClass.CONTRACT_VIOLATION, "is at 1 Hz"),
        (wav(rate_hz=2**31), FailureClass.CONTRACT_VIOLATION, "is at 2147483648 Hz"),
        (wav(channels=0), FailureClass.CONTRACT_VIOLATION, "has 0 channels"),
        (wav(bits=16, channels=65, frames=10), FailureClass.CONTRACT_VIOLATION, "has 65 channels"),
        (wav(block_bytes=3), FailureClass.DECODE_ERROR, "3 bytes a frame"),
        (wav(frames=0), FailureClass.DECODE_ERROR, "holds no audio"),
        (wav()[:20], FailureClass.DECODE_ERROR, "ends inside its format chunk"),
        (wav()[:36], FailureClass.DECODE_ERROR, "ends behind 36 bytes without any audio"),
        (flac(frames=2**36 - 1), FailureClass.CONTRACT_VIOLATION, "1193 hours"),
        (flac(rate_hz=0), FailureClass.CONTRACT_VIOLATION, "is at 0 Hz"),
        (flac()[:30], FailureClass.DECODE_ERROR, "ends inside its header"),
        (
            b"ID3\x04\x00\x00\x00\x00\x00\x02ab" + bytes(500),
            FailureClass.DECODE_ERROR,
            "no layer III frames in the first 500 of the 500 bytes",
        ),
        (clip("m4a-48000-16.m4a")[:3000], FailureClass.DECODE_ERROR, "is cut short"),
        (clip("m4a-48000-16.m4a").replace(b"moov", b"free"), FailureClass.DECODE_ERROR, "without its header"),
        (clip("m4a-48000-16.m4a").replace(b"mp4a", b"alac"), FailureClass.CONTRACT_VIOLATION, "of ALAC;"),
        (clip("m4a-48000-16.m4a").replace(b"mp4a", b"ec-3"), FailureClass.CONTRACT_VIOLATION, "of E-AC-3;"),
        (clip("m4a-48000-16.m4a").replace(b"mp4a", b"zzz\x01"), FailureClass.CONTRACT_VIOLATION, "encoding 'zzz?'"),
        (packet_bomb(b"stsz", 12, 2**31), FailureClass.DECODE_ERROR, "announces 2147483648 packets"),
        (packet_bomb(b"stsz", 12, 2000), FailureClass.DECODE_ERROR, "announces 2000 packets"),
        (fragmented(2**31), FailureClass.DECODE_ERROR, "announces 21474836"),
        (clip("m4a-48000-16.m4a").replace(b"soun", b"vide"), FailureClass.UNSUPPORTED_CONTAINER, "MP4 film"),
        (clip("m4a-48000-16.m4a").replace(b"soun", b"text"), FailureClass.UNSUPPORTED_CONTAINER, "0 audio tracks"),
        (clip("m4a-48000-16.m4a").replace(b"mdhd", b"free"), FailureClass.DECODE_ERROR, "without its mdhd box"),
        (aiff(b"ulaw"), FailureClass.CONTRACT_VIOLATION, "is an AIFF file of mu-law;"),
        (aiff(b"ima4"), FailureClass.CONTRACT_VIOLATION, "of IMA ADPCM;"),
        (aiff(b"fl64", bits=64), FailureClass.CONTRACT_VIOLATION, "of 64-bit float;"),
        (aiff(b"sowt", bits=24), FailureClass.CONTRACT_VIOLATION, "of 24-bit PCM ('sowt');"),
        (aiff(bits=8), FailureClass.CONTRACT_VIOLATION, "of 8-bit PCM"),
        (aiff(b"wxyz"), FailureClass.CONTRACT_VIOLATION, "of encoding 'wxyz';"),
        (aiff(rate_hz=1), FailureClass.CONTRACT_VIOLATION, "is at 1 Hz"),
        (aiff(rate_hz=0), FailureClass.CONTRACT_VIOLATION, "is at 0 Hz"),
        (aiff(rate_hz=2.0**40), FailureClass.CONTRACT_VIOLATION, "is at 1099511627776 Hz"),
        (aiff(channels=0), FailureClass.CONTRACT_VIOLATION, "has 0 channels"),
        (aiff(frames=0), FailureClass.DECODE_ERROR, "holds no audio"),
        (
            aiff(frames=1600, audio=bytes(1600)),
            FailureClass.DECODE_ERROR,
            "1600 samples of each channel in its COMM chunk and 800 in",
        ),
        (aiff()[:30], FailureClass.DECODE_ERROR, "ends inside its COMM chunk"),
        (
            aiff() + b"COMM" + struct.pack(">I", 18) + bytes(18),
            FailureClass.DECODE_ERROR,
            "two COMM chunks that contradict each other",
        ),
        (aiff()[:12], FailureClass.DECODE_ERROR, "without its COMM chunk"),
        (aiff()[:38], FailureClass.DECODE_ERROR, "without its SSND chunk"),
        (b"FORM\x00\x00\x10\x008SVX" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "an IFF file, but not AIFF"),
        (
            aiff(channels=3, extra=layout(core_audio_layout(113, 3))),
            FailureClass.CONTRACT_VIOLATION,
            "lays its 3 channels out in a way (tag 113)",
        ),
        (caf(code=b"alac"), FailureClass.CONTRACT_VIOLATION, "is a CAF file of ALAC;"),
        (caf(code=b"opus"), FailureClass.CONTRACT_VIOLATION, "of Opus;"),
        (caf(bits=8), FailureClass.CONTRACT_VIOLATION, "of 8-bit PCM;"),
        (caf(CAF_FLOAT, bits=64), FailureClass.CONTRACT_VIOLATION, "of 64-bit float;"),
        (caf(bits=24, packet_bytes=4), FailureClass.CONTRACT_VIOLATION, "24 bits in 4 bytes"),
        (caf(rate_hz=1.0), FailureClass.CONTRACT_VIOLATION, "is at 1 Hz"),
        (caf(rate_hz=float("nan")), FailureClass.CONTRACT_VIOLATION, "is at 0 Hz"),
        (caf(rate_hz=-1e300), FailureClass.CONTRACT_VIOLATION, "is at 0 Hz"),
        (caf(channels=0), FailureClass.CONTRACT_VIOLATION, "has 0 channels"),
        (caf(channels=65), FailureClass.CONTRACT_VIOLATION, "has 65 channels"),
        (caf(frames=0), FailureClass.DECODE_ERROR, "holds no audio"),
        (caf(announced_bytes=2**62), FailureClass.CONTRACT_VIOLATION, "hours of audio"),
        (caf(extra=caf_chunk(b"free", b"", -5)), FailureClass.DECODE_ERROR, "negative length"),
        (caf(code=b"aac ", packet_frames=1024, packet_bytes=0), FailureClass.DECODE_ERROR, "without its packet table"),
        (
            caf(code=b"aac ", packet_frames=1024, packet_bytes=0, audio=bytes(900), announced_bytes=1004),
            FailureClass.DECODE_ERROR,
            "announces 1000 bytes of audio, 900 are there, and its packet table,",
        ),
        (caf(code=b"aac ", packet_frames=2048, packet_bytes=0), FailureClass.CONTRACT_VIOLATION, "of 2048 samples"),
        (
            caf(
                code=b"aac ",
                packet_frames=1024,
                packet_bytes=0,
                extra=caf_chunk(b"pakt", struct.pack(">qqii", 2**60, 2**50, 0, 0)),
            ),
            FailureClass.DECODE_ERROR,
            "packets in a table of 0 bytes",
        ),
        (caf()[:52], FailureClass.DECODE_ERROR, "without its audio"),
        (caf()[:40], FailureClass.DECODE_ERROR, "ends inside its description"),
        (caf().replace(b"desc", b"free"), FailureClass.DECODE_ERROR, "does not begin with its description"),
        (b"caff\x00\x02" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "of an unknown version"),
        (
            caf(channels=2, extra=caf_chunk(b"chan", core_audio_layout(1, 0, 0x30))),
            FailureClass.CONTRACT_VIOLATION,
            "(mask 0x30)",
        ),
        (flac(channels=3), FailureClass.CONTRACT_VIOLATION, "(FLAC's own)"),
        (flac(channels=2, comment=MASK + b"0x600"), FailureClass.CONTRACT_VIOLATION, "(mask 0x600)"),
        (flac(channels=2, comment=MASK + b"zz"), FailureClass.CONTRACT_VIOLATION, "(mask 0x0)"),
        (b"OggS" + bytes(24) + b"OpusHead" + bytes(30), FailureClass.UNSUPPORTED_CONTAINER, "is an Ogg file of Opus;"),
        (b"OggS" + bytes(24) + b"\x01vorbis" + bytes(30), FailureClass.UNSUPPORTED_CONTAINER, "an Ogg file of Vorbis;"),
        (b"\x1aE\xdf\xa3" + bytes(20) + b"webm", FailureClass.UNSUPPORTED_CONTAINER, "is a WebM file;"),
        (b"BW64\xff\xff\xff\xffWAVE" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "is a BW64 file"),
        (b"RIFX" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "(RIFX)"),
        (b"riff.\x91\xcf\x11" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "is a Wave64 file"),
        (b"#!AMR\n" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "is an AMR file"),
        (b".snd" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "is an au file"),
        (b"0&\xb2u\x8ef" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "(wma)"),
        (b"\xff\xff\x50\x00" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "MPEG layer I audio stream"),
        (b"\x0b\x77" + bytes(60), FailureClass.UNSUPPORTED_CONTAINER, "AC-3"),
        (b"#EXTM3U\nfile:///etc/passwd", FailureClass.UNSUPPORTED_CONTAINER, "a playlist (m3u)"),
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


FACTS = HeaderFacts(Container.WAV, Encoding.PCM16, 16_000, 1, 1000, 16_000)


@pytest.mark.parametrize(
    ("facts", "size_bytes", "reason"),
    [
        (FACTS, 32_044, None),
        (
            HeaderFacts(Container.MP3, Encoding.MP3, 16_000, 1, 1000, 16_000),
            9000,
            "is a file of type mp3; the contract accepts wav, flac",
        ),
        (
            HeaderFacts(Container.WAV, Encoding.PCM16, 8_000, 1, 1000, 8_000),
            16_044,
            "is at 8000 Hz; the contract accepts 16000, 44100 Hz",
        ),
        (
            HeaderFacts(Container.WAV, Encoding.PCM16, 16_000, 2, 1000, 16_000),
            64_044,
            "has 2 channels; the contract accepts 1",
        ),
        (
            HeaderFacts(Container.WAV, Encoding.PCM16, 16_000, 1, 99, 1_584),
            3_212,
            "lasts 99 ms; the contract accepts at least 100ms",
        ),
        (
            HeaderFacts(Container.WAV, Encoding.PCM16, 16_000, 1, 60_001, 960_016),
            9_000,
            "lasts 60001 ms; the contract accepts at most 1m",
        ),
        (FACTS, 2**20 + 1, "has 1048577 bytes; the contract accepts at most 1Mi"),
        # An estimated length is never refused; only decoding finds the length.
        (HeaderFacts(Container.FLAC, Encoding.FLAC, 16_000, 1, 0, None), 9_000, None),
    ],
)
def test_a_violation_names_the_clause(facts: HeaderFacts, size_bytes: int, reason: str | None) -> None:
    error = contract_violation(facts, size_bytes, contract())
    assert (error and error.reason) == reason
    assert error is None or error.failure_class is FailureClass.CONTRACT_VIOLATION


def test_a_cut_clip_is_refused_unless_the_contract_accepts_it() -> None:
    content = clip("truncated.wav")
    facts = facts_of(content)
    assert facts.truncation is not None
    error = contract_violation(facts, len(content), contract())
    advice = "a contract with input.truncated: Accept takes what is there"
    assert error == RowError(failure_class=FailureClass.DECODE_ERROR, reason=f"{facts.truncation}; {advice}")
    assert contract_violation(facts, len(content), contract(truncated="Accept")) is None


def test_a_format_that_the_header_leaves_open_is_accepted_until_it_is_decoded() -> None:
    facts = HeaderFacts(
        Container.WAV, Encoding.PCM16, 22_050, 1, 1000, 22_050, other_formats=((44_100, 1), (44_100, 2))
    )
    assert contract_violation(facts, 9_000, contract()) is None
    error = contract_violation(facts, 9_000, contract(sample_rates_hz=(16_000,)))
    assert error is not None and error.reason.startswith("is at 22050 Hz")
    error = contract_violation(facts, 9_000, contract(channels=(3,)))
    assert error is not None and error.reason.startswith("has 1 channels")


def test_a_violation_names_an_encoding_and_a_missing_decoder() -> None:
    error = contract_violation(FACTS, 32_044, contract(encodings=("float32", "flac")))
    assert error is not None
    assert error.reason == "is encoded as pcm16; the contract accepts float32, flac"
    without = contract().model_copy(update={"input": contract().input.model_copy(update={"decoders": ()})})
    error = contract_violation(FACTS, 32_044, without)
    assert error is not None
    assert "input.decoders" in error.reason


def test_a_clip_at_8_khz_is_refused() -> None:
    content = clip("rate-8000.wav")
    error = contract_violation(facts_of(content), len(content), contract())
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
