"""What header inspection and a contract refuse, and their messages. Needs no MLX."""

from __future__ import annotations

import struct

import pytest
from tests.unit.agent.audio.audio_bytes import (
    CAF_FLOAT,
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
from tests.unit.agent.audio.header_files import MASK, clip, facts_of, fragmented, layout

from voxfleet_agent.audio.headers import HeaderFacts, contract_violation
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Container, ContractInput, Encoding
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.rows import RowError


def packet_bomb(name: bytes, at: int, count: int) -> bytes:
    """An m4a that announces `count` packets."""
    content = bytearray(clip("m4a-16000-04.m4a"))
    position = content.index(name) + at
    content[position : position + 4] = struct.pack(">I", count)
    return bytes(content)


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
        (
            HeaderFacts(Container.MP3, Encoding.MP3, 48_000, 2, 60_001, 2_880_048),
            2**20 + 1,
            "is a file of type mp3; the contract accepts wav, flac; it also is at 48000 Hz; the contract accepts 16000,"
            " 44100 Hz; it also has 2 channels; the contract accepts 1; it also has 1048577 bytes; the"
            " contract accepts at most 1Mi; and 1 more",
        ),
        (
            HeaderFacts(Container.WAV, Encoding.PCM16, 48_000, 2, 99, 4_752),
            9000,
            "is at 48000 Hz; the contract accepts 16000, 44100 Hz; it also has 2 channels; the contract accepts 1; it"
            " also lasts 99 ms; the contract accepts at least 100ms",
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
