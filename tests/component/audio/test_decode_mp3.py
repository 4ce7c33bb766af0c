"""Mp3 files as they are found, decoded: joined, tagged, cut, with rubbish around their frames."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from tests.component.audio.audio_rig import Samples, contract, decode, noise, save, tone, write
from tests.unit.agent.audio.mp3_bytes import ID3V1, ape, id3v2

from voxfleet_agent.audio.decode import open_decoder
from voxfleet_api.clip_warnings import WarningCode
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Truncated
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

RATE_HZ = 44_100
FRAME_SAMPLES = 1152


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One second, with a header that states its length."""
    return save(tmp_path_factory.mktemp("mp3") / "x.mp3", tone(RATE_HZ, RATE_HZ), RATE_HZ).read_bytes()


@pytest.fixture(scope="module")
def bare(plain: bytes) -> bytes:
    """The same without that header."""
    start = plain.index(b"\xff\xfb")
    return plain[plain.index(plain[start : start + 2], start + 100) :]


def samples_of(path: Path, content: bytes) -> Samples:
    _, pieces = decode(write(path, content), contract(), RATE_HZ)
    return np.concatenate(pieces)


def accepting() -> VoiceContractSpec:
    spec = contract()
    return spec.model_copy(update={"input": spec.input.model_copy(update={"truncated": Truncated.ACCEPT})})


@pytest.mark.parametrize(
    ("front", "back"),
    [
        (id3v2(b"TIT2" + bytes(300), version=3), b""),
        (b"", ID3V1),
        (id3v2(bytes(40)), ape(b"abc", header=True) + ID3V1),
        (b"HTTP/1.0 200 OK\r\n\r\n", b"\r\n"),
        (bytes(417), bytes(5000)),
        (id3v2(bytes(40), length=90_000), b"rubbish"),
    ],
)
def test_the_decoder_is_given_the_audio_alone(
    tmp_path: Path, plain: bytes, bare: bytes, front: bytes, back: bytes
) -> None:
    for content in (plain, bare):
        expected = samples_of(tmp_path / "a.mp3", content)
        assert np.array_equal(samples_of(tmp_path / "b.mp3", front + content + back), expected)
        assert np.array_equal(samples_of(tmp_path / "b.wav", front + content + back), expected)


def test_joined_files_are_decoded_to_their_end(tmp_path: Path, plain: bytes, bare: bytes) -> None:
    frames = len(samples_of(tmp_path / "bare.mp3", bare))
    for name, content in {
        "headers": plain + plain,
        "none": bare + bare,
        "first": plain + bare,
        "second": bare + plain,
        "tags": id3v2(bytes(9)) + plain + ID3V1 + id3v2(bytes(9)) + plain + ID3V1,
    }.items():
        samples = samples_of(tmp_path / f"{name}.mp3", content)
        assert len(samples) == 2 * frames, name
        assert np.abs(samples[-frames // 2 : -frames // 4]).max() > 0.3, name


@pytest.mark.parametrize("cut_bytes", [1, 10, 200])
def test_a_cut_last_frame_is_up_to_the_contract(tmp_path: Path, bare: bytes, cut_bytes: int) -> None:
    whole = samples_of(tmp_path / "whole.mp3", bare)
    path = write(tmp_path / "cut.mp3", bare[:-cut_bytes])
    with pytest.raises(VoxFleetError, match="ends inside a frame") as caught:
        decode(path, contract(), RATE_HZ)
    assert caught.value.failure_class is FailureClass.DECODE_ERROR
    clip, (samples,) = decode(path, accepting(), RATE_HZ)
    assert np.array_equal(samples, whole[: len(whole) - FRAME_SAMPLES])
    assert [warning.code for warning in clip.warnings] == [WarningCode.TRUNCATED_AUDIO]


def test_half_a_file_is_accepted_where_the_contract_says_so(tmp_path: Path, plain: bytes) -> None:
    path = write(tmp_path / "half.mp3", plain[: len(plain) // 2])
    with pytest.raises(VoxFleetError, match="its header announces") as caught:
        decode(path, contract(), RATE_HZ)
    assert caught.value.failure_class is FailureClass.DECODE_ERROR
    clip, _ = decode(path, accepting(), RATE_HZ)
    assert 400 < clip.audio_milliseconds < 600
    assert [warning.code for warning in clip.warnings] == [WarningCode.TRUNCATED_AUDIO]


def test_a_file_that_begins_inside_a_frame_says_what_was_lost(tmp_path: Path, bare: bytes) -> None:
    clip, (samples,) = decode(write(tmp_path / "x.mp3", bare[5000:]), contract(), RATE_HZ)
    lost_frames = clip.facts.undecodable_frames
    assert clip.facts.frames == len(samples) + lost_frames
    codes = [warning.code for warning in clip.warnings]
    assert codes == [WarningCode.BYTES_SKIPPED] * (2 if lost_frames else 1)
    assert [part.offset_bytes for part in clip.attestation.skipped] == [0]


def test_the_attestation_names_what_was_not_decoded(tmp_path: Path, bare: bytes) -> None:
    tag = id3v2(bytes(40))
    clip, _ = decode(write(tmp_path / "x.mp3", tag + bare + b"\n" + ID3V1), contract(), RATE_HZ)
    behind = len(tag) + len(bare)
    assert [(part.offset_bytes, part.length_bytes, part.what) for part in clip.attestation.skipped] == [
        (0, len(tag), "an ID3v2 tag"),
        (behind, 1, "text"),
        (behind + 1, len(ID3V1), "an ID3v1 tag"),
    ]


def test_the_copy_of_the_audio_is_removed_at_once(tmp_path: Path, bare: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    clip = open_decoder(write(tmp_path / "x.mp3", ID3V1 + bare), contract(), RATE_HZ)
    for _ in clip.pieces():
        assert list(scratch.iterdir()) == []
    assert clip.audio_milliseconds > 900


@pytest.mark.parametrize("container", ["flac", "wav", "aiff", "m4a"])
def test_a_tag_in_front_of_another_container_is_not_its_audio(tmp_path: Path, container: str) -> None:
    encoding = "pcm16" if container in ("flac", "wav") else "auto"
    content = save(tmp_path / f"x.{container}", tone(RATE_HZ, RATE_HZ), RATE_HZ, encoding).read_bytes()
    expected = samples_of(tmp_path / f"x.{container}", content)
    assert np.array_equal(samples_of(tmp_path / f"tagged.{container}", id3v2(bytes(300)) + content), expected)
    if container == "flac":
        for back in (ID3V1, bytes(4096), bytes(9) + ape(b"abc")):
            assert np.array_equal(samples_of(tmp_path / "behind.flac", content + back), expected)


def test_a_decoder_that_fails_is_told_without_its_own_words(tmp_path: Path) -> None:
    content = save(tmp_path / "x.m4a", noise(2 * RATE_HZ), RATE_HZ).read_bytes()
    middle = len(content) // 2
    with pytest.raises(VoxFleetError) as caught:
        decode(
            write(tmp_path / "hit.m4a", content[:middle] + bytes(3_000) + content[middle + 3_000 :]),
            contract(),
            RATE_HZ,
        )
    assert not any(word in caught.value.message for word in ("libav", "stream()", "backend", str(tmp_path)))
    assert caught.value.message.startswith("cannot be decoded: the decoder finds no valid aac behind sample ")
