"""Every byte of an accepted file is audio, a chunk, a complete tag or padding; otherwise its row says how many are not.

Each number and noun of a message is derived from the file that it is about.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.agent.audio.audio_bytes import aiff, box, caf, caf_chunk, wav
from tests.unit.agent.audio.mp3_bytes import frames as mp3_frames

from voxfleet_agent.audio.clip_warnings import warnings_of
from voxfleet_agent.audio.flac_frames import metadata_end
from voxfleet_agent.audio.header_facts import ClipReader
from voxfleet_agent.audio.headers import HeaderFacts, inspect, inspect_whole
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Container

CLIPS = Path(__file__).parents[4] / "examples" / "clips"
FRAMES = 1_600
NOISE = bytes((7 * number + 131) % 251 + 1 for number in range(2 * FRAMES))
"""Audio of 100 ms in 16-bit samples at 16 kHz without any zero, so that no part of it looks like padding."""
FLAC = (CLIPS / "flac-48000-30.flac").read_bytes()
TAG = b"ID3\x03\x00\x00\x00\x00\x00\x14" + bytes(range(20))
M4A = (CLIPS / "m4a-44100-28.m4a").read_bytes()


def facts_of(content: bytes) -> HeaderFacts:
    """As decoding sees it: a FLAC file's frames are counted."""
    facts = inspect(io.BytesIO(content), len(content))
    return inspect_whole(io.BytesIO(content), len(content)) if facts.container is Container.FLAC else facts


def refusal_of(content: bytes) -> str:
    with pytest.raises(VoxFleetError) as caught:
        facts_of(content)
    assert caught.value.failure_class is FailureClass.DECODE_ERROR
    assert len(caught.value.message) <= 256
    return caught.value.message


WHOLE: dict[str, bytes] = {
    "wav": wav(audio=NOISE),
    "aiff": aiff(audio=NOISE),
    "caf": caf(audio=NOISE),
    "flac": FLAC,
    "m4a": M4A,
}
ARTICLES = {"wav": "a wav", "aiff": "an aiff", "caf": "a caf", "flac": "a flac", "m4a": "an m4a"}
OGG = b"OggS\0\x02" + bytes(22) + b"\x01\x1eOpusHead" + NOISE
SECONDS = {
    **{container: (content, f"{ARTICLES[container]} file") for container, content in WHOLE.items()},
    "mp3": (mp3_frames(12), "an mp3 stream"),
    "ogg": (OGG, "an Ogg file of Opus"),
}
"""What may be joined behind a file: its bytes, and what it is called."""
WHOLE_FRAMES = {"wav": FRAMES, "aiff": FRAMES, "caf": FRAMES, "flac": 63_683, "m4a": 57_065}


@pytest.mark.parametrize("container", WHOLE)
def test_a_whole_file_has_nothing_to_tell(container: str) -> None:
    facts = facts_of(WHOLE[container])
    assert (facts.frames, facts.skipped, facts.truncation) == (WHOLE_FRAMES[container], (), None)
    assert (facts.own_header, facts.ranges(len(WHOLE[container]))) == (b"", ((0, len(WHOLE[container])),))


@pytest.mark.parametrize("container", [*WHOLE, "streamed flac", "tagged flac", "mp3"])
@pytest.mark.parametrize("second", SECONDS)
def test_joined_files_are_refused_with_the_bytes_of_the_second(container: str, second: str) -> None:
    if container == second == "mp3":
        return  # a stream of frames, which is decoded whole
    firsts = {**WHOLE, "streamed flac": streamed(FLAC), "tagged flac": TAG + FLAC, "mp3": mp3_frames(12)}
    (rest, kind), first = SECONDS[second], firsts[container]
    for behind in (b"", bytes(200)):
        with pytest.raises(VoxFleetError) as caught:
            inspect_whole(io.BytesIO(first + rest + behind), len(first + rest + behind))
        assert caught.value.message == (
            f"is joined with another file: {len(rest + behind)} bytes from byte {len(first)} on,"
            f" where {kind} begins, would not be read; split the file"
        )


@pytest.mark.parametrize("container", WHOLE)
def test_a_rest_that_may_be_audio_is_refused_with_its_bytes(container: str) -> None:
    rest = NOISE + NOISE
    message = refusal_of(WHOLE[container] + rest)
    assert message.startswith(f"holds {len(rest)} bytes from byte {len(WHOLE[container])} on that its header does not")


