"""Files that make decoders crash, hang or lie: each is refused with its class before it costs anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.component.audio.audio_rig import Samples, contract, decode, noise, save, stored, tone, write
from tests.unit.agent.audio.audio_bytes import FLOAT, aiff, caf, caf_chunk, core_audio_layout, wav

from voxfleet_agent.audio.decode import open_decoder
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Conversions, Downmix, DownmixMode, Resample, ResampleQuality

RATE_HZ = 44_100
SAVED = ("wav", "flac", "mp3", "m4a", "aiff", "caf")


def refusal(path: Path, **changes: str) -> VoxFleetError:
    with pytest.raises(VoxFleetError) as caught:
        decode(path, contract(**changes), 16_000)  # type: ignore[arg-type]  # only texts are changed here
    return caught.value


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Two seconds of audio in each container."""
    folder = tmp_path_factory.mktemp("saved")
    encodings = {"wav": "pcm16", "flac": "pcm16"}
    return {
        name: save(folder / f"x.{name}", noise(2 * RATE_HZ, 2), RATE_HZ, encodings.get(name, "auto")).read_bytes()
        for name in SAVED
    }


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.wav")
    assert "not a regular file" in refusal(tmp_path / "x.wav").message
    assert "not a regular file" in refusal(tmp_path).message


@pytest.mark.parametrize(
    ("content", "failure_class"),
    [
        (wav(rate_hz=1, frames=16_000), FailureClass.CONTRACT_VIOLATION),
        (wav(channels=0, frames=0), FailureClass.CONTRACT_VIOLATION),
        (wav(channels=65_535, frames=1), FailureClass.CONTRACT_VIOLATION),
        (wav(bits=0, frames=0), FailureClass.CONTRACT_VIOLATION),
        (wav(frames=0), FailureClass.DECODE_ERROR),
        (b"<html>404</html>", FailureClass.UNSUPPORTED_CONTAINER),
        (bytes(range(256)) * 40, FailureClass.UNSUPPORTED_CONTAINER),
        (b"", FailureClass.DECODE_ERROR),
    ],
)
def test_impossible_headers(tmp_path: Path, content: bytes, failure_class: FailureClass) -> None:
    for name in ("x.wav", "x.mp3"):
        assert refusal(write(tmp_path / name, content)).failure_class is failure_class


def test_a_flac_of_2_to_the_36_samples(tmp_path: Path, saved: dict[str, bytes]) -> None:
    content = bytearray(saved["flac"])
    content[21] |= 0x0F
    content[22:26] = b"\xff\xff\xff\xff"
    assert refusal(write(tmp_path / "x.flac", bytes(content))).failure_class is FailureClass.CONTRACT_VIOLATION


@pytest.mark.parametrize(
    ("announced_frames", "max_clip", "failure_class"),
    [(48_000, "1h", FailureClass.DECODE_ERROR), (0, "10s", FailureClass.CONTRACT_VIOLATION)],
)
def test_what_a_header_hides_is_not_decoded(
    tmp_path: Path, announced_frames: int, max_clip: str, failure_class: FailureClass
) -> None:
    """Minutes of silence in a few kB, all of which `load` would decode whatever `duration` says."""
    path = save(tmp_path / "x.flac", np.zeros((300 * 48_000, 1), np.float32), 48_000, "pcm16")
    content = bytearray(path.read_bytes())
    content[21:26] = bytes([content[21] & 0xF0]) + announced_frames.to_bytes(4, "big")
    with pytest.raises(VoxFleetError) as caught:
        open_decoder(write(path, bytes(content)), contract(max_clip=max_clip), 16_000)
    assert caught.value.failure_class is failure_class


@pytest.mark.parametrize("announced_frames", [2 * RATE_HZ - 1, 2 * RATE_HZ + 1, 3 * RATE_HZ])
def test_the_counted_length_is_checked_against_the_header(
    tmp_path: Path, saved: dict[str, bytes], announced_frames: int
) -> None:
    content = bytearray(saved["flac"])
    content[21:26] = bytes([content[21] & 0xF0]) + announced_frames.to_bytes(4, "big")
    error = refusal(write(tmp_path / "x.flac", bytes(content)))
    assert error.failure_class is FailureClass.DECODE_ERROR
    assert f"its header announces {announced_frames}" in error.message
    assert f"{2 * RATE_HZ}" in error.message


