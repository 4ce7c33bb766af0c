"""Make the spoken example clips, their manifest and their expected results.

    .venv/bin/python hack/make_clips.py                          write examples/clips again
    .venv/bin/python hack/make_clips.py --verify --model DIR     check the existing clips against a model

Needs espeak-ng and ffmpeg on PATH. The same versions of both write the same bytes again. Tests and benchmarks import
`make_clip`, `make_random_clips`, `cut_short` and `write_manifest` to make clips of their own.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, get_args

from pydantic import BaseModel, ConfigDict, Field

Container = Literal["wav", "flac", "mp3", "m4a"]
FailureClass = Literal["DecodeError", "ChecksumMismatch", "ContractViolation"]

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "clips"
ACCEPTED_RATES_HZ = (16000, 22050, 44100, 48000)
KEPT_PERCENT = 40
# AAC fills its last frame of 1024 samples, 64 ms at 16 kHz, which the header does not count.
LENGTH_TOLERANCE_SECONDS = 0.1

# All words that the built-in model `commands` knows.
_WORDS = (
    "zero one two three four five six seven eight nine ten yes no stop go start pause up down left right on off "
    "open close play next back louder quieter hello goodbye help cancel confirm record send delete"
)
VOCABULARY = tuple(_WORDS.split())
# The espeak-ng voices that this model transcribes best (about one word in 240 wrong), and words per minute.
VOICES = ("en-us", "en-gb", "en-gb-x-rp", "en-029", "en-us+f3", "en-gb+f2", "en-us+m3", "en-gb+m3")
SPEEDS = (130, 150, 170)

ENCODERS: Mapping[str, tuple[str, ...]] = {
    ".wav": ("-c:a", "pcm_s16le"),
    ".flac": ("-c:a", "flac", "-sample_fmt", "s16"),
    ".mp3": ("-c:a", "libmp3lame", "-b:a", "64k"),
    ".m4a": ("-c:a", "aac", "-b:a", "64k"),
}


class ClipToolError(RuntimeError):
    """espeak-ng or ffmpeg is missing or failed; the message holds the command and its error output."""


class ExampleManifestRow(BaseModel):
    """A line of manifest.jsonl. `uri` is relative to the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    uri: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class ExpectedRow(BaseModel):
    """A line of expected.jsonl: the words of a good clip, or the failure class of a bad clip."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    text: str | None = None
    failure: FailureClass | None = Field(default=None, alias="class")


@dataclass(frozen=True)
class Clip:
    """A clip on disk and the words spoken in it."""

    id: str
    path: Path
    text: str


@dataclass(frozen=True)
class Example:
    """A clip to make. `failure`: the expected failure class of a bad clip; None for a good one."""

    id: str
    text: str
    voice: str
    speed: int
    container: Container
    rate_hz: int
    channels: int
    failure: FailureClass | None = None


def make_clip(path: Path, words: Sequence[str], voice: str, speed: int, rate_hz: int, channels: int) -> None:
    """Speak `words` into `path`, whose suffix (.wav .flac .mp3 .m4a) is the container.

    `voice` is an espeak-ng voice with an optional variant ("en-us+f3"), `speed` is in words per minute. With two
    channels, the right one is the left one at half its level. wav and flac are 16 bit, mp3 and m4a (AAC) 64 kbit/s.

    Raises ValueError for no words, another suffix or other channels; ClipToolError when a tool is missing or fails.
    """
    if not words:
        raise ValueError(f"{path}: a clip needs at least one word")
    if path.suffix not in ENCODERS:
        raise ValueError(f"{path}: the suffix must be one of {', '.join(ENCODERS)}")
    if channels not in (1, 2):
        raise ValueError(f"{path}: channels must be 1 or 2, not {channels}")
    layout = "pan=mono|c0=c0" if channels == 1 else "pan=stereo|c0=c0|c1=0.5*c0"
    with tempfile.TemporaryDirectory(prefix="make-clip-") as scratch:
        # -w, because espeak-ng cannot seek back in a pipe to write the length into the header.
        spoken = str(Path(scratch) / "spoken.wav")
        _run(["espeak-ng", "-v", voice, "-s", str(speed), "-a", "60", "-w", spoken, " ".join(words)])
        _run(
            [
                *("ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-i", spoken),
                *("-af", layout, "-ar", str(rate_hz), *ENCODERS[path.suffix]),
                *("-fflags", "+bitexact", "-flags", "+bitexact", "-map_metadata", "-1", str(path)),
            ]
        )


def make_random_clips(
    folder: Path, count: int, seed: int, rate_hz: int, container: Container, channels: int = 1
) -> list[Clip]:
    """Make `count` clips of 2 to 6 random words in `folder` (made when missing); the same seed gives the same words.

    Files are named <id>.<container>, ids "c00000" onwards. Raises what make_clip raises.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    plans: list[tuple[Clip, str, int]] = []
    for number in range(count):
        words = rng.choices(VOCABULARY, k=rng.randint(2, 6))
        clip = Clip(f"c{number:05d}", folder / f"c{number:05d}.{container}", " ".join(words))
        plans.append((clip, rng.choice(VOICES), rng.choice(SPEEDS)))

    def make(plan: tuple[Clip, str, int]) -> Clip:
        clip, voice, speed = plan
        make_clip(clip.path, clip.text.split(), voice, speed, rate_hz, channels)
        return clip

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(make, plans))