@pytest.mark.parametrize("container", WHOLE)
@pytest.mark.parametrize("rest", [bytes(3_000), b"TAG" + bytes(125), b"ID3\x04\x00\x00\x00\x00\x00\x05about"])
def test_padding_and_tags_are_nothing_to_tell(container: str, rest: bytes) -> None:
    facts = facts_of(WHOLE[container] + rest)
    assert (facts.frames, facts.skipped, facts.truncation) == (WHOLE_FRAMES[container], (), None)


@pytest.mark.parametrize("container", WHOLE)
def test_text_behind_the_end_is_skipped_and_told(container: str) -> None:
    rest = b"\r\n--boundary--\r\n"
    facts = facts_of(WHOLE[container] + rest)
    (skipped,) = facts.skipped
    assert (skipped.offset_bytes, skipped.length_bytes, skipped.what) == (len(WHOLE[container]), len(rest), "text")
    assert facts.frames == WHOLE_FRAMES[container]


@pytest.mark.parametrize("make", [wav, aiff, caf])
@pytest.mark.parametrize("announced_bytes", [320, len(NOISE) // 2])
def test_a_length_that_is_too_short_is_refused_with_what_is_left(
    make: Callable[..., bytes], announced_bytes: int
) -> None:
    counted = announced_bytes + 4 if make is caf else announced_bytes
    changes = {"frames": announced_bytes // 2} if make is aiff else {}
    content = make(audio=NOISE, announced_bytes=counted, **changes)
    left_bytes = len(NOISE) - announced_bytes
    message = refusal_of(content)
    assert message.startswith(
        f"holds {left_bytes} bytes from byte {len(content) - left_bytes} on that its header does not"
    )


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


def streamed(content: bytes) -> bytes:
    """A FLAC file that states neither its length nor a checksum."""
    return content[:21] + bytes([content[21] & 0xF0]) + bytes(4 + 16) + content[42:]


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


@pytest.mark.parametrize("second", SECONDS)
@pytest.mark.parametrize(
    "first",
    [
        wav(audio=NOISE, announced_bytes=0),
        wav(audio=NOISE, announced_bytes=0xFFFFFFFF),
        aiff(audio=NOISE, frames=0, announced_bytes=0),
        caf(audio=NOISE, announced_bytes=-1),
    ],
)
def test_joined_files_without_lengths_are_found_by_a_search(first: bytes, second: str) -> None:
    rest, kind = SECONDS[second]
    content = first + rest
    with pytest.raises(VoxFleetError) as caught:
        inspect_whole(io.BytesIO(content), len(content))
    assert caught.value.message == (
        f"is joined with another file: {len(rest)} bytes from byte {len(first)} on,"
        f" where {kind} begins, would not be read; split the file"
    )


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


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (wav(audio=NOISE) + b"data" + struct.pack("<I", len(NOISE)) + NOISE, "data"),
        (aiff(audio=NOISE) + b"SSND" + struct.pack(">III", 8 + len(NOISE), 0, 0) + NOISE, "SSND"),
        (caf(audio=NOISE, after=caf_chunk(b"data", bytes(4) + NOISE)), "data"),
        (caf(audio=b"", after=caf_chunk(b"data", bytes(4) + NOISE)), "data"),
    ],
)
def test_audio_in_several_chunks_is_refused_with_the_bytes_of_the_later_ones(content: bytes, kind: str) -> None:
    assert refusal_of(content) == (
        f"holds its audio in more than one {kind} chunk: {len(NOISE)} bytes of the later ones would not be read;"
        " split the file"
    )


def test_a_list_of_waves_is_refused_by_its_name() -> None:
    body = b"wavl" + b"data" + struct.pack("<I", len(NOISE)) + NOISE
    content = wav(audio=b"")[:36] + b"LIST" + struct.pack("<I", len(body)) + body
    with pytest.raises(VoxFleetError, match=rf"list of waves \(LIST wavl\) of {len(body)} bytes") as caught:
        facts_of(content)
    assert caught.value.failure_class is FailureClass.CONTRACT_VIOLATION


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (wav(audio=NOISE) + b"LIST" + struct.pack("<I", 500) + bytes(range(200)), "LIST"),
        (aiff(audio=NOISE) + b"ID3 " + struct.pack(">I", 500) + bytes(range(200)), "ID3"),
        (caf(audio=NOISE, after=caf_chunk(b"info", bytes(range(200)), 500)), "info"),
        (M4A + struct.pack(">I4s", 500, b"udta") + bytes(range(200)), "udta"),
    ],
)
def test_a_chunk_of_no_audio_that_is_cut_off_is_skipped_and_told(content: bytes, name: str) -> None:
    facts = facts_of(content)
    (skipped,) = facts.skipped
    assert skipped.offset_bytes + skipped.length_bytes == len(content)
    assert skipped.what in (f"a cut-off {name} chunk", f"a cut-off {name} box")
    assert facts.truncation is None


