"""Long clips are decoded in the declared windows: every sample once, in order, without the whole clip in memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from tests.component.audio.audio_rig import Samples, contract, decode, noise, save, tone, write
from tests.unit.agent.audio.audio_bytes import wav

from voxfleet_agent.audio.decode import open_decoder
from voxfleet_agent.audio.decode_memory import working_set_bytes
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Windows

RATE_HZ = 22_050
WINDOWS = Windows(length="4s", seek="1s")


def speech_like(seconds: int, rate_hz: int = RATE_HZ) -> Samples:
    """Noise that falls silent for 50 ms every 0.7 s."""
    samples = noise(seconds * rate_hz)
    period, pause = rate_hz * 7 // 10, rate_hz // 20
    for start in range(period, len(samples), period):
        samples[start : start + pause] *= 0.001
    return samples


@pytest.mark.parametrize("container", ["wav", "flac", "mp3", "m4a", "aiff", "caf"])
def test_windows_join_to_the_whole_clip(tmp_path: Path, container: str) -> None:
    path = save(tmp_path / f"x.{container}", speech_like(15), RATE_HZ, "pcm16" if container == "flac" else "auto")
    _, (whole,) = decode(path, contract(), RATE_HZ)
    decoding, pieces = decode(path, contract(windows=WINDOWS), RATE_HZ)
    assert np.array_equal(np.concatenate(pieces), whole)
    assert all(3 * RATE_HZ <= len(piece) <= 4 * RATE_HZ for piece in pieces[:-1])
    starts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])[:-1]])
    assert decoding.piece_starts_milliseconds == [int(start) * 1000 // RATE_HZ for start in starts]
    assert decoding.attestation.conversions == (f"windows:4s:quietest-within-1s:{len(pieces)}",)
    assert decoding.audio_milliseconds == len(whole) * 1000 // RATE_HZ


def test_windows_end_where_it_is_quiet(tmp_path: Path) -> None:
    path = save(tmp_path / "x.wav", speech_like(15), RATE_HZ)
    _, pieces = decode(path, contract(windows=WINDOWS), RATE_HZ)
    assert len(pieces) > 3
    for piece in pieces[:-2]:  # the last but one also leaves a second for the last
        assert np.abs(piece[-200:]).max() < 0.01


def test_a_clip_that_fits_has_one_piece_and_attests_no_windows(tmp_path: Path) -> None:
    path = save(tmp_path / "x.wav", speech_like(3), RATE_HZ)
    decoding, pieces = decode(path, contract(windows=WINDOWS), RATE_HZ)
    assert len(pieces) == 1
    assert decoding.attestation.conversions == ()
    assert decoding.piece_starts_milliseconds == [0]


def test_channels_are_mixed_first_and_each_window_is_resampled(tmp_path: Path) -> None:
    path = save(tmp_path / "x.wav", np.repeat(tone(10 * 44_100, 44_100), 2, axis=1), 44_100)
    decoding, pieces = decode(path, contract(windows=WINDOWS), 16_000)
    assert decoding.attestation.conversions == (
        "downmix:2->1:Mean",
        "resample:44100->16000:soxr_vhq",
        f"windows:4s:quietest-within-1s:{len(pieces)}",
    )
    assert abs(sum(len(piece) for piece in pieces) - 160_000) <= len(pieces)


def test_no_window_is_too_short_for_a_model(tmp_path: Path) -> None:
    for frames in range(4 * RATE_HZ - 2, 4 * RATE_HZ + 3):
        _, pieces = decode(
            write(tmp_path / "x.wav", wav(rate_hz=RATE_HZ, frames=frames)), contract(windows=WINDOWS), RATE_HZ
        )
        assert min(len(piece) for piece in pieces) >= RATE_HZ
        assert sum(len(piece) for piece in pieces) == frames


def test_damage_after_the_first_windows_is_found(tmp_path: Path) -> None:
    samples = speech_like(15)
    samples[14 * RATE_HZ] = np.nan
    path = write(tmp_path / "x.wav", wav(3, 32, RATE_HZ, audio=samples.tobytes()))
    decoding = open_decoder(path, contract(windows=WINDOWS), RATE_HZ)
    pieces = decoding.pieces()
    assert len(next(pieces)) > 0
    with pytest.raises(VoxFleetError) as caught:
        list(pieces)
    assert caught.value.failure_class is FailureClass.DECODE_ERROR


def test_a_long_clip_is_never_in_memory(tmp_path: Path) -> None:
    frames = 1200 * 48_000
    path = tmp_path / "x.wav"
    with path.open("wb") as file:
        file.write(wav(rate_hz=48_000, frames=0, announced_bytes=frames * 2))
        file.truncate(44 + frames * 2)  # a sparse file: 115 MB of silence
    spec = contract(to_hz=48_000, windows=Windows(length="30s"), max_clip="1h")
    tracemalloc.start()
    try:
        total = sum(len(piece) for piece in open_decoder(path, spec, 48_000).pieces())
        _, peak_bytes = tracemalloc.get_traced_memory()  # numpy's arrays are traced
    finally:
        tracemalloc.stop()
    assert total == frames
    assert peak_bytes < working_set_bytes(spec) < frames * 4 / 2