def cut_short(path: Path, kept_percent: int) -> None:
    """Keep only the first `kept_percent` of a file's bytes; its header still announces all of them."""
    content = path.read_bytes()
    kept_bytes = len(content) * kept_percent // 100
    path.write_bytes(content[: kept_bytes - kept_bytes % 4])  # whole samples, mono or stereo


def write_manifest(path: Path, clips: Iterable[Clip], wrong_checksum_ids: frozenset[str] = frozenset()) -> None:
    """Write a manifest next to its clips. The ids in `wrong_checksum_ids` get the sha256 of other bytes."""
    lines = []
    for clip in clips:
        content = clip.path.read_bytes() + (b"\0" if clip.id in wrong_checksum_ids else b"")
        row = ExampleManifestRow(
            id=clip.id, uri=clip.path.relative_to(path.parent).as_posix(), sha256=hashlib.sha256(content).hexdigest()
        )
        lines.append(row.model_dump_json() + "\n")
    path.write_text("".join(lines), encoding="utf-8")


# container, rate, channels, voice, speed, words
GOOD: tuple[tuple[Container, int, int, str, int, str], ...] = (
    ("wav", 16000, 1, "en-us", 150, "hello one two three"),
    ("flac", 16000, 1, "en-gb", 150, "start record"),
    ("mp3", 16000, 1, "en-us+f3", 150, "stop record"),
    ("m4a", 16000, 1, "en-us+m3", 150, "play next one"),
    ("wav", 22050, 1, "en-gb-x-rp", 150, "go back two"),
    ("flac", 22050, 1, "en-029", 150, "yes confirm send"),
    ("mp3", 22050, 1, "en-gb+f2", 150, "no cancel"),
    ("m4a", 22050, 1, "en-gb+m3", 150, "open four seven"),
    ("wav", 44100, 1, "en-us+f3", 150, "close nine"),
    ("flac", 44100, 1, "en-us+m3", 150, "louder up three"),
    ("mp3", 44100, 1, "en-us", 130, "quieter down ten"),
    ("m4a", 44100, 1, "en-gb", 130, "pause six"),
    ("wav", 48000, 1, "en-gb+f2", 150, "delete eight five"),
    ("flac", 48000, 1, "en-gb+m3", 150, "help open two"),
    ("mp3", 48000, 1, "en-gb-x-rp", 130, "left right left"),
    ("m4a", 48000, 1, "en-029", 130, "up down up"),
    ("wav", 16000, 2, "en-us", 130, "on off on"),
    ("flac", 16000, 2, "en-gb", 170, "zero five nine four"),
    ("mp3", 16000, 1, "en-us+f3", 170, "seven one zero six"),
    ("m4a", 16000, 1, "en-us+m3", 130, "ten nine eight"),
    ("wav", 22050, 1, "en-gb-x-rp", 170, "send yes send"),
    ("flac", 22050, 2, "en-029", 150, "stop goodbye"),
    ("mp3", 22050, 2, "en-gb+f2", 170, "next three back"),
    ("m4a", 22050, 2, "en-gb+m3", 130, "record two pause"),
    ("wav", 44100, 2, "en-us+f3", 170, "confirm delete"),
    ("flac", 44100, 1, "en-us+m3", 130, "right six open"),
    ("mp3", 44100, 2, "en-us", 170, "play louder go"),
    ("m4a", 44100, 2, "en-gb", 150, "cancel send"),
    ("wav", 48000, 1, "en-gb+f2", 130, "hello help"),
    ("flac", 48000, 2, "en-gb+m3", 170, "left ten close"),
    ("mp3", 48000, 2, "en-gb-x-rp", 150, "off goodbye"),
    ("m4a", 48000, 1, "en-029", 150, "four five six seven eight nine"),
)
TRUNCATED = Example("truncated", "one two three four five six", "en-us", 150, "wav", 16000, 1, "DecodeError")
WRONG_CHECKSUM = Example("wrong-checksum", "start play stop", "en-gb", 150, "flac", 22050, 1, "ChecksumMismatch")
RATE_8000 = Example("rate-8000", "yes no yes", "en-us+f3", 150, "wav", 8000, 1, "ContractViolation")


