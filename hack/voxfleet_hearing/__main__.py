"""How often each detector of speech calls a correct transcript short, and how many halves it misses.

    python -m voxfleet_hearing [--espeak 400] [--model FOLDER --clips FOLDER...]     with hack on the path

Espeak-ng speaks random clips, which the built-in model transcribes; of these, the correct transcripts count. The real
clips are the .wav files below FOLDERs, which the model in `--model` transcribes; what it writes counts as correct. Each
transcript is judged as it is, and cut to the first half of its words. `music` are real clips for which an empty
transcript is the correct one (`--music FOLDER`), in stretches of 30 s.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mlx_audio_io  # type: ignore[import-untyped] # it ships no types
import numpy as np
import numpy.typing as npt

from make_clips import make_random_clips
from voxfleet_agent.engine.completeness import shortfall
from voxfleet_agent.engine.silero import SileroDetector
from voxfleet_agent.engine.speech_detection import audible_speech
from voxfleet_agent.engine.transcriber import MlxTranscriber
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.engine.unspoken_text import repeated, sparse, unspoken
from voxfleet_agent.models.store import builtin_model_folder
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_model import BuiltinName
from voxfleet_api.kinds.job_task import Transcription
from voxfleet_api.rows import TimedText

Samples = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
RATE_HZ = 16_000
COVERAGE_PERCENT = 90
STRETCH_FRAMES = 30 * RATE_HZ


@dataclass(frozen=True)
class Case:
    """A clip, and a transcript of it that is correct."""

    name: str
    transcript: Transcript
    cheap: Mask
    silero: Mask

    def short(self, transcript: Transcript, speech: Mask) -> bool:
        return shortfall(transcript, speech, COVERAGE_PERCENT) is not None


Detector = Callable[[Case, Transcript], bool]
DETECTORS: dict[str, Detector] = {
    "cheap alone": lambda case, transcript: case.short(transcript, case.cheap),
    "Silero alone": lambda case, transcript: case.short(transcript, case.silero),
    "cheap, then both": lambda case, transcript: (
        case.short(transcript, case.cheap) and case.short(transcript, case.cheap & case.silero)
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="voxfleet_hearing", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--espeak", type=int, default=400, help="how many clips espeak-ng speaks")
    parser.add_argument("--model", type=Path, help="the folder of a model with word times, for --clips")
    parser.add_argument("--clips", type=Path, nargs="*", default=[], help="folders of real speech")
    parser.add_argument("--music", type=Path, nargs="*", default=[], help="folders of music without words")
    options = parser.parse_args()
    silero = SileroDetector()
    sets: dict[str, list[Case]] = {}
    if options.espeak:
        sets["espeak-ng"] = list(espeak_cases(options.espeak, silero))
    if options.model is not None:
        sets["real"] = list(real_cases(options.model, options.clips, silero))
    print(f"{'set':10} {'clips':>5}  {'detector':17} {'correct, called short':>21} {'halves missed':>14}")
    for name, cases in sets.items():
        halved = [case for case in cases if len(case.transcript.words or ()) > 1]
        for detector, short in DETECTORS.items():
            wrong = sum(short(case, case.transcript) for case in cases)
            missed = sum(not short(case, half(case.transcript)) for case in halved)
            print(f"{name:10} {len(cases):5}  {detector:17} {wrong:21} {f'{missed} of {len(halved)}':>14}")
        asked = [case for case in cases if suspicious(case)]
        print(f"{name:10} {len(cases):5}  Silero is asked about {len(asked)} of them; of these")
        for what, find in (("unspoken", unspoken), ("repeated", repeated)):
            found = [case.name for case in asked if find(case.transcript, case.silero)]
            print(f"{'':18}{what}: {', '.join(found) or 'none'}")
    stretches = [case for folder in options.music for case in music_cases(folder, silero)]
    for detector, short in DETECTORS.items():
        if stretches:
            wrong = sum(short(case, case.transcript) for case in stretches)
            print(f"{'music':10} {len(stretches):5}  {detector:17} {wrong:21} {'-':>14}")


def suspicious(case: Case) -> bool:
    """Whether the costly detector is asked about a correct transcript."""
    transcript = case.transcript
    return bool(
        case.short(transcript, case.cheap)
        or unspoken(transcript, case.cheap)
        or repeated(transcript, case.cheap)
        or sparse(transcript, case.cheap)
    )


def espeak_cases(count: int, silero: SileroDetector) -> Iterator[Case]:
    model = MlxTranscriber(builtin_model_folder(BuiltinName.COMMANDS), Transcription(), Timestamps.WORD)
    with tempfile.TemporaryDirectory(prefix="hearing-") as folder:
        for clip in make_random_clips(Path(folder), count, seed=11, rate_hz=RATE_HZ, container="wav"):
            samples = samples_of(clip.path)
            (transcript,) = model.transcribe([samples])
            if transcript.text == clip.text:
                yield case_of(clip.text, transcript, samples, silero)


def real_cases(model_folder: Path, folders: Sequence[Path], silero: SileroDetector) -> Iterator[Case]:
    model = MlxTranscriber(model_folder, Transcription(), Timestamps.WORD)
    for folder in folders:
        for path in sorted(folder.rglob("*.wav")):
            samples = samples_of(path)
            (transcript,) = model.transcribe([samples])
            if transcript.text:
                yield case_of(str(path.relative_to(folder)), transcript, samples, silero)


def music_cases(folder: Path, silero: SileroDetector) -> Iterator[Case]:
    for path in sorted(folder.rglob("*.wav")):
        samples = samples_of(path)
        for start in range(0, len(samples) - STRETCH_FRAMES, STRETCH_FRAMES):
            yield case_of(
                f"{path.name} {start // RATE_HZ} s", Transcript(""), samples[start : start + STRETCH_FRAMES], silero
            )


def case_of(name: str, transcript: Transcript, samples: Samples, silero: SileroDetector) -> Case:
    return Case(name, transcript, audible_speech(samples, RATE_HZ), silero.audible_speech(samples, RATE_HZ))


def half(transcript: Transcript) -> Transcript:
    """The first half of the words, in one segment."""
    words = (transcript.words or ())[: len(transcript.words or ()) // 2]
    text = " ".join(word.text for word in words)
    segment = TimedText(
        start_milliseconds=words[0].start_milliseconds, end_milliseconds=words[-1].end_milliseconds, text=text
    )
    return replace(transcript, text=text, words=words, segments=(segment,))


def samples_of(path: Path) -> Samples:
    """(N,) float32, one channel at RATE_HZ."""
    samples, stored_hz = mlx_audio_io.load(str(path), mono=True, mono_mode="mean", squeeze_mono=True)
    if stored_hz != RATE_HZ:
        samples = mlx_audio_io.resample(samples, stored_hz, RATE_HZ, quality="soxr_vhq")
    return np.asarray(samples, np.float32).reshape(-1)


if __name__ == "__main__":
    main()
