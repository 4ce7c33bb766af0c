"""The one rule for the bytes that no parser knows."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agent.audio.mp3_bytes import frames as mp3_frames

from voxfleet_agent.audio.byte_account import ByteAccount, audible_bytes
from voxfleet_agent.audio.header_facts import ClipReader, SkippedBytes
from voxfleet_api.failures import FailureClass, VoxFleetError

NOISE = bytes((7 * number + 131) % 251 + 1 for number in range(4_000))
AUDIBLE_BYTES = 320
ID3V1 = b"TAG" + bytes(range(125))
ID3V2 = b"ID3\x03\x00\x00\x00\x00\x00\x14" + bytes(range(20))
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32 + 5, 1, 1 << 31 | 1 << 29) + bytes(8)
APE += b"items" + b"APETAGEX" + struct.pack("<IIII", 2000, 32 + 5, 1, 1 << 31) + bytes(8)


def account_of(content: bytes, claimed_bytes: int) -> ByteAccount:
    account = ByteAccount(ClipReader(io.BytesIO(content), len(content)))
    account.claim(0, claimed_bytes)
    return account


@pytest.mark.parametrize(
    ("rest", "skipped"),
    [
        (b"", None),
        (bytes(5_000), None),
        (b"\xff" * 512, None),
        (b"\x1a", None),
        (ID3V1, None),
        (ID3V2, None),
        (APE, None),
        (bytes(100) + ID3V2 + APE + ID3V1, None),
        (b"\n", None),
        (b"\r\n", "text"),
        (b"\r\n------WebKitFormBoundary7MA4YWxkTrZu0gW--\r\n", "text"),
        (NOISE[: AUDIBLE_BYTES - 1], "bytes of no known format"),
        (ID3V2[:-3], "an ID3v2 tag that is cut off"),
        (ID3V2[:10] + NOISE[:15], "an ID3v2 tag that is cut off"),
    ],
)
def test_what_is_no_audio_is_left_out(rest: bytes, skipped: str | None) -> None:
    found = account_of(NOISE + rest, len(NOISE)).settled(AUDIBLE_BYTES)
    assert found == (() if skipped is None else (SkippedBytes(len(NOISE), len(rest), skipped),))


@pytest.mark.parametrize("length", [AUDIBLE_BYTES, 2_000, len(NOISE)])
def test_what_may_be_audio_is_refused_with_its_bytes(length: int) -> None:
    with pytest.raises(VoxFleetError) as caught:
        account_of(b"abc" + NOISE[:length], 3).settled(AUDIBLE_BYTES)
    assert caught.value.failure_class is FailureClass.DECODE_ERROR
    assert caught.value.message.startswith(f"holds {length} bytes from byte 3 on that its header does not count")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"RIFF\x00\x10\x00\x00WAVE", "a wav file"),
        (b"RIFF\x00\x10\x00\x00AVI ", "a RIFF file"),
        (b"FORM\x00\x00\x10\x00AIFC", "an aiff file"),
        (b"caff\x00\x01\x00\x00desc", "a caf file"),
        (b"fLaC\x00\x00\x00\x22", "a flac file"),
        (b"\x00\x00\x00\x20ftypM4A ", "an m4a file"),
        (b"OggS\x00\x02" + bytes(22) + b"OpusHead", "an Ogg file of Opus"),
        (b"RF64\xff\xff\xff\xffWAVE", "an RF64 file"),
        (b"wvpk\x00\x10\x00\x00\x10\x04", "a WavPack file"),
        (mp3_frames(3), "an mp3 stream"),
        ((b"\xff\xf1\x60\x40\x06\x1f\xfc" + b"\x01" * 41) * 8, "a raw AAC stream (ADTS)"),
        ((b"\xff\xfd\x18\x04" + b"\x01" * 140) * 3, "an MPEG layer II audio stream"),
    ],
)
@pytest.mark.parametrize("padding", [b"", bytes(9)])
def test_another_file_behind_the_first_is_named(head: bytes, kind: str, padding: bytes) -> None:
    with pytest.raises(VoxFleetError) as caught:
        account_of(NOISE + padding + head, len(NOISE)).settled(AUDIBLE_BYTES)
    begins = len(NOISE) + len(padding)
    assert caught.value.message == (
        f"is joined with another file: {len(head)} bytes from byte {begins} on, where {kind} begins,"
        " would not be read; split the file"
    )


def test_ranges_in_several_places_are_added_up() -> None:
    account = account_of(NOISE, 10)
    account.claim(1_010, 90)
    account.claim(3_100, 900)
    with pytest.raises(VoxFleetError, match="holds 3000 bytes in 2 places from byte 10 on"):
        account.settled(AUDIBLE_BYTES)


@given(
    size=st.integers(0, 300),
    claims=st.lists(st.tuples(st.integers(0, 350), st.integers(-5, 350)), max_size=12),
)
def test_claimed_and_unread_bytes_are_all_bytes(size: int, claims: list[tuple[int, int]]) -> None:
    account = account_of(bytes(size), 0)
    for offset, length in claims:
        account.claim(offset, length)
    claimed = {byte for offset, length in claims for byte in range(offset, offset + length) if byte < size}
    unread = [byte for offset, length in account.unread() for byte in range(offset, offset + length)]
    assert sorted([*unread, *claimed]) == list(range(size))


def test_ten_milliseconds_are_not_heard() -> None:
    assert audible_bytes(32_000, 1_000) == 320
    assert audible_bytes(100, 0) == 1_000
