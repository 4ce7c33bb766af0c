"""What conversions do to the level of real speech: channels that cancel, and sound above the model's rate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import mlx_audio_io  # type: ignore[import-untyped] # it ships no types
import numpy as np
import pytest
from tests.component.audio.audio_rig import Samples, contract, save

from voxfleet_agent.audio.decode import open_decoder
from voxfleet_agent.worker.mixdown_judge import MixdownJudge
from voxfleet_api.clip_warnings import RowWarning, WarningCode
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Windows

CLIPS = Path(__file__).parents[3] / "examples" / "clips"
RATE_HZ = 16_000
WORDS, _ = mlx_audio_io.load(CLIPS / "wav-16000-01.wav")
VOICE: Samples = np.array(WORDS)[:, 0]
"""Speech that reaches -19 dB."""
DRAWN = np.random.default_rng(5)


def sine(hertz: float, level: float, frames: int = len(VOICE), rate_hz: int = RATE_HZ) -> Samples:
    return (level * np.sin(2 * np.pi * hertz * np.arange(frames) / rate_hz)).astype(np.float32)


def noise(level: float) -> Samples:
    return (level * DRAWN.standard_normal(len(VOICE))).astype(np.float32)


def delayed(milliseconds: float) -> Samples:
    return np.roll(VOICE, int(RATE_HZ * milliseconds / 1000))


def apart_by(milliseconds: float) -> Samples:
    return channels(VOICE, delayed(milliseconds))


def inverted_from(seconds: float) -> Samples:
    samples = VOICE.copy()
    samples[int(seconds * RATE_HZ) :] *= -1
    return samples


def echo(seed: int) -> Samples:
    draw = np.random.default_rng(seed).standard_normal(RATE_HZ // 4) * 0.05
    response = draw * np.exp(-np.arange(len(draw)) / (RATE_HZ * 0.08))
    response[0] = 1
    return np.convolve(VOICE, response)[: len(VOICE)].astype(np.float32)


NOTHING = np.zeros_like(VOICE)
HUM = sine(50, 0.1) + sine(150, 0.05)


def channels(*samples: Samples) -> Samples:
    return np.ascontiguousarray(np.stack(samples, axis=1), np.float32)


def judged(path: Path, windows: Windows | None = None) -> tuple[int, tuple[RowWarning, ...], MixdownJudge]:
    """The number of samples, the clip's warnings, and its judge. Raises what the decoder or the judge raises."""
    decoder, judge = open_decoder(path, contract(windows=windows), RATE_HZ), MixdownJudge()
    frames = sum(len(piece) for piece in decoder.pieces(judge.examine))
    return frames, (*decoder.warnings, *judge.warnings), judge


