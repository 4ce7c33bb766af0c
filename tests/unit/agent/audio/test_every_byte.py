"""Every byte of an accepted file is audio, a chunk, a complete tag or padding; otherwise its row says how many are not.

Each number and noun of a message is derived from the file that it is about.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import pytest
from tests.unit.agent.audio.audio_bytes import aiff, box, caf, caf_chunk, wav
from tests.unit.agent.audio.mp3_bytes import frames as mp3_frames
from tests.unit.agent.audio.whole_files import FLAC, M4A, NOISE, WHOLE, WHOLE_FRAMES, facts_of, refusal_of, streamed

from voxfleet_agent.audio.headers import inspect_whole
from voxfleet_api.failures import FailureClass, VoxFleetError

TAG = b"ID3\x03\x00\x00\x00\x00\x00\x14" + bytes(range(20))
ARTICLES = {"wav": "a wav", "aiff": "an aiff", "caf": "a caf", "flac": "a flac", "m4a": "an m4a"}
OGG = b"OggS\0\x02" + bytes(22) + b"\x01\x1eOpusHead" + NOISE
SECONDS = {
    **{container: (content, f"{ARTICLES[container]} file") for container, content in WHOLE.items()},
    "mp3": (mp3_frames(12), "an mp3 stream"),
    "ogg": (OGG, "an Ogg file of Opus"),
}
"""What may be joined behind a file: its bytes, and what it is called."""


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