@pytest.mark.parametrize("length", [4, len(NOISE)])
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda body: wav(audio=NOISE) + b"DATA" + struct.pack("<I", len(body)) + body, "a DATA chunk"),
        (lambda body: wav(audio=NOISE, extra=b"slnt" + struct.pack("<I", len(body)) + body), "a slnt chunk"),
        (lambda body: aiff(audio=NOISE) + b"SND " + struct.pack(">I", len(body)) + body, "a SND chunk"),
        (lambda body: caf(audio=NOISE, after=caf_chunk(b"zzzz", body)), "a zzzz chunk"),
        (lambda body: M4A + box(b"abcd", body), "a abcd box"),
    ],
)
def test_a_chunk_of_an_unknown_name_is_told(make: Callable[[bytes], bytes], what: str, length: int) -> None:
    facts = facts_of(make(NOISE[:length]))
    (skipped,) = facts.skipped
    assert skipped.what == f"{what}, which is not known"
    assert skipped.length_bytes in (length + 8, length + 12)
    assert facts.truncation is None


@pytest.mark.parametrize(
    ("content", "left_bytes"),
    [
        (wav(audio=NOISE, announced_bytes=1), len(NOISE) - 2),  # a byte of padding
        (caf(audio=NOISE, announced_bytes=5), len(NOISE) - 1),
        (aiff(audio=NOISE, frames=1), len(NOISE) - 2),
        (aiff(audio=NOISE, skipped=NOISE), len(NOISE)),
    ],
)
def test_audio_that_a_header_leaves_out_is_counted(content: bytes, left_bytes: int) -> None:
    assert refusal_of(content).startswith(f"holds {left_bytes} bytes from byte ")


@pytest.mark.parametrize(
    "content",
    [
        wav(audio=NOISE) + b"id3 " + struct.pack("<I", 10) + b"ID3\x03" + bytes(6),
        wav(audio=NOISE) + b"LIST" + struct.pack("<I", 3) + b"abc",
        wav(audio=NOISE)[:4] + bytes(4) + wav(audio=NOISE)[8:],
        wav(audio=NOISE)[:4] + b"\xff" * 4 + wav(audio=NOISE)[8:],
        wav(audio=NOISE, extra=b"junk\x00\x00\x00\x00"),
        aiff(audio=NOISE) + b"ANNO" + struct.pack(">I", 4) + b"note",
        aiff(audio=NOISE, skipped=bytes(8)),
        aiff(audio=NOISE, extra=b"FLLR" + struct.pack(">I", 100) + NOISE[:100]),
        aiff(audio=NOISE + bytes(300)),  # SSND is padded, COMM counts the samples
        aiff(audio=NOISE, extra=b"NAME" + struct.pack(">I", 3) + b"abc"),  # no byte of padding
        caf(audio=NOISE, after=caf_chunk(b"free", bytes(range(100)))),
        M4A + box(b"free", bytes(range(200))),
        M4A + box(b"uuid", bytes(range(200))),
    ],
)
def test_chunks_of_no_audio_are_known(content: bytes) -> None:
    facts = facts_of(content)
    assert (facts.skipped, facts.truncation) == ((), None)


def test_bytes_of_an_mdat_that_no_track_refers_to_are_counted() -> None:
    at = M4A.index(b"mdat") - 4
    (length,) = struct.unpack_from(">I", M4A, at)
    grown = M4A[:at] + struct.pack(">I", length + len(NOISE)) + M4A[at + 4 : at + length] + NOISE + M4A[at + length :]
    moov = grown.index(b"moov") - 4
    assert at < moov, "the clip's header must lie behind its audio, or its offsets would change"
    assert refusal_of(grown).startswith(f"holds {len(NOISE)} bytes from byte {at + length} on")


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
