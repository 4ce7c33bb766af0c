"""The decoder gives exactly the audio that the parsers count: of cut, joined, unfinished and oddly signalled files."""

from __future__ import annotations

import functools
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.component.audio.audio_rig import Samples, contract, decode, noise, save, stored, write
from tests.unit.agent.audio.audio_bytes import aiff, box, caf, wav

from voxfleet_agent.audio.decode import AudioDecoder, open_decoder
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Truncated

RATE_HZ = 16_000
FRAMES = 8_000
ACCEPTED = functools.partial(contract, truncated=Truncated.ACCEPT)
CLIPS = Path(__file__).parents[3] / "examples" / "clips"


def pcm(*, big: bool = False) -> tuple[bytes, Samples]:
    audio, read = stored(noise(FRAMES), 16, big=big)
    return audio, read[:, 0]


def decoded(path: Path, content: bytes) -> tuple[AudioDecoder, Samples]:
    decoder, pieces = decode(write(path, content), ACCEPTED(), RATE_HZ)
    return decoder, np.concatenate(pieces)


@pytest.mark.parametrize("lost", [1, 2, 3, 4_001, 2 * FRAMES - 2])
@pytest.mark.parametrize("make", [wav, aiff, caf])
def test_a_cut_file_decodes_to_the_samples_that_are_there(
    tmp_path: Path, make: Callable[..., bytes], lost: int
) -> None:
    audio, read = pcm(big=make is aiff)
    extra = {"frames": FRAMES} if make is aiff else {}
    content = make(audio=audio, **extra)[:-lost]
    present = (2 * FRAMES - lost) // 2
    decoder, samples = decoded(tmp_path / "x", content)
    assert np.array_equal(samples, read[:present])
    assert decoder.audio_milliseconds == present * 1000 // RATE_HZ
    with pytest.raises(VoxFleetError, match="is cut short") as caught:
        open_decoder(tmp_path / "x", contract(), RATE_HZ)
    assert caught.value.failure_class is FailureClass.DECODE_ERROR


@pytest.mark.parametrize(
    "make",
    [
        lambda little, _: wav(audio=little, announced_bytes=0),
        lambda little, _: wav(audio=little, announced_bytes=0, extra=b"FLLR" + struct.pack("<I", 4044) + bytes(4044)),
        lambda little, _: wav(audio=little, extra=b"LIST\x03\x00\x00\x00abc"),
        lambda little, _: wav(audio=little, extra=b"data\x00\x00\x00\x00"),
        lambda _, big: aiff(audio=big, frames=0, announced_bytes=0),
        lambda _, big: aiff(audio=big, frames=FRAMES, announced_bytes=0),
        lambda _, big: aiff(audio=big, frames=0),
        lambda _, big: aiff(audio=big + bytes(300), frames=FRAMES),
        lambda _, big: aiff(audio=big, frames=FRAMES, extra=b"NAME" + struct.pack(">I", 3) + b"abc"),
        lambda little, _: caf(audio=little + b"x"),
        lambda little, _: caf(audio=little, announced_bytes=3),
        lambda little, _: caf(audio=little, announced_bytes=0),
        lambda little, _: caf(audio=little, announced_bytes=-1),
    ],
)
def test_an_unfinished_recording_is_decoded_to_its_end(tmp_path: Path, make: Callable[[bytes, bytes], bytes]) -> None:
    content = make(pcm()[0], pcm(big=True)[0])
    _, pieces = decode(write(tmp_path / "x", content), contract(), RATE_HZ)
    assert np.array_equal(np.concatenate(pieces), pcm()[1])


@pytest.mark.parametrize("rest", [b"\r\nthe end\r\n", b"TAG" + bytes(125), bytes(3_000)])
@pytest.mark.parametrize("container", ["wav", "flac", "m4a", "aiff", "caf"])
def test_what_lies_behind_the_audio_changes_no_sample(tmp_path: Path, container: str, rest: bytes) -> None:
    content = save(tmp_path / f"x.{container}", noise(FRAMES), RATE_HZ, "pcm16" if container == "flac" else "auto")
    _, alone = decoded(tmp_path / "alone", content.read_bytes())
    _, followed = decoded(tmp_path / "followed", content.read_bytes() + rest)
    assert np.array_equal(alone, followed)


@pytest.mark.parametrize("container", ["wav", "flac", "m4a", "aiff", "caf"])
def test_joined_files_are_never_decoded_in_part(tmp_path: Path, container: str) -> None:
    content = save(tmp_path / f"x.{container}", noise(FRAMES), RATE_HZ, "pcm16" if container == "flac" else "auto")
    one = content.read_bytes()
    with pytest.raises(VoxFleetError, match=f"is joined with another file: {len(one)} bytes from byte {len(one)} on"):
        open_decoder(write(tmp_path / "joined", one + one), ACCEPTED(), RATE_HZ)


