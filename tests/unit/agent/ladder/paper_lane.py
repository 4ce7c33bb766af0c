"""A lane in memory whose times and memory depend only on the batch."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from voxfleet_agent.ladder.measure import LongestClips
from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict, LaneSpec, LoadedModel, StepDown
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Container, ContractInput
from voxfleet_api.kinds.contract_limits import Batching, Ladder
from voxfleet_api.kinds.job_task import Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.ladder_table import LadderTier
from voxfleet_api.run_record import LaneReadings

MIB = 2**20
CLIP_BYTES = 1000
MODEL = ResolvedModel(path=Path("/model"), digest="sha256:" + "a" * 64)


@dataclass
class PaperLane:
    """Implements `lanes.lane_types.Lane`. Inference of a batch takes `fixed + each x clips` milliseconds."""

    fixed_milliseconds: float = 100
    each_milliseconds: float = 20
    base_bytes: int = 100 * MIB
    each_bytes: int = 10 * MIB
    steps_down_above: int | None = None
    aborts_above: int | None = None
    bad_paths: frozenset[Path] = frozenset()
    batches_clips: bool = True
    disturb: Callable[[float], float] = lambda milliseconds: milliseconds
    batch_size: int = 4
    children: int = 0
    loaded: bool = False
    ran: list[list[ClipTask]] = field(default_factory=list)
    peak_bytes: int = 0
    stepped_down: StepDown | None = None

    async def load(self, model: ResolvedModel, order: LaneSpec) -> LoadedModel:
        if not self.loaded:
            self.children += 1
            self.peak_bytes = self.base_bytes
        self.loaded = True
        return LoadedModel(
            sample_rate_hz=16_000,
            family="paper",
            batches=self.batches_clips,
            parameters=1_000_000,
            ring_bytes=MIB,
            seed=0,
            blas="paper",
            dtype="float32",
        )

    async def work(self, batches: AsyncIterator[Sequence[ClipTask]]) -> AsyncGenerator[ClipVerdict, None]:
        assert self.loaded
        async for batch in batches:
            clips = list(batch)
            self.ran.append(clips)
            if self.aborts_above is not None and len(clips) > self.aborts_above:
                raise VoxFleetError(FailureClass.GPU_ABORT_OUT_OF_MEMORY, "the GPU ran out of memory")
            if self.steps_down_above is not None and len(clips) > self.steps_down_above:
                self.batch_size = self.steps_down_above
            assert len(clips) <= self.batch_size or self.steps_down_above is not None
            self.peak_bytes = max(self.peak_bytes, self.base_bytes + self.each_bytes * len(clips))
            took = round(self.disturb(self.fixed_milliseconds + self.each_milliseconds * len(clips)))
            for clip in clips:
                bad = clip.path in self.bad_paths
                yield ClipVerdict(
                    index=clip.index,
                    failure_class=FailureClass.DECODE_ERROR if bad else None,
                    text=None if bad else "one",
                    audio_milliseconds=clip.audio_milliseconds,
                    infer_milliseconds=took,
                    batch_size=len(clips),
                )

    async def unload(self) -> None:
        self.loaded = False

    def readings(self) -> LaneReadings:
        return LaneReadings(peak_rss_bytes=self.peak_bytes, batch_size=self.batch_size)


def make_spec(ladder: Ladder | None = Ladder(), memory_cap: str | None = None) -> LaneSpec:  # noqa: B008 - frozen
    contract = VoiceContractSpec(
        input=ContractInput(containers=(Container.WAV,), sample_rates_hz=(16_000,), channels=(1,)),
        batching=Batching(ladder=ladder, memory_cap=memory_cap),
    )
    return LaneSpec(task=Task.TRANSCRIBE, contract=contract, transcription=Transcription())


def make_clips(folder: Path, count: int = 8) -> list[ClipTask]:
    """Clips, longest first, each a second shorter than the one before."""
    clips = []
    for number in range(count):
        path = folder / f"{number}.wav"
        path.write_bytes(bytes(CLIP_BYTES))
        clips.append(ClipTask(index=100 + number, path=path, audio_milliseconds=30_000 - 1000 * number))
    return clips


def fetching(clips: Sequence[ClipTask]) -> LongestClips:
    """Gives these clips when they are asked for."""

    async def fetch() -> Sequence[ClipTask]:
        return clips

    return fetch


def make_tier(
    size: int, batch_milliseconds: float, p95_milliseconds: float | None = None, peak_bytes: int = MIB
) -> LadderTier:
    """A tier measured in ten rounds of ten-second clips."""
    p95 = batch_milliseconds if p95_milliseconds is None else p95_milliseconds
    return LadderTier(
        batch_size=size,
        peak_rss_bytes=peak_bytes,
        audio_milliseconds=100_000 * size,
        infer_milliseconds=round(10 * batch_milliseconds),
        clip_p50_milliseconds=round(batch_milliseconds),
        clip_p95_milliseconds=round(p95),
        scratch_bytes=1_000_000 * size,
    )
