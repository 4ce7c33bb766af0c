"""What of an mp3 file is audio, what is explained, and what is skipped or refused. Needs no MLX."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agent.audio.audio_bytes import aiff, wav
from tests.unit.agent.audio.mp3_bytes import (
    FRAME_AT_24_KHZ,
    FRAME_BYTES,
    FRAME_OF_STEREO,
    FRAME_SAMPLES,
    ID3V1,
    RATE_HZ,
    ape,
    frames,
    id3v2,
    lyrics3,
    xing,
)

from voxfleet_agent.audio.clip_warnings import skipped_parts, warnings_of
from voxfleet_agent.audio.headers import HeaderFacts, contract_violation, inspect, inspect_whole
from voxfleet_agent.audio.mp3_walk import MAX_SKIPPED_BYTES
from voxfleet_api.clip_warnings import WarningCode
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Container, ContractInput, Truncated
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

AUDIO = frames(10)
NOISE = bytes(range(1, 200)) * 3  # holds no frame
FREE_FORMAT = b"\xff\xf3\x08\xc4" + b"\xaa" * 300
PICTURE = b"APIC\0\0\x40\0\0\0\0image/png\0\3\0\x89PNG" + NOISE * 20


FLAC_CLIP = Path(__file__).parents[4] / "examples" / "clips" / "flac-48000-30.flac"


def facts_of(content: bytes) -> HeaderFacts:
    return inspect_whole(io.BytesIO(content), len(content))


def refusal_of(content: bytes) -> VoxFleetError:
    with pytest.raises(VoxFleetError) as caught:
        facts_of(content)
    return caught.value


def given_to_the_decoder(content: bytes) -> bytes:
    return b"".join(content[start:end] for start, end in facts_of(content).ranges(len(content)))


@pytest.mark.parametrize(
    "front",
    [
        b"",
        id3v2(b"TIT2" + bytes(20), version=3),
        id3v2(b"TT2" + bytes(20), version=2),
        id3v2(PICTURE),
        id3v2(bytes(40), footer=True),
        id3v2(bytes(300), plain=True, version=2),
        id3v2(bytes(100)) + id3v2(bytes(700)),
        id3v2(bytes(100)) + bytes(3000),
        ape(b"x" * 40, header=True),
        bytes(417),
        xing(0),
        xing(None),
        xing(7),
    ],
)
@pytest.mark.parametrize(
    "back",
    [
        b"",
        ID3V1,
        b"TAG+" + bytes(223) + ID3V1,
        ape(b"x" * 40),
        ape(b"x" * 40, header=True),
        ape(b"x" * 40) + ID3V1,
        lyrics3(b"IND0000210"),
        lyrics3(b"words") + ID3V1,
        b"LYRICSBEGINwordsLYRICSEND" + ID3V1,
        id3v2(bytes(30), footer=True),
        ID3V1 + id3v2(bytes(30)),
        bytes(700),
        bytes(50) + ID3V1,
    ],
)
def test_tags_and_padding_are_left_out_without_a_warning(front: bytes, back: bytes) -> None:
    content = front + AUDIO + back
    facts = facts_of(content)
    assert given_to_the_decoder(content) == AUDIO
    assert facts.frames == 10 * FRAME_SAMPLES
    assert warnings_of(facts) == ()
    assert sum(part.length_bytes for part in skipped_parts(facts)) == len(front) + len(back)


@pytest.mark.parametrize(
    ("front", "back", "what"),
    [
        (AUDIO[100:FRAME_BYTES], b"", "bytes of no known format"),
        (b"HTTP/1.0 200 OK\r\n\r\n", b"", "text"),
        (NOISE, b"", "bytes of no known format"),
        (bytes(9000), b"", "zero bytes"),
        (b"", b"\n", "text"),
        (b"", b"\r\n--boundary--\r\n", "text"),
        (b"", NOISE, "bytes of no known format"),
        (b"", bytes(9000), "zero bytes"),
        (b"", b"TAG" + bytes(60), "an ID3v1 tag cut off"),
        (b"", id3v2(bytes(500))[:200], "an ID3v2 tag cut off"),
        (b"", b"LYRICSBEGINla la", "a Lyrics3 tag cut off"),
        (id3v2(bytes(200), length=90000), b"", "an ID3v2 tag whose length is not the one that it states"),
        (id3v2(bytes(200), length=200 + 2 * FRAME_BYTES + 5), b"", "an ID3v2 tag whose length is not the one that"),
        (id3v2(NOISE, length=40), b"", "bytes of no known format"),
    ],
)
def test_rubbish_around_the_frames_is_skipped_and_told(front: bytes, back: bytes, what: str) -> None:
    content = front + AUDIO + back
    facts = facts_of(content)
    assert given_to_the_decoder(content) == AUDIO
    (warning,) = warnings_of(facts)
    (part,) = facts.skipped
    assert warning.code is WarningCode.BYTES_SKIPPED
    assert what in warning.message
    assert f"{part.length_bytes} of its bytes" in warning.message
    assert f"at byte {part.offset_bytes} " in warning.message
    assert part.offset_bytes in (0, len(front) + len(AUDIO)) or front.startswith(b"ID3")


@pytest.mark.parametrize(
    ("between", "warns"),
    [
        (b"", False),
        (ID3V1, False),
        (ID3V1 + id3v2(PICTURE), False),
        (ape(b"x" * 9, header=True), False),
        (xing(4), False),
        (bytes(400) + id3v2(bytes(40)) + bytes(100) + xing(4, 999), False),
        (b"StreamTitle='x';", True),
    ],
)
@pytest.mark.parametrize("first", [b"", xing(10), xing(10, 11 * FRAME_BYTES)])
def test_all_parts_of_joined_files_are_audio(first: bytes, between: bytes, warns: bool) -> None:
    content = first + AUDIO + between + frames(4)
    facts = facts_of(content)
    assert facts.frames == 14 * FRAME_SAMPLES
    assert given_to_the_decoder(content) == AUDIO + frames(4)  # no length header: it would stop after the first part
    assert bool(facts.skipped) == warns


def test_a_length_header_that_tells_the_truth_is_given_to_the_decoder() -> None:
    content = xing(10, 11 * FRAME_BYTES) + AUDIO
    assert given_to_the_decoder(content + ID3V1) == content
    assert facts_of(content).ranges(len(content)) == ((0, len(content)),)


@pytest.mark.parametrize("gap", [bytes(600), NOISE, b"\x01" * 40, b"text " * 100])
def test_a_gap_within_the_frames_is_refused_with_its_place_and_length(gap: bytes) -> None:
    error = refusal_of(AUDIO + gap + AUDIO)
    assert error.failure_class is FailureClass.DECODE_ERROR
    assert f"holds {len(gap)} bytes at byte {len(AUDIO)} (" in error.message


def test_a_lost_frame_is_no_length_header_that_counts_itself() -> None:
    content = xing(20, 21 * FRAME_BYTES) + AUDIO + bytes(FRAME_BYTES) + frames(9)
    assert f"holds {FRAME_BYTES} bytes at byte {FRAME_BYTES + len(AUDIO)} (" in refusal_of(content).message


def test_a_gap_is_skipped_when_the_header_says_that_no_frame_is_missing() -> None:
    facts = facts_of(xing(20) + AUDIO + NOISE + AUDIO)
    assert facts.frames == 20 * FRAME_SAMPLES
    assert [part.length_bytes for part in facts.skipped] == [len(NOISE)]


def test_more_rubbish_than_is_skipped_is_refused_with_its_length() -> None:
    rubbish = b"\x01" * (MAX_SKIPPED_BYTES + 1)
    assert f"holds {len(rubbish)} bytes from byte {len(AUDIO)} on" in refusal_of(AUDIO + rubbish).message


@pytest.mark.parametrize("between", [b"", ID3V1, NOISE, b"text"])
def test_a_change_of_the_stream_is_refused_with_its_place(between: bytes) -> None:
    at = len(AUDIO + between)
    message = refusal_of(AUDIO + between + FRAME_OF_STEREO * 3).message
    assert message.startswith(f"changes from 1 to 2 channels at byte {at};")
    message = refusal_of(AUDIO + between + FRAME_AT_24_KHZ * 3).message
    assert message.startswith(f"changes from 16000 to 24000 Hz at byte {at};")


@pytest.mark.parametrize("before", [AUDIO, AUDIO + NOISE, NOISE])
@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (wav(), "a wav file"),
        (FREE_FORMAT * 3, "an mp3 stream of free format"),
        (aiff(), "an aiff file"),
        (FLAC_CLIP.read_bytes()[:5000], "a flac file"),
    ],
)
def test_another_file_is_never_taken_for_rubbish(before: bytes, other: bytes, kind: str) -> None:
    content = before + other + AUDIO
    assert refusal_of(content).message == (
        f"is joined with another file: {len(content) - len(before)} bytes from byte {len(before)} on,"
        f" where {kind} begins, would not be read; split the file"
    )


FALSE_TAGS = [
    id3v2(NOISE, length=len(NOISE) + 1000),
    id3v2(NOISE, length=len(NOISE) + 10**6),
    ape(b"x" * 40, header=True, length=3000),
    b"LYRICSBEGINla la",
]


@pytest.mark.parametrize("tag", FALSE_TAGS)
@pytest.mark.parametrize("front", [b"", AUDIO])
def test_a_tag_that_claims_frames_is_cut_to_what_lies_before_them(front: bytes, tag: bytes) -> None:
    content = front + tag + frames(20)
    facts = facts_of(content)
    assert given_to_the_decoder(content) == front + frames(20)
    (part,) = facts.skipped
    assert (part.offset_bytes, part.length_bytes) == (len(front), len(tag))
    assert part.what.endswith("tag whose length is not the one that it states")


def test_messages_of_files_without_frames_count_what_is_there() -> None:
    tag = id3v2(bytes(50))
    assert refusal_of(tag).message == f"holds nothing behind an ID3v2 tag, which ends at byte {len(tag)}"
    behind = refusal_of(tag + NOISE).message
    assert f"the first {len(NOISE)} of the {len(NOISE)} bytes behind an ID3v2 tag" in behind
    assert refusal_of(tag[:30]).message.startswith("ends inside an ID3v2 tag at byte 0;")


def contract(truncated: Truncated) -> VoiceContractSpec:
    accepted = ContractInput(
        containers=tuple(Container), sample_rates_hz=(RATE_HZ,), channels=(1,), min_clip="1ms", truncated=truncated
    )
    return VoiceContractSpec(input=accepted)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (AUDIO[:-1], f"ends inside a frame of {FRAME_BYTES} bytes, of which {FRAME_BYTES - 1} are there"),
        (AUDIO[:-140], f"ends inside a frame of {FRAME_BYTES} bytes, of which {FRAME_BYTES - 140} are there"),
        (AUDIO[:-140] + ID3V1, f"ends inside a frame of {FRAME_BYTES} bytes, of which {FRAME_BYTES - 140} are there"),
        (AUDIO + frames(1)[:3], "ends inside a frame, of which 3 are there"),
        (AUDIO + frames(1)[:1], "ends inside a frame, of which 1 is there"),
        (xing(12) + AUDIO, "its header announces 12 frames, 10 are there (72 ms are missing)"),
        (xing(12, 99999) + AUDIO, "its header announces 12 frames, 10 are there (72 ms are missing)"),
    ],
)
def test_a_file_that_ends_early_is_up_to_the_contract(content: bytes, says: str) -> None:
    facts = facts_of(content)
    refused = contract_violation(facts, len(content), contract(Truncated.REFUSE))
    assert refused is not None
    assert refused.failure_class is FailureClass.DECODE_ERROR
    assert says in refused.reason
    assert "input.truncated: Accept" in refused.reason
    assert contract_violation(facts, len(content), contract(Truncated.ACCEPT)) is None
    assert given_to_the_decoder(content) in (AUDIO, AUDIO[:-FRAME_BYTES])
    (warning,) = warnings_of(facts)
    assert warning.code is WarningCode.TRUNCATED_AUDIO
    assert says in warning.message


def test_plan_tells_a_file_that_is_cut_short_by_its_first_frame() -> None:
    content = xing(10, 11 * FRAME_BYTES) + AUDIO
    facts = inspect(io.BytesIO(content[:2000]), 2000)
    assert facts.truncation == f"is cut short: its header announces {11 * FRAME_BYTES} bytes, 2000 are there"
    assert facts.frames is None
    assert inspect(io.BytesIO(content), len(content)).truncation is None


@pytest.mark.parametrize(("begin", "undecodable"), [(0, 0), (1, 1), (255, 1)])
def test_frames_whose_bytes_come_before_the_file_are_told(begin: int, undecodable: int) -> None:
    facts = facts_of(frames(10, begin=begin))
    assert facts.undecodable_frames == undecodable * FRAME_SAMPLES
    assert [re.findall(r"\d+", warning.message) for warning in warnings_of(facts)] == [["36"]] * undecodable


@pytest.mark.parametrize("make", [wav, FLAC_CLIP.read_bytes, aiff])
def test_a_tag_in_front_of_another_container_is_told_by_what_lies_behind_it(make: object) -> None:
    assert callable(make)
    inner, tag = make(), id3v2(PICTURE)
    facts = facts_of(tag + inner)
    plain = facts_of(inner)
    assert facts.container is plain.container
    assert facts.frames == plain.frames
    assert facts.ranges(len(tag + inner)) == ((len(tag), len(tag) + len(inner)),)
    assert facts.copy_bytes(len(tag + inner)) == len(inner)


def test_tags_and_zeros_behind_flac_are_left_out() -> None:
    inner = FLAC_CLIP.read_bytes()
    for back in (ID3V1, ape(b"x"), bytes(4096), bytes(100) + ID3V1):
        facts = facts_of(inner + back)
        ((start, end),) = facts.ranges(len(inner + back))
        assert start == 0
        assert len(inner) <= end <= len(inner) + 2
    assert facts_of(inner).ranges(len(inner)) == ((0, len(inner)),)


def test_a_known_format_in_front_of_frames_is_named() -> None:
    for front, name in ((b"<html>", "a text file"), (b"%PDF-1.4\n", "a PDF"), (b"#EXTM3U\nfile:///x\n", "a playlist")):
        error = refusal_of(front + AUDIO)
        assert error.failure_class is FailureClass.UNSUPPORTED_CONTAINER
        assert name in error.message
        assert f"{name}" in refusal_of(id3v2(bytes(9)) + front + AUDIO).message


@pytest.mark.parametrize("length", [32 + 5 * FRAME_BYTES, 32 + 1000])
def test_an_ape_tag_at_the_end_takes_no_frames(length: int) -> None:
    content = AUDIO + ape(b"x" * 40, length=length)
    assert given_to_the_decoder(content) == AUDIO
    assert facts_of(content).frames == 10 * FRAME_SAMPLES


@pytest.mark.parametrize("zeros", [MAX_SKIPPED_BYTES + 1, 300_000])
def test_any_number_of_zeros_may_precede_the_frames(zeros: int) -> None:
    assert given_to_the_decoder(bytes(zeros) + AUDIO) == AUDIO
    assert given_to_the_decoder(b"\xff" * 3000 + AUDIO) == AUDIO


PARTS = st.sampled_from(
    [
        frames(1),
        frames(3),
        frames(5, begin=200),
        xing(4),
        xing(8, 9000),
        ID3V1,
        id3v2(bytes(60)),
        ape(b"abc", header=True),
        lyrics3(b"la"),
        bytes(30),
        bytes(5000),
        b"\n",
        b"text",
        NOISE,
        frames(1)[:50],
        FRAME_OF_STEREO,
        b"\xff\xf3",
    ]
)


@given(st.lists(PARTS, max_size=12), st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 255)), max_size=4))
def test_every_byte_of_an_accepted_file_is_accounted_for_once(parts: list[bytes], edits: list[tuple[int, int]]) -> None:
    content = bytearray(frames(3) + b"".join(parts))
    for position, value in edits:
        content[position % len(content)] = value
    facts = error = None
    try:
        facts = facts_of(bytes(content))
    except VoxFleetError as caught:
        error = caught
    if facts is None:
        assert error is not None
        assert error.failure_class in (FailureClass.DECODE_ERROR, FailureClass.UNSUPPORTED_CONTAINER)
        assert len(error.message) <= 256
        return
    told = [(part.offset_bytes, part.offset_bytes + part.length_bytes) for part in (*facts.explained, *facts.skipped)]
    covered = sorted((*facts.ranges(len(content)), *told))
    assert covered[0][0] == 0
    assert covered[-1][1] == len(content)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(covered))
    assert facts.frames is not None
    assert facts.frames > 0
    assert all(len(warning.message) <= 256 for warning in warnings_of(facts))


def test_a_list_of_parts_is_bounded() -> None:
    content = b"".join(frames(2) + ID3V1 for _ in range(40))
    parts = skipped_parts(facts_of(content))
    assert len(parts) == 16
    assert sum(part.length_bytes for part in parts) == 40 * len(ID3V1)


def test_a_file_of_nothing_but_tags_is_refused() -> None:
    content = frames(3) + lyrics3(b"") * 25_000 + frames(3)
    assert "more than 20000 tags" in refusal_of(content).message