def test_a_flac_that_does_not_state_its_length_is_decoded(tmp_path: Path, saved: dict[str, bytes]) -> None:
    content = bytearray(saved["flac"])
    content[21:26] = bytes([content[21] & 0xF0]) + bytes(4)
    decoding, (samples,) = decode(write(tmp_path / "x.flac", bytes(content)), contract(), RATE_HZ)
    assert len(samples) == 2 * RATE_HZ
    assert decoding.audio_milliseconds == 2_000
    assert "lasts 2000 ms" in refusal(tmp_path / "x.flac", max_clip="1500ms").message
    assert "lasts 2000 ms" in refusal(tmp_path / "x.flac", min_clip="3s").message


@pytest.mark.parametrize("container", SAVED)
@pytest.mark.parametrize("percent", [1, 30, 60, 95])
def test_a_truncated_clip(tmp_path: Path, saved: dict[str, bytes], container: str, percent: int) -> None:
    content = saved[container]
    error = refusal(write(tmp_path / f"x.{container}", content[: len(content) * percent // 100]))
    assert error.failure_class is FailureClass.DECODE_ERROR


def _without_xing(mp3: bytes) -> bytes:
    start = mp3.index(b"\xff\xfb")
    second = mp3.index(mp3[start : start + 2], start + 100)
    return mp3[second:]


def test_an_mp3_without_a_length_of_its_own(tmp_path: Path, saved: dict[str, bytes]) -> None:
    content = _without_xing(saved["mp3"])
    decoding, _ = decode(write(tmp_path / "x.mp3", content), contract(), 16_000)
    assert abs(decoding.audio_milliseconds - 2_000) < 100
    assert "cut short" in refusal(write(tmp_path / "y.mp3", content[: len(content) // 2 + 7])).message


@pytest.mark.parametrize("strip", [lambda content: content, _without_xing])
@pytest.mark.parametrize("size_bytes", [600, 6_000])
def test_a_gap_in_an_mp3(
    tmp_path: Path, saved: dict[str, bytes], strip: Callable[[bytes], bytes], size_bytes: int
) -> None:
    content = strip(saved["mp3"])
    half = len(content) // 2
    content = content[:half] + bytes(size_bytes) + content[half + size_bytes :]
    error = refusal(write(tmp_path / "x.mp3", content))
    assert error.failure_class is FailureClass.DECODE_ERROR
    assert "bytes at byte" in error.message


@pytest.mark.parametrize("tail", [bytes(5_000), b"TAG" + bytes(125), b"APETAGEX" + bytes(200), b"ID3\x04" + bytes(90)])
def test_trailing_tags_of_an_mp3_are_accepted(tmp_path: Path, saved: dict[str, bytes], tail: bytes) -> None:
    decoding, _ = decode(write(tmp_path / "x.mp3", saved["mp3"] + tail), contract(), 16_000)
    assert abs(decoding.audio_milliseconds - 2_000) < 30  # minimp3 may lose the last frame before a tag


@pytest.mark.parametrize("container", ["flac", "m4a"])
def test_a_gap_in_what_has_checksums_or_a_syntax(tmp_path: Path, saved: dict[str, bytes], container: str) -> None:
    content = saved[container]
    half = len(content) // 2
    path = write(tmp_path / f"x.{container}", content[:half] + bytes(3_000) + content[half + 3_000 :])
    assert refusal(path).failure_class is FailureClass.DECODE_ERROR


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, 4.5, -4.5])
@pytest.mark.parametrize("channel", [0, 1])
def test_non_finite_samples(tmp_path: Path, value: float, channel: int) -> None:
    samples = noise(3_000, 2)
    samples[2_000, channel] = value
    content = wav(FLOAT, 32, RATE_HZ, 2, audio=samples.tobytes())
    assert refusal(write(tmp_path / "x.wav", content)).failure_class is FailureClass.DECODE_ERROR


def test_full_scale_and_a_lossy_overshoot_are_no_damage(tmp_path: Path) -> None:
    samples = np.array([[1.0], [-1.0], [1.4], [0.0]] * 500, np.float32)
    _, (decoded,) = decode(write(tmp_path / "x.wav", wav(FLOAT, 32, audio=samples.tobytes())), contract(), 16_000)
    assert np.array_equal(decoded, samples[:, 0])


def test_a_bit_flipped_mp3_never_passes_with_wild_samples(tmp_path: Path, saved: dict[str, bytes]) -> None:
    random = np.random.default_rng(7)
    classes = []
    for _ in range(40):
        content = bytearray(saved["mp3"])
        for position in random.integers(2_000, len(content), 60):
            content[position] ^= 1 << int(random.integers(8))
        try:
            _, (samples,) = decode(write(tmp_path / "x.mp3", bytes(content)), contract(), RATE_HZ)
        except VoxFleetError as error:
            classes.append(error.failure_class)
        else:
            assert np.abs(samples).max() <= 4.0
    assert set(classes) == {FailureClass.DECODE_ERROR}


@pytest.mark.parametrize(
    ("channels", "tag", "mask"),
    [(3, 113, 0), (4, 132, 0), (4, 136, 0), (5, 137, 0), (2, 1, 0x30), (6, 1, 0x707), (8, 1, 0xFF), (7, 1, 0x637)],
)
def test_layouts_that_would_be_mixed_are_refused(tmp_path: Path, channels: int, tag: int, mask: int) -> None:
    audio, _ = stored(noise(2_000, channels), 16)
    layout = core_audio_layout(tag, 0 if tag == 1 else channels, mask)
    error = refusal(write(tmp_path / "x.caf", caf(channels=channels, audio=audio, extra=caf_chunk(b"chan", layout))))
    assert error.failure_class is FailureClass.CONTRACT_VIOLATION
    assert f"lays its {channels} channels out" in error.message


@pytest.mark.parametrize("container", SAVED)
def test_resampling_loses_no_samples(tmp_path: Path, container: str) -> None:
    """`stream(sr=...)` would drop the last 16."""
    path = save(tmp_path / f"x.{container}", tone(RATE_HZ, RATE_HZ), RATE_HZ)
    _, (native,) = decode(path, contract(), RATE_HZ)
    _, (resampled,) = decode(path, contract(), 16_000)
    assert len(resampled) == round(len(native) * 16_000 / RATE_HZ)


def test_undeclared_conversions_do_not_happen(tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", wav(channels=2))
    with pytest.raises(VoxFleetError, match=r"declare conversions\.downmix"):
        open_decoder(path, contract(downmix=False), 16_000)
    with pytest.raises(VoxFleetError, match=r"declare conversions\.resample"):
        open_decoder(write(tmp_path / "y.wav", wav()), contract(to_hz=None), 44_100)


@pytest.mark.parametrize(
    ("conversions", "says"),
    [
        (Conversions(downmix=Downmix(mode=DownmixMode.EQUAL_POWER)), "EqualPower"),
        (Conversions(downmix=Downmix(), resample=Resample(to_hz=24_000, quality=ResampleQuality.HIGH)), "high"),
    ],
)
def test_conversions_that_do_not_work_are_refused(tmp_path: Path, conversions: Conversions, says: str) -> None:
    path = write(tmp_path / "x.wav", wav(channels=2))
    spec = contract().model_copy(update={"conversions": conversions})
    with pytest.raises(VoxFleetError, match=says) as caught:
        open_decoder(path, spec, 24_000)
    assert caught.value.failure_class is FailureClass.CONTRACT_VIOLATION


@pytest.mark.parametrize("container", [name for name in SAVED if name != "wav"])
@pytest.mark.parametrize("suffix", [None, "", ".wav"])
def test_messages_contain_no_names(tmp_path: Path, saved: dict[str, bytes], container: str, suffix: str | None) -> None:
    random = np.random.default_rng(3)
    name = f"secret-person.{container}" if suffix is None else f"secret-person{suffix}"
    messages = []
    for _ in range(12):
        content = bytearray(saved[container])
        for position in random.integers(0, len(content), 200):
            content[position] = int(random.integers(256))
        path = write(tmp_path / name, bytes(content))
        try:
            decode(path, contract(), 16_000)
        except VoxFleetError as error:
            messages.append(error.message)
    assert messages
    assert not [message for message in messages if "secret" in message or str(tmp_path) in message]


def test_the_file_is_left_as_it_was_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    path = write(tmp_path / "x", aiff())
    decode(path, contract(), 16_000)
    assert list(scratch.iterdir()) == []
    assert sorted(tmp_path.iterdir()) == [scratch, path]
    assert path.read_bytes() == aiff()


def test_pieces_of_one_clip_share_no_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", wav(frames=3_000))
    first: Samples = decode(path, contract(), 16_000)[1][0]
    first[:] = 1.0
    assert decode(path, contract(), 16_000)[1][0].max() == 0.0
