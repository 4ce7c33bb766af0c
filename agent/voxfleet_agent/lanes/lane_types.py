"""What a lane is given and what it gives back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.results import Attestation, LaneReadings, TimedText


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """What is the same for all clips of an attempt."""

    task: Task
    contract: VoiceContractSpec
    transcription: Transcription
    synthesis: Synthesis | None = None
    reference: Path | None = None
    """The fetched recording of `synthesis.reference`."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What a lane says of the model that it has loaded."""

    sample_rate_hz: int
    """What the model hears or speaks."""
    family: str
    """mlx-audio's name of the kind of model."""
    batches: bool
    """Whether several clips go through the model together, with the very result of one at a time."""
    parameters: int
    ring_bytes: int
    seed: int
    """Of the model's random choices; set anew before each clip or text."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The runbook names, as the child sees them."""


LANE_BATCHES = 4
"""Batches that a lane takes at a time: in the model's hands, decoded, being decoded, and on its way; with fewer the
model waits for every other batch, because the thread that infers takes up new ones only between two inferences."""


@dataclass(frozen=True, slots=True)
class StepDown:
    """A batch size that a lane had to fall to."""

    batch_size: int
    reason: str


@dataclass(frozen=True, slots=True)
class ClipTask:
    """One fetched clip, or one text and the file to write."""

    index: int
    path: Path
    """The clip; for a text: where its audio goes, within the bytes that the stage reserved."""
    text: str | None = None
    audio_milliseconds: int = 0
    """What the header announces; 0: unknown."""
    max_bytes: int | None = None
    """For a text: the bytes reserved for its audio, which the lane never exceeds."""


@dataclass(frozen=True, slots=True)
class SynthesizedFile:
    """What the lane wrote to `ClipTask.path`."""

    size_bytes: int
    sample_rate_hz: int
    chunks: int
    interval_milliseconds: int


@dataclass(frozen=True, slots=True)
class ClipVerdict:
    """What the lane made of one clip: a text or a file, or a failure class with its reason."""

    index: int
    failure_class: FailureClass | None = None
    reason: str = ""
    text: str | None = None
    segments: tuple[TimedText, ...] | None = None
    words: tuple[TimedText, ...] | None = None
    language: str | None = None
    spoken: SynthesizedFile | None = None
    audio_milliseconds: int = 0
    attestation: Attestation | None = None
    decode_milliseconds: int = 0
    wait_milliseconds: int = 0
    """Between decoding and inference, inside the lane."""
    infer_milliseconds: int = 0
    """Of the batch that the clip was in."""
    batch_size: int = 1
    retried_for: tuple[FailureClass, ...] = ()
    """What the tries before the last one met, where this clip's own output or its lane's end was the cause."""

    @property
    def retries(self) -> int:
        """Tries of this clip beyond the first."""
        return len(self.retried_for)


class Lane(Protocol):
    """One child process with a model. One attempt works with it at a time."""

    @property
    def batch_size(self) -> int:
        """Clips of one batch; falls when memory runs short."""
        ...

    @batch_size.setter
    def batch_size(self, size: int) -> None: ...

    @property
    def stepped_down(self) -> StepDown | None:
        """How far, and why, `batch_size` fell since it was last set by the model's and the clips' doing alone.

        None: it did not, or others on the Mac, or one clip that needs too much even alone, were the cause.
        """
        ...

    async def load(self, model: ResolvedModel, order: LaneSpec) -> LoadedModel:
        """Holds model and order; loads the model only when the child does not hold it yet.

        Raises VoxFleetError, CONTRACT_VIOLATION with the arithmetic when the contract's ring does not fit the lane.
        """
        ...

    def work(self, batches: AsyncIterator[Sequence[ClipTask]]) -> AsyncGenerator[ClipVerdict, None]:
        """Exactly one verdict for each clip of each batch, as they come, in any order.

        Takes the next batches while the child infers the ones before, never more than LANE_BATCHES at a time, and
        splits what is larger than `batch_size`. When the child dies, it is replaced and the clips it had without
        verdict are given to it again, the suspects one at a time; the verdict of one that ends two children alone is
        LANE_CRASHED or MEMORY_EXCEEDED. Raises VoxFleetError only for what another clip would meet too.
        Closing the iterator early ends the child.
        """
        ...

    async def renew(self) -> None:
        """Ends the child in order, so that the next `load` starts a fresh one."""
        ...

    def readings(self) -> LaneReadings:
        """Since the last `load`."""
        ...


class LaneHandle(Lane, Protocol):
    """A lane as its holder sees it: beside its work, a name and a way to end it."""

    @property
    def name(self) -> str:
        """Pool and slot."""
        ...

    async def kill(self) -> None:
        """Ends the child at once; the next load starts another one. Does nothing when there is none."""
        ...