def examples() -> list[Example]:
    """Returns the clips of examples/clips in manifest order, with the three bad ones among the good ones."""
    planned = [
        Example(f"{container}-{rate_hz}-{number:02d}", text, voice, speed, container, rate_hz, channels)
        for number, (container, rate_hz, channels, voice, speed, text) in enumerate(GOOD, start=1)
    ]
    for position, bad in ((7, TRUNCATED), (16, WRONG_CHECKSUM), (26, RATE_8000)):
        planned.insert(position, bad)
    return planned


def write_examples(folder: Path) -> None:
    """Write every example clip, manifest.jsonl and expected.jsonl into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    clips, expected = [], []
    for example in examples():
        clip = Clip(example.id, folder / f"{example.id}.{example.container}", example.text)
        make_clip(clip.path, example.text.split(), example.voice, example.speed, example.rate_hz, example.channels)
        if example is TRUNCATED:
            cut_short(clip.path, KEPT_PERCENT)
        clips.append(clip)
        answer = {"class": example.failure} if example.failure else {"text": example.text}
        row = ExpectedRow.model_validate({"id": example.id, **answer})
        expected.append(row.model_dump_json(by_alias=True, exclude_none=True) + "\n")
    write_manifest(folder / "manifest.jsonl", clips, frozenset({WRONG_CHECKSUM.id}))
    (folder / "expected.jsonl").write_text("".join(expected), encoding="utf-8")


class _Samples(Protocol):
    """A one-dimensional float array; only its length and its extremes are read here."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def max(self) -> _Scalar: ...
    def min(self) -> _Scalar: ...


class _Scalar(Protocol):
    def item(self) -> float: ...


class _Header(Protocol):
    duration: float
    sample_rate: int


class _Transcript(Protocol):
    text: str


class _Model(Protocol):
    def generate(self, audio: _Samples) -> _Transcript: ...


class _LoadModel(Protocol):
    def __call__(self, path: str) -> _Model: ...


class _LoadAudio(Protocol):
    def __call__(
        self, path: str, *, sr: int, mono: bool, mono_mode: str, resample_quality: str, squeeze_mono: bool
    ) -> tuple[_Samples, int]: ...


class _ReadHeader(Protocol):
    def __call__(self, path: str) -> _Header: ...