ORDINARY: dict[str, Callable[[], Samples]] = {
    "dual mono": lambda: channels(VOICE, VOICE),
    "one silent channel": lambda: channels(VOICE, NOTHING),
    "the other silent channel": lambda: channels(NOTHING, VOICE),
    "silence": lambda: channels(NOTHING, NOTHING),
    "two speakers": lambda: channels(VOICE, VOICE[::-1]),
    "noise in both": lambda: channels(VOICE + noise(0.01), VOICE + noise(0.01)),
    "a room": lambda: channels(echo(1), echo(2)),
    **{f"{apart} ms apart": partial(apart_by, apart) for apart in (0.3, 0.7, 1, 2, 20)},
    "inverted, 1 ms apart": lambda: channels(VOICE, -delayed(1)),
    "hum that cancels": lambda: channels(VOICE + HUM, VOICE - HUM),
    "a constant part that cancels": lambda: channels(VOICE + 0.3, VOICE - 0.3),
    "quiet noise that cancels": lambda: channels(sine(440, 1e-4), sine(440, -1e-4)),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_recording_keeps_its_level(name: str, tmp_path: Path) -> None:
    samples = ORDINARY[name]()
    frames, warnings, judge = judged(save(tmp_path / "clip.wav", samples, RATE_HZ, "float32"))
    assert (frames, warnings, judge.note) == (len(VOICE), (), None)


SILENCED: dict[str, Callable[[], Samples]] = {
    "inverted": lambda: channels(VOICE, -VOICE),
    "inverted and quieter": lambda: channels(VOICE, -0.97 * VOICE),
    "inverted from the middle on": lambda: channels(VOICE, inverted_from(0.8)),
    "inverted beside a silent channel": lambda: channels(VOICE, -VOICE, NOTHING),
    "inverted, quiet speech": lambda: channels(0.05 * VOICE, -0.05 * VOICE),
    "inverted, with a constant part": lambda: channels(VOICE + 0.2, -VOICE + 0.2),
    "inverted, with hum that stays": lambda: channels(VOICE + 0.2 * HUM, -VOICE + 0.2 * HUM),
    "inverted, with noise that stays": lambda: channels(VOICE + noise(0.002), -VOICE + noise(0.002)),
    "inverted, with louder mains hum that stays": lambda: channels(VOICE + sine(50, 0.2), -VOICE + sine(50, 0.2)),
    "a tone": lambda: channels(sine(440, 0.5), sine(440, -0.5)),
}


@pytest.mark.parametrize("windows", [None, Windows(length="1s", seek="200ms")], ids=["whole", "windows"])
@pytest.mark.parametrize("name", SILENCED)
def test_a_clip_that_the_mix_silences_is_refused(name: str, windows: Windows | None, tmp_path: Path) -> None:
    path = save(tmp_path / "clip.wav", SILENCED[name](), RATE_HZ, "float32")
    with pytest.raises(
        VoxFleetError, match=r"silenced by downmix Mean: .* dB, the mix .*; invert one channel"
    ) as caught:
        judged(path, windows)
    assert caught.value.failure_class is FailureClass.CONTRACT_VIOLATION


def test_moments_that_lie_far_apart_are_no_lost_word(tmp_path: Path) -> None:
    """In an hour of two microphones more than 200 ms cancel, but never a word."""
    loudest = int(np.abs(np.convolve(VOICE**2, np.ones(960), "same")).argmax())
    other = VOICE.copy()
    other[loudest - 480 : loudest + 1120] *= -1
    apart = [VOICE] * 7
    once = channels(np.concatenate([VOICE, *apart]), np.concatenate([other, *apart]))
    _, warnings, _ = judged(save(tmp_path / "apart.wav", np.tile(once, (4, 1)), RATE_HZ, "float32"))
    assert [warning.code for warning in warnings] == [WarningCode.LEVEL_LOST]
    together = channels(np.tile(VOICE, 8), np.tile(other, 8))
    with pytest.raises(VoxFleetError, match="silenced by downmix Mean"):
        judged(save(tmp_path / "together.wav", together, RATE_HZ, "float32"))


def test_the_reason_says_where_and_how_much(tmp_path: Path) -> None:
    path = save(tmp_path / "clip.wav", channels(NOTHING, VOICE, -VOICE), RATE_HZ, "float32")
    with pytest.raises(VoxFleetError, match=r"from 0\.\d s on, speech in channel [23] reaches -19 dB, the mix nothing"):
        judged(path)


@pytest.mark.parametrize("name", ["clip.mp3", "clip.m4a"])
def test_the_noise_of_a_lossy_codec_does_not_hide_it(name: str, tmp_path: Path) -> None:
    path = save(tmp_path / name, channels(VOICE, -VOICE), RATE_HZ)
    with pytest.raises(VoxFleetError, match="silenced by downmix"):
        judged(path)


@pytest.mark.parametrize(
    ("samples", "decibels"),
    [
        (channels(VOICE, -0.9 * VOICE), 26),
        (channels(VOICE, -0.5 * VOICE), 12),
        (channels(VOICE, *[NOTHING] * 5), 16),
    ],
    ids=["inverted at 90 %", "inverted at 50 %", "one of six channels"],
)
def test_speech_that_is_left_much_quieter_is_a_warning(samples: Samples, decibels: int, tmp_path: Path) -> None:
    frames, (warning,), judge = judged(save(tmp_path / "clip.wav", samples, RATE_HZ, "float32"))
    assert frames == len(VOICE) and warning.code is WarningCode.LEVEL_LOST
    assert f"channel 1 reaches -19 dB, the mix {-19 - decibels} dB" in warning.message
    assert judge.note == warning.message


def test_completeness_hears_the_channels_too(tmp_path: Path) -> None:
    """The second half is left 26 dB quieter than the first: in the mix alone it would pass for breath."""
    last = len(VOICE) // 2
    other = VOICE.copy()
    other[last:] *= -0.9
    _, (warning,), judge = judged(save(tmp_path / "clip.wav", channels(VOICE, other), RATE_HZ, "float32"))
    assert warning.code is WarningCode.LEVEL_LOST
    frames = len(VOICE) * 50 // RATE_HZ
    spoken = judge.speech(0, frames)
    first = last * 50 // RATE_HZ
    assert not spoken[: first - 2].any() and spoken[first:].sum() * 20 >= 200
    assert (judge.speech(first * 20, frames - first) == spoken[first:]).all()


def test_sound_above_the_models_rate_is_not_a_success(tmp_path: Path) -> None:
    path = save(tmp_path / "clip.wav", sine(12_000, 0.3, 96_000, 48_000).reshape(-1, 1), 48_000)
    with pytest.raises(
        VoxFleetError, match="silenced by resample:48000->16000:soxr_vhq: its loudest second has -13 dB"
    ):
        judged(path)


def test_a_tone_above_the_models_rate_beside_speech_is_a_warning(tmp_path: Path) -> None:
    voice, _ = mlx_audio_io.load(CLIPS / "wav-48000-13.wav")
    samples: Samples = np.array(voice)[:, :1] * np.float32(0.3)
    samples += sine(15_000, 0.4, len(samples), 48_000).reshape(-1, 1)
    _, (warning,), _ = judged(save(tmp_path / "clip.wav", samples, 48_000))
    assert warning.code is WarningCode.LEVEL_LOST and "from the loudest second (-11 dB)" in warning.message


def test_the_examples_have_no_warnings() -> None:
    examples = sorted(CLIPS.glob("*-*-*.*"))
    assert len(examples) == 32
    assert [warning for path in examples for warning in judged(path)[1]] == []