@pytest.mark.parametrize("lost", [1, 5_000, 12_000])
def test_a_cut_flac_decodes_to_its_whole_frames(tmp_path: Path, lost: int) -> None:
    samples = noise(FRAMES)
    content = save(tmp_path / "x.flac", samples, RATE_HZ, "pcm16").read_bytes()
    _, whole = decoded(tmp_path / "whole", content)
    decoder, part = decoded(tmp_path / "part", content[:-lost])
    assert len(part) == decoder.facts.frames
    assert 0 < len(part) < FRAMES
    assert np.array_equal(part, whole[: len(part)])


@pytest.mark.parametrize("behind", [b"", b"\0" * 500, b"\r\nthe end"])
def test_a_flac_whose_checksum_ends_in_a_zero_is_whole(tmp_path: Path, behind: bytes) -> None:
    for seed in range(5_000):
        path = save(tmp_path / "x.flac", noise(64, seed=seed), RATE_HZ, "pcm16")
        content = path.read_bytes()
        if content.endswith(b"\0"):
            break
    else:
        pytest.fail("no checksum ends in a zero")
    _, samples = decoded(tmp_path / "y", content + behind)
    assert np.array_equal(samples, stored(noise(64, seed=seed), 16)[1][:, 0])


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments], check=True)


@pytest.mark.parametrize("lost", [1, 300, 5_000])
def test_a_cut_m4a_decodes_to_its_whole_packets(tmp_path: Path, lost: int) -> None:
    ffmpeg("-i", CLIPS / "m4a-44100-28.m4a", "-c", "copy", "-movflags", "+faststart", tmp_path / "first.m4a")
    content = (tmp_path / "first.m4a").read_bytes()
    decoder, pieces = decode(write(tmp_path / "x.m4a", content[:-lost]), ACCEPTED(), 16_000)
    assert decoder.facts.frames is not None
    announced_milliseconds = decoder.facts.frames * 1000 // 44_100
    assert abs(decoder.audio_milliseconds - announced_milliseconds) <= 24  # one packet
    _, (whole,) = decode(write(tmp_path / "whole.m4a", content), contract(), 16_000)
    spare = 600  # the resampler knows what follows
    part = np.concatenate(pieces)
    assert len(part) < len(whole)
    assert np.allclose(part[:-spare], whole[: len(part) - spare], atol=1e-3)


@pytest.fixture(scope="module")
def fragmented(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("fragments") / "x.m4a"
    ffmpeg(
        *("-i", CLIPS / "m4a-44100-28.m4a", "-c", "copy", "-frag_duration", "300000"),
        *("-movflags", "empty_moov+default_base_moof", path),
    )
    return path.read_bytes()


def places(content: bytes, name: bytes) -> list[int]:
    return [at - 4 for at in range(len(content)) if content.startswith(name, at)]


def without(content: bytes, name: bytes, number: int) -> bytes:
    """With a box hidden in free space."""
    at = places(content, name)[number] + 4
    return content[:at] + b"free" + content[at + 4 :]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda one, starts: one[: starts[2]] + one[starts[3] :], "jumps from [0-9]+ to [0-9]+ ms at byte {2}"),
        (lambda one, starts: one[: starts[3]] + one[starts[2] :], "jumps from [0-9]+ to [0-9]+ ms at byte {3}"),
        (lambda one, _: without(one, b"moof", 2), "jumps from [0-9]+ to [0-9]+ ms at byte {3}"),
        (lambda one, _: without(one, b"trun", 2), "jumps from [0-9]+ to [0-9]+ ms at byte {3}"),
        (
            lambda one, starts: one[: places(one, b"mdat")[2]] + one[starts[3] :],
            "has samples of its fragment at byte {2}",
        ),
        (
            lambda one, starts: one[: starts[-1]] + one[places(one, b"mdat")[-2] : starts[-1]],
            "holds [0-9]+ bytes from byte",
        ),
    ],
)
def test_a_fragment_that_is_lost_is_no_success(
    tmp_path: Path, fragmented: bytes, change: Callable[[bytes, list[int]], bytes], says: str
) -> None:
    starts = places(fragmented, b"moof")
    path = write(tmp_path / "x.m4a", change(fragmented, starts))
    with pytest.raises(VoxFleetError, match=says.format(*starts)) as caught:
        open_decoder(path, ACCEPTED(), 16_000)
    assert caught.value.failure_class is FailureClass.DECODE_ERROR


def test_fragments_that_are_whole_are_decoded(tmp_path: Path, fragmented: bytes) -> None:
    content = fragmented
    starts = places(content, b"moof")
    assert len(starts) > 3
    whole, _ = decode(write(tmp_path / "whole.m4a", content), contract(), 16_000)
    assert whole.facts.frames is not None
    media = places(content, b"mdat")[-2]
    for cut_at in (starts[-2] + 20, media, media + 1, media + 7, media + 8, starts[-2] + 300):
        decoder, _ = decode(write(tmp_path / "cut.m4a", content[:cut_at]), ACCEPTED(), 16_000)
        assert decoder.facts.audio_end_bytes == starts[-2]
        assert 0 < decoder.audio_milliseconds < whole.audio_milliseconds
        with pytest.raises(VoxFleetError, match="is cut short"):
            open_decoder(tmp_path / "cut.m4a", contract(), 16_000)