def verify_examples(folder: Path, model_folder: Path) -> list[str]:
    """Returns the problems of the clips in `folder`, one sentence each, and prints one line per clip.

    A good clip has its checksum, an accepted rate, 1 to 4 s, a decoded length within 0.1 s of its header, a peak under
    1.0 and the exact expected words. A bad clip has its own flaw and no other.
    """
    # Imported here, so that making clips does not need MLX.
    audio_io = import_module("mlx_audio_io")
    load_audio: _LoadAudio = audio_io.load
    read_header: _ReadHeader = audio_io.info
    load_model: _LoadModel = import_module("mlx_audio.stt").load
    model = load_model(str(model_folder))

    manifest = [ExampleManifestRow.model_validate_json(line) for line in _lines(folder / "manifest.jsonl")]
    expected = {row.id: row for row in map(ExpectedRow.model_validate_json, _lines(folder / "expected.jsonl"))}
    if [row.id for row in manifest] != list(expected):
        return ["manifest.jsonl and expected.jsonl name different clips: write both again with this script"]

    problems, words_total, words_wrong, longest_drift_seconds = [], 0, 0, 0.0
    for row in manifest:
        path, want = folder / row.uri, expected[row.id]
        header = read_header(str(path))
        samples, _ = load_audio(
            str(path), sr=16000, mono=True, mono_mode="mean", resample_quality="soxr_vhq", squeeze_mono=True
        )
        decoded_seconds = samples.shape[0] / 16000
        drift_seconds = abs(header.duration - decoded_seconds)
        peak = max(samples.max().item(), -samples.min().item())
        transcript = model.generate(samples).text.strip()

        flaws: set[FailureClass] = set()
        if hashlib.sha256(path.read_bytes()).hexdigest() != row.sha256:
            flaws.add("ChecksumMismatch")
        if header.sample_rate not in ACCEPTED_RATES_HZ:
            flaws.add("ContractViolation")
        if drift_seconds > LENGTH_TOLERANCE_SECONDS:
            flaws.add("DecodeError")
        if flaws != ({want.failure} if want.failure else set()):
            problems.append(f"{row.uri}: flaws are {sorted(flaws)}, expected {want.failure or 'none'}")
        if not 1.0 <= header.duration <= 4.0:
            problems.append(f"{row.uri}: {header.duration:.2f} s, must be 1 to 4 s: change its words or speed")
        if peak >= 1.0:
            problems.append(f"{row.uri}: peak {peak:.2f}, must be under 1.0: lower the amplitude")
        if want.text is not None:
            words_total += len(want.text.split())
            wrong = word_errors(want.text.split(), transcript.split())
            words_wrong += wrong
            longest_drift_seconds = max(longest_drift_seconds, drift_seconds)
            if wrong:
                problems.append(f"{row.uri}: heard '{transcript}', expected '{want.text}': change its words or voice")
        print(
            f"{row.uri:22} {header.sample_rate:6} Hz  header {header.duration:5.3f} s  "
            f"decoded {decoded_seconds:5.3f} s  peak {peak:4.2f}  {want.failure or 'good':17}  {transcript}"
        )
    good = sum(1 for row in expected.values() if row.failure is None)
    print(
        f"{len(manifest)} clips, {good} good, {words_total} words in them, {words_wrong} wrong; "
        f"decoded length is at most {longest_drift_seconds * 1000:.1f} ms off the header in a good clip"
    )
    return problems


def word_errors(expected: Sequence[str], actual: Sequence[str]) -> int:
    """Counts the fewest words to insert, delete or replace that turn `actual` into `expected`."""
    row = list(range(len(actual) + 1))
    for i, want in enumerate(expected, start=1):
        above = row
        row = [i]
        for j, got in enumerate(actual, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (want != got)))
    return row[-1]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ClipToolError(f"{command[0]} is not on PATH: install it (`make setup` does, on Debian)") from error
    except subprocess.CalledProcessError as error:
        raise ClipToolError(f"{' '.join(command)} exited {error.returncode}: {error.stderr.strip()}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Make the spoken example clips with espeak-ng and ffmpeg, or check them against a model.",
        epilog=f"Containers: {', '.join(get_args(Container))}. Exit status: 0, or 1 with the reasons on stderr.",
    )
    parser.add_argument(
        "--folder", type=Path, default=EXAMPLES, help="where the clips are or go (default: examples/clips)"
    )
    parser.add_argument(
        "--verify", action="store_true", help="write nothing; decode and transcribe each clip and compare"
    )
    parser.add_argument("--model", type=Path, metavar="DIR", help="an mlx-audio speech-to-text model, for --verify")
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    model: Path | None = options.model
    if options.verify and model is None:
        parser.error("--verify needs --model DIR")
    if model is not None and not options.verify:
        parser.error("--model goes with --verify")

    if model is not None:
        problems = verify_examples(folder, model)
        for problem in problems:
            print(f"make_clips: {problem}", file=sys.stderr)
        return 1 if problems else 0
    try:
        write_examples(folder)
    except ClipToolError as error:
        print(f"make_clips: {error}", file=sys.stderr)
        return 1
    print(f"wrote {len(examples())} clips, manifest.jsonl and expected.jsonl to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
