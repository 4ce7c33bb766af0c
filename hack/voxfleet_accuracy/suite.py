"""The takes of a measurement: which recordings, under which conditions, along which paths. Deterministic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from voxfleet_accuracy import recordings
from voxfleet_accuracy.recordings import Recording
from voxfleet_accuracy.sounds import (
    Samples,
    SpokenPart,
    joined,
    mixed,
    quietest_middle,
    resampled,
    telephone,
    wav,
    white_noise,
    with_gap,
)
from voxfleet_accuracy.takes import MODEL_RATE_HZ, GivenPath, Take

_SEED = 11
GAP_SECONDS = 30.0
AS_RECORDED = "as recorded"
_GAP = f"gap of {GAP_SECONDS:.0f} s"


@dataclass(frozen=True, slots=True)
class _Made:
    """A take before it is written."""

    name: str
    group: str
    condition: str
    samples: Samples
    rate_hz: int
    text: str | None
    channels: int = 1
    parts: tuple[SpokenPart, ...] = ()
    paths: tuple[GivenPath, ...] = (GivenPath.WHOLE,)
    gap_seconds: tuple[float, float] | None = None
    without_gap: str | None = None
    language: str = "en"


def write_takes(folder: Path, *, quick: bool) -> list[Take]:
    """Writes the files of the whole suite, or of a small part of it. Raises PackageUnavailable."""
    folder.mkdir(parents=True, exist_ok=True)
    takes = []
    for made in _quick() if quick else _whole():
        path = folder / f"{made.name}.wav"
        path.write_bytes(wav(made.samples, made.rate_hz, made.channels))
        seconds = len(made.samples) / made.rate_hz
        takes.append(
            Take(
                made.name,
                made.group,
                made.condition,
                path,
                seconds,
                made.text,
                made.parts,
                made.paths,
                made.gap_seconds,
                made.without_gap,
                made.language,
            )
        )
    return takes


def _quick() -> Iterator[_Made]:
    prompts = recordings.prompts()
    kennedy = recordings.kennedy()
    yield from _clean("LibriVox", recordings.librivox()[:2])
    yield from _clean("telephone prompts", _drawn(prompts, 4))
    yield from _clean("inaugural address", [kennedy])
    wanted = ("48 kHz stereo", "music 10 dB below", _GAP)
    yield from _conditions([kennedy], recordings.music(), wanted)
    yield _long("joined-90s", "90 s of prompts", _at_model_rate(prompts), 90.0)
    yield from list(_sounds())[:3]


def _whole() -> Iterator[_Made]:
    prompts = recordings.prompts()
    kennedy = recordings.kennedy()
    librivox = recordings.librivox()
    parts = _at_model_rate(prompts)
    yield _long("joined-20m", "20 min of prompts", parts, 1200.0)
    yield _long("joined-5m", "5 min of prompts", parts, 300.0)
    yield _stereo_44k(_long("joined-5m-44k", "5 min, 44.1 kHz stereo", parts, 300.0))
    yield from _clean("LibriVox", librivox)
    yield from _clean("playing cards", recordings.cards())
    yield from _clean("commands and digits", recordings.commands())
    yield from _clean("loudspeaker names", recordings.loudspeakers())
    yield from _clean("telephone prompts", _drawn(prompts, 24))
    yield from _clean("inaugural address", [kennedy])
    yield from _conditions([kennedy, *librivox], recordings.music(), tuple(_CONDITIONS))
    yield from _clean("words unknown", recordings.without_texts())
    yield from _sounds()


def _drawn(found: Sequence[Recording], count: int) -> list[Recording]:
    chosen = np.random.default_rng(_SEED).permutation(len(found))[:count]
    return [found[index] for index in sorted(chosen)]


def _clean(group: str, found: Sequence[Recording]) -> Iterator[_Made]:
    for recording in found:
        made = _Made(recording.name, group, AS_RECORDED, recording.samples, recording.rate_hz, recording.text)
        yield replace(made, language=recording.language)


_Change = Callable[[Samples, int, Samples], tuple[Samples, int, int]]
"""Takes samples, their rate and music at that rate; returns samples, rate and channels."""


def _in_noise(snr_db: float) -> _Change:
    return lambda samples, rate_hz, _music: (mixed(samples, white_noise(len(samples), _SEED), snr_db), rate_hz, 1)


def _over_music(snr_db: float) -> _Change:
    return lambda samples, rate_hz, music: (mixed(samples, music, snr_db), rate_hz, 1)


_CONDITIONS: Mapping[str, _Change] = {
    "telephone 8 kHz": lambda samples, rate_hz, _music: (telephone(samples, rate_hz), 8_000, 1),
    "44.1 kHz stereo": lambda samples, rate_hz, _music: (resampled(samples, rate_hz, 44_100), 44_100, 2),
    "48 kHz stereo": lambda samples, rate_hz, _music: (resampled(samples, rate_hz, 48_000), 48_000, 2),
    "white noise 20 dB below": _in_noise(20),
    "white noise 10 dB below": _in_noise(10),
    "white noise 5 dB below": _in_noise(5),
    "music 10 dB below": _over_music(10),
    "music 5 dB below": _over_music(5),
    _GAP: lambda samples, rate_hz, _music: (with_gap(samples, rate_hz, GAP_SECONDS), rate_hz, 1),
}


def _conditions(found: Sequence[Recording], music: Sequence[Recording], wanted: Sequence[str]) -> Iterator[_Made]:
    for condition in wanted:
        for recording in found:
            behind = resampled(_excerpt(music[0], 30.0, recording.seconds), music[0].rate_hz, recording.rate_hz)
            samples, rate_hz, channels = _CONDITIONS[condition](recording.samples, recording.rate_hz, behind)
            name = f"{recording.name}-{condition.replace(' ', '-').replace('.', '')}"
            made = _Made(name, condition, condition, samples, rate_hz, recording.text, channels)
            if condition == _GAP:
                start = quietest_middle(recording.samples, recording.rate_hz) / recording.rate_hz
                paths = (GivenPath.WHOLE, GivenPath.WINDOWS_30)
                gap = (start, start + GAP_SECONDS)
                made = replace(made, paths=paths, gap_seconds=gap, without_gap=recording.name)
            yield made


def _at_model_rate(prompts: Sequence[Recording]) -> list[tuple[str, Samples]]:
    return [
        (recording.text or "", resampled(recording.samples, recording.rate_hz, MODEL_RATE_HZ)) for recording in prompts
    ]


def _long(name: str, group: str, parts: Sequence[tuple[str, Samples]], seconds: float) -> _Made:
    samples, spoken = joined(parts, MODEL_RATE_HZ, seconds, _SEED)
    text = " ".join(part.text for part in spoken)
    return _Made(name, group, "joined", samples, MODEL_RATE_HZ, text, 1, spoken, tuple(GivenPath))


def _stereo_44k(made: _Made) -> _Made:
    samples = resampled(made.samples, made.rate_hz, 44_100)
    paths = (GivenPath.WHOLE, GivenPath.WINDOWS_60)
    return _Made(made.name, made.group, "44.1 kHz stereo", samples, 44_100, made.text, 2, made.parts, paths)


def _sounds() -> Iterator[_Made]:
    """Nothing is said in them."""
    rate_hz = MODEL_RATE_HZ
    music = recordings.music()
    silence = np.zeros(10 * rate_hz, dtype=np.float32)
    yield _sound("silence-10s", silence, rate_hz)
    yield _sound("noise-loud", white_noise(10 * rate_hz, _SEED) * np.float32(0.05), rate_hz)
    yield _sound("music-1", _excerpt(music[0], 30.0, 20.0), music[0].rate_hz)
    yield _sound("silence-35s", np.zeros(35 * rate_hz, dtype=np.float32), rate_hz)
    yield _sound("noise-faint", white_noise(10 * rate_hz, _SEED + 1) * np.float32(0.001), rate_hz)
    for number, piece in enumerate(music[1:], 2):
        yield _sound(f"music-{number}", _excerpt(piece, 30.0, 20.0), piece.rate_hz)
    for noise in recordings.noises():
        yield _sound(noise.name, noise.samples, noise.rate_hz)


def _sound(name: str, samples: Samples, rate_hz: int) -> _Made:
    return _Made(f"sound-{name}", "nothing is said", name, samples, rate_hz, "")


def _excerpt(recording: Recording, start_seconds: float, seconds: float) -> Samples:
    start = round(start_seconds * recording.rate_hz)
    return recording.samples[start : start + round(seconds * recording.rate_hz)]