def signalled(content: bytes, config: str) -> bytes:
    """An m4a whose AudioSpecificConfig is replaced by another one that is not longer."""
    at = content.index(b"\x05", content.index(b"esds"))
    while content[at + 1] & 0x80 or content[at + 1] > 16:
        at += 1
    length = content[at + 1]
    new = bytes.fromhex(config)
    assert len(new) <= length
    return content[: at + 2] + new.ljust(length, b"\0") + content[at + 2 + length :]


def test_mono_that_decodes_to_two_channels_is_no_damage(tmp_path: Path) -> None:
    """The header announces spectral band replication over 22.05 kHz; libav makes two channels of such mono."""
    ffmpeg("-i", CLIPS / "wav-16000-01.wav", "-c:a", "aac", "-ar", "22050", "-ac", "1", tmp_path / "x.m4a")
    content = (tmp_path / "x.m4a").read_bytes()
    decoder, pieces = decode(write(tmp_path / "y.m4a", signalled(content, "2b8a0800")), contract(), 16_000)
    assert decoder.facts.sample_rate_hz == 44_100
    assert decoder.attestation.sample_rate_hz == 44_100
    assert decoder.attestation.channels == decoder.facts.channels
    assert abs(len(np.concatenate(pieces)) - 26_758) < 4 * 2048
    if decoder.attestation.channels == 2:
        assert "downmix:2->1:Mean" in decoder.attestation.conversions
        with pytest.raises(VoxFleetError, match="has 2 channels; the contract accepts 1") as caught:
            open_decoder(tmp_path / "y.m4a", contract(channels=(1,)), 16_000)
        assert caught.value.failure_class is FailureClass.CONTRACT_VIOLATION


@pytest.mark.parametrize("rate", [1, 25])
def test_pictures_make_no_film(tmp_path: Path, rate: int) -> None:
    ffmpeg(
        *("-i", CLIPS / "wav-16000-01.wav", "-f", "lavfi", "-i", f"color=red:s=64x64:r={rate}:d=2"),
        *("-c:a", "aac", "-c:v", "mjpeg", "-f", "mp4", tmp_path / "x.m4a"),
    )
    if rate == 1:
        decoder, _ = decode(tmp_path / "x.m4a", contract(), 16_000)
        assert abs(decoder.audio_milliseconds - 1_672) < 64
        return
    with pytest.raises(VoxFleetError, match="is an MP4 film: it has a video track"):
        open_decoder(tmp_path / "x.m4a", contract(), 16_000)


def with_chapters(content: bytes, chapter_track: int) -> bytes:
    """The last track, which is audio, says that another one has its chapters; moov lies behind mdat."""
    moov, track = content.index(b"moov") - 4, content.rindex(b"trak") - 4
    reference = box(b"tref", box(b"chap", struct.pack(">I", chapter_track)))
    (length,) = struct.unpack_from(">I", content, track)
    grown = content[: track + length] + reference + content[track + length :]
    for at in (moov, track):
        (length,) = struct.unpack_from(">I", grown, at)
        grown = grown[:at] + struct.pack(">I", length + len(reference)) + grown[at + 4 :]
    return grown


def test_a_track_of_chapters_makes_no_film_at_any_rate(tmp_path: Path) -> None:
    ffmpeg(
        *("-f", "lavfi", "-i", "color=red:s=64x64:r=25:d=2", "-i", CLIPS / "wav-16000-01.wav"),
        *("-map", "0", "-map", "1", "-c:a", "aac", "-c:v", "mpeg4", "-f", "mp4", tmp_path / "film.m4a"),
    )
    film = (tmp_path / "film.m4a").read_bytes()
    with pytest.raises(VoxFleetError, match="is an MP4 film"):
        open_decoder(tmp_path / "film.m4a", contract(), 16_000)
    decoder, _ = decode(write(tmp_path / "book.m4a", with_chapters(film, 1)), contract(), 16_000)
    assert abs(decoder.audio_milliseconds - 1_672) < 64


@pytest.mark.parametrize("container", ["flac", "m4a", "aiff", "caf", "wav"])
def test_no_message_repeats_the_library_or_a_path(tmp_path: Path, container: str) -> None:
    path = save(tmp_path / f"x.{container}", noise(FRAMES), RATE_HZ, "pcm16" if container == "flac" else "auto")
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(11)
    messages = set()
    for _ in range(30):
        damaged = bytearray(content)
        for position in random.integers(0, len(content), 40):
            damaged[position] = int(random.integers(256))
        try:
            decode(write(path, bytes(damaged)), contract(), RATE_HZ)
        except VoxFleetError as error:
            messages.add(error.message)
    assert not [text for text in messages if "libav" in text or "stream()" in text or str(tmp_path) in text]
