"""How much audio a file has when its header says more, less or nothing of it, and where an m4a file keeps it."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable

import pytest
from tests.unit.agent.audio.audio_bytes import aiff, box, caf, wav
from tests.unit.agent.audio.whole_files import (
    FLAC,
    FRAMES,
    M4A,
    NOISE,
    WHOLE,
    WHOLE_FRAMES,
    facts_of,
    refusal_of,
    streamed,
)

from voxfleet_agent.audio.clip_warnings import warnings_of
from voxfleet_agent.audio.flac_frames import metadata_end
from voxfleet_agent.audio.header_facts import ClipReader
from voxfleet_api.kinds.contract_input import Container


@pytest.mark.parametrize("more", [1, 2, 28, 44, len(NOISE)])
@pytest.mark.parametrize("make", [wav, caf])
def test_a_length_that_is_too_long_is_told_in_bytes(make: Callable[..., bytes], more: int) -> None:
    announced = len(NOISE) + more
    facts = facts_of(make(audio=NOISE, announced_bytes=announced + 4 if make is caf else announced))
    assert facts.frames == FRAMES
    assert facts.truncation == (
        f"is cut short: its header announces {announced} bytes of audio, {len(NOISE)} are there"
    )


@pytest.mark.parametrize("lost", [1, 2, 3, 999, len(NOISE) - 2])
@pytest.mark.parametrize("container", ["wav", "aiff", "caf"])
def test_a_cut_file_has_the_whole_samples_that_are_there(container: str, lost: int) -> None:
    facts = facts_of(WHOLE[container][:-lost])
    present = len(NOISE) - lost
    assert facts.frames == present // 2
    assert facts.truncation == f"is cut short: its header announces {len(NOISE)} bytes of audio, {present} are there"
    assert [(part.length_bytes, part.what) for part in facts.skipped] == [(1, "a part of a sample")] * (present % 2)
    # The decoder is given a header of the length that is there.
    end = len(WHOLE[container]) - lost - present % 2
    assert (facts.audio_start_bytes, facts.audio_end_bytes) == (len(WHOLE[container]) - len(NOISE), end)
    given = facts.own_header + WHOLE[container][facts.audio_start_bytes : end]
    assert (facts_of(given).frames, facts_of(given).truncation) == (present // 2, None)


@pytest.mark.parametrize("container", ["wav", "aiff", "caf"])
def test_a_cut_file_without_one_sample_is_told_in_bytes(container: str) -> None:
    message = refusal_of(WHOLE[container][: -len(NOISE)])
    assert message == f"is cut short: its header announces {len(NOISE)} bytes of audio, 0 are there"


def test_a_cut_flac_has_its_whole_frames() -> None:
    facts = facts_of(FLAC[:-1])
    assert facts.frames is not None
    assert facts.frames < WHOLE_FRAMES["flac"]
    assert facts.truncation == (
        f"is cut short: its header announces {WHOLE_FRAMES['flac']} samples of each channel, {facts.frames} are there"
    )
    assert facts.audio_end_bytes is not None
    assert facts_of(FLAC[: facts.audio_end_bytes]).frames == facts.frames


def test_a_streamed_flac_is_counted() -> None:
    facts = facts_of(streamed(FLAC))
    assert (facts.frames, facts.truncation) == (WHOLE_FRAMES["flac"], None)
    cut = facts_of(streamed(FLAC)[:-1])
    assert cut.truncation == f"ends inside a frame: {cut.frames} whole samples of each channel are there"


def test_frames_that_are_missing_within_a_flac_are_named() -> None:
    middle = len(FLAC) // 2
    message = refusal_of(streamed(FLAC[:middle] + bytes(20_000) + FLAC[middle + 20_000 :]))
    assert message.startswith("jumps from frame 4 to frame 9")


def test_flac_frames_that_begin_again_are_told_apart_from_missing_ones() -> None:
    frames = FLAC[metadata_end(ClipReader(io.BytesIO(FLAC), len(FLAC))) :]
    message = refusal_of(FLAC + frames)
    assert re.fullmatch(rf"goes back from frame \d+ to frame 0 at byte {len(FLAC)}: streams are joined .*", message)


def test_more_samples_than_a_flac_announces_are_told() -> None:
    frames = WHOLE_FRAMES["flac"]
    fewer = FLAC[:21] + bytes([FLAC[21] & 0xF0]) + (frames - 1).to_bytes(4, "big") + FLAC[26:]
    assert refusal_of(fewer) == f"holds {frames} samples of each channel, but its header announces {frames - 1}"


@pytest.mark.parametrize(
    "content",
    [
        wav(audio=NOISE, announced_bytes=0),
        wav(audio=NOISE, announced_bytes=0, extra=b"FLLR" + struct.pack("<I", 100) + bytes(100)),
        wav(audio=NOISE, extra=b"LIST\x03\x00\x00\x00abc"),  # no byte of padding
        wav(audio=NOISE, extra=b"data\x00\x00\x00\x00"),
        aiff(audio=NOISE, announced_bytes=0),
        aiff(audio=NOISE, frames=0, announced_bytes=0),
        aiff(audio=NOISE, frames=0),
        aiff(b"sowt", audio=NOISE, frames=0, announced_bytes=-8),
        caf(audio=NOISE, announced_bytes=-1),
        caf(audio=NOISE, announced_bytes=0),
        caf(audio=NOISE, announced_bytes=4),
    ],
)
def test_lengths_that_were_never_filled_in_mean_to_the_end(content: bytes) -> None:
    facts = facts_of(content)
    assert (facts.frames, facts.skipped, facts.truncation) == (FRAMES, (), None)
    if facts.own_header:
        given = facts.own_header + content[facts.audio_start_bytes : facts.audio_end_bytes]
        assert (facts_of(given).frames, facts_of(given).own_header) == (FRAMES, b"")
        assert given.endswith(NOISE)


@pytest.mark.parametrize("announced_bytes", [0, 0xFFFFFFFF])
def test_tags_behind_an_open_end_are_no_audio(announced_bytes: int) -> None:
    content = wav(audio=NOISE, announced_bytes=announced_bytes) + b"TAG" + bytes(range(125))
    facts = facts_of(content)
    assert (facts.frames, facts.skipped) == (FRAMES, ())
    assert (facts.own_header + content[facts.audio_start_bytes : facts.audio_end_bytes]).endswith(NOISE)


def test_an_unfinished_recording_behind_a_tag_is_found() -> None:
    tag = b"ID3\x03\x00\x00\x00\x00\x00\x14" + bytes(range(20))
    content = tag + wav(audio=NOISE, announced_bytes=0)
    facts = facts_of(content)
    assert facts.frames == FRAMES
    assert content[facts.audio_start_bytes : facts.audio_end_bytes] == NOISE


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (wav(audio=b""), "holds no audio: its data chunk has 0 bytes"),
        (wav(audio=b"") + b"LIST\x04\x00\x00\x00INFO", "holds no audio: its data chunk has 0 bytes"),
        (wav(audio=b"x"), "holds no audio: its data chunk has 1 bytes, less than one sample of each channel"),
        (aiff(audio=b"", frames=0), "holds no audio: its SSND chunk has 0 bytes of it"),
        (caf(audio=b""), "holds no audio: its data chunk has 0 bytes of it"),
    ],
)
def test_no_audio_is_said_only_where_there_is_none(content: bytes, says: str) -> None:
    assert refusal_of(content).startswith(says)


@pytest.mark.parametrize("wide", [False, True])
def test_an_mdat_to_the_end_or_of_64_bits_is_read(wide: bool) -> None:
    at = M4A.index(b"mdat") - 4
    (length,) = struct.unpack_from(">I", M4A, at)
    moov = M4A[at + length :]
    if wide:
        # The header takes 8 bytes more, out of the free box in front of it.
        free = M4A.index(b"free") - 4
        assert free + 8 == at
        content = M4A[:free] + struct.pack(">I4sQ", 1, b"mdat", length + 8) + M4A[at + 8 : at + length] + moov
    else:
        content = M4A[:at] + moov  # moov first, its offsets shifted by what now lies in front of the audio
        content = shifted(content, len(moov)) + bytes(4) + M4A[at + 4 : at + length]
    facts = facts_of(content)
    assert (facts.frames, facts.skipped, facts.truncation) == (WHOLE_FRAMES["m4a"], (), None)


def shifted(content: bytes, by: int) -> bytes:
    """With the places of all chunks (stco) moved."""
    at = content.index(b"stco") + 8
    (count,) = struct.unpack_from(">I", content, at)
    places = struct.unpack_from(f">{count}I", content, at + 4)
    return (
        content[: at + 4] + struct.pack(f">{count}I", *(place + by for place in places)) + content[at + 4 + 4 * count :]
    )


def header_first() -> bytes:
    at = M4A.index(b"mdat") - 4
    (length,) = struct.unpack_from(">I", M4A, at)
    moov = M4A[at + length :]
    return shifted(M4A[:at] + moov, len(moov)) + M4A[at : at + length]


@pytest.mark.parametrize("left_out_ms", [0, 40, 600])
def test_stored_audio_that_an_edit_list_leaves_out_is_told(left_out_ms: int) -> None:
    at = M4A.index(b"elst") + 12
    (played_ms,) = struct.unpack_from(">I", M4A, at)
    facts = facts_of(M4A[:at] + struct.pack(">I", played_ms - left_out_ms) + M4A[at + 4 :])
    warnings = [warning.message for warning in warnings_of(facts)]
    if left_out_ms < 100:
        assert warnings == []
        return
    (message,) = warnings
    (told_ms,) = re.findall(r"leaves out (\d+) ms", message)
    assert 0 <= int(told_ms) - left_out_ms <= 60  # and the encoder's delay


@pytest.mark.parametrize("first", [b"", box(b"wide"), box(b"free", bytes(9))])
def test_a_quicktime_file_without_a_file_type_is_read(first: bytes) -> None:
    for content, names in ((header_first(), (b"moov",)), (M4A, (b"mdat", b"free"))):
        start = min(content.index(name) - 4 for name in names)
        old = first + shifted(content, len(first) - start)[start:]
        facts = facts_of(old)
        assert (facts.container, facts.frames, facts.skipped) == (Container.M4A, WHOLE_FRAMES["m4a"], ())


def test_boxes_of_64_bits_are_read_within_the_header() -> None:
    """`trak` takes 8 bytes more; the header lies behind the audio."""
    moov, track = M4A.index(b"moov") - 4, M4A.index(b"trak") - 4
    lengths = {at: struct.unpack_from(">I", M4A, at)[0] for at in (moov, track)}
    grown = M4A[:moov] + struct.pack(">I", lengths[moov] + 8) + M4A[moov + 4 : track]
    content = grown + struct.pack(">I4sQ", 1, b"trak", lengths[track] + 8) + M4A[track + 8 :]
    facts = facts_of(content)
    assert (facts.frames, facts.skipped) == (WHOLE_FRAMES["m4a"], ())


def test_a_cut_m4a_has_its_whole_packets() -> None:
    whole = header_first()
    assert facts_of(whole).truncation is None
    audio_bytes = len(whole) - whole.index(b"mdat") - 4
    for lost in (1, 300, 5_000):
        facts = facts_of(whole[:-lost])
        assert facts.truncation is not None
        assert facts.audio_end_bytes is not None
        present = facts.audio_end_bytes - whole.index(b"mdat") - 4
        assert facts.truncation == (
            f"is cut short: its header announces {audio_bytes} bytes of audio, {present} are there"
        )
        assert audio_bytes - lost - 1_000 < present <= audio_bytes - lost
        assert facts.frames is not None
        assert facts.frames < WHOLE_FRAMES["m4a"]


def test_an_m4a_that_ends_ahead_of_its_header_says_so() -> None:
    at = M4A.index(b"mdat") - 4
    (length,) = struct.unpack_from(">I", M4A, at)
    assert refusal_of(M4A[: at + 2_000]) == (
        f"is cut short: its header announces {at + length} bytes, {at + 2_000} are there,"
        " and its header (moov) is not among them"
    )
