"""Clips, contracts and specs for lanes, and the stand-in worker."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

import numpy as np

from voxfleet_agent.lane_protocol.messages import Load
from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict, LaneSpec
from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Downmix, Resample
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

MakeLane = Callable[..., ProcessLane]
Examples = dict[str, tuple[Path, str | None, str | None]]
CLIPS = Path(__file__).parents[3] / "examples" / "clips"
STAND_IN = Path(__file__).parent / "stand_in_worker.py"
RATE_HZ = 16_000
END_SECONDS = 30.0
"""How long a process may take to begin or to end."""

POISON = 13
METAL = (
    "libc++abi: terminating due to uncaught exception of type std::runtime_error: [METAL] Command buffer execution "
    "failed: {what} ({code:08x}:kIOGPUCommandBufferCallbackError{name})"
)
OUT_OF_MEMORY = METAL.format(what="Insufficient Memory", code=8, name="OutOfMemory")
TIMEOUT = METAL.format(what="Caused GPU Timeout Error", code=2, name="Timeout")


def contract(conversions: Conversions | None = None, **changes: object) -> VoiceContractSpec:
    """A contract that accepts the good example clips and declares the conversions that they need."""
    fields: dict[str, object] = {
        "containers": tuple(Container),
        "sample_rates_hz": (16_000, 22_050, 44_100, 48_000),
        "channels": (1, 2),
        "max_clip": "30s",
        **changes,
    }
    if conversions is None:
        conversions = Conversions(resample=Resample(to_hz=RATE_HZ), downmix=Downmix())
    return VoiceContractSpec(input=ContractInput.model_validate(fields), conversions=conversions)


def transcribe_spec(declared: VoiceContractSpec | None = None) -> LaneSpec:
    return LaneSpec(Task.TRANSCRIBE, declared or contract(), Transcription())


def synthesize_spec(declared: VoiceContractSpec | None = None) -> LaneSpec:
    return LaneSpec(Task.SYNTHESIZE, declared or contract(), Transcription(), Synthesis(voice="serena"))


def load_request(folder: Path) -> Load:
    return Load(
        folder=folder,
        digest="sha256:" + "1" * 64,
        task=Task.TRANSCRIBE,
        contract=contract(),
        transcription=Transcription(),
        memory_cap_bytes=2**30,
    )


def examples() -> Examples:
    """By id: the clip, its text, and its expected failure class."""
    expected = {row["id"]: row for row in map(json.loads, (CLIPS / "expected.jsonl").read_text().splitlines())}
    manifest = map(json.loads, (CLIPS / "manifest.jsonl").read_text().splitlines())
    return {
        row["id"]: (CLIPS / row["uri"], expected[row["id"]].get("text"), expected[row["id"]].get("class"))
        for row in manifest
    }


def tone(path: Path, number: int, milliseconds: int = 300) -> Path:
    """A wav file that the stand-in model transcribes as `clip <number>`."""
    audio = np.full(RATE_HZ * milliseconds // 1000, number / 100, "<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, RATE_HZ, 4 * RATE_HZ, 4, 32)
    path.write_bytes(
        b"RIFF" + struct.pack("<I", 36 + len(audio)) + b"WAVEfmt " + struct.pack("<I", 16) + form
        + b"data" + struct.pack("<I", len(audio)) + audio
    )  # fmt: skip
    return path


def tasks(folder: Path, numbers: Sequence[int], milliseconds: int = 300) -> list[ClipTask]:
    """Clips of these numbers, of slightly different lengths."""
    return [
        ClipTask(index, tone(folder / f"clip-{index}", number, milliseconds + index))
        for index, number in enumerate(numbers)
    ]


async def run(lane: ProcessLane, *batches: Sequence[ClipTask]) -> list[ClipVerdict]:
    """All verdicts, as they came."""

    async def feed() -> AsyncIterator[Sequence[ClipTask]]:
        for batch in batches:
            yield batch

    async with aclosing(lane.work(feed())) as verdicts:
        return [verdict async for verdict in verdicts]


async def transcribe(lane: ProcessLane, path: Path) -> ClipVerdict:
    """The verdict of one clip."""
    (verdict,) = await run(lane, [ClipTask(7, path)])
    return verdict


def by_index(verdicts: Sequence[ClipVerdict]) -> dict[int, ClipVerdict]:
    assert len({verdict.index for verdict in verdicts}) == len(verdicts)
    return {verdict.index: verdict for verdict in verdicts}


def assert_only_the_poison_suffers(verdicts: Sequence[ClipVerdict], numbers: Sequence[int]) -> ClipVerdict:
    """All other clips are transcribed at the first try; returns the verdict of the poison clip."""
    found = by_index(verdicts)
    assert sorted(found) == list(range(len(numbers)))
    for index, number in enumerate(numbers):
        if number != POISON:
            assert (found[index].text, found[index].failure_class, found[index].retries) == (f"clip {number}", None, 0)
    return found[numbers.index(POISON)]
