"""What a lane works on and what it returns."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from voxfleet_agent.lane_protocol.messages import SynthesizedFile as SynthesizedFile  # for stages, too
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.clip_warnings import RowWarning
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.rows import Attestation, TimedText
from voxfleet_api.run_record import LaneReadings


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
    """What a lane reports about the model that it has loaded."""

    sample_rate_hz: int
    """The rate of the audio that the model transcribes or synthesizes."""
    family: str
    """mlx-audio's name for the kind of model."""
    batches: bool
    """Whether the model transcribes several clips together, with exactly the results of one at a time."""
    parameters: int
    dtype: str
    """The types of the model's floating-point weights, in which it computes."""
    ring_bytes: int
    seed: int
    """Seeds the model's random choices anew before each clip or text."""
    blas: str
    environment: Mapping[str, str] = field(default_factory=dict)
    """The runbook names, as the child sees them."""
    warm_up_seconds: float = 0.0
    """How long the model took for its first audio, before any clip."""


LANE_BATCHES = 4
"""Batches that a lane has at a time: one being inferred, one decoded, one being decoded and one on its way. With
fewer, the model waits for every other batch: the inferring thread picks up new ones only between two inferences."""


@dataclass(frozen=True, slots=True)
class StepDown:
    """A smaller batch size to which a lane had to step down."""

    batch_size: int
    reason: str


@dataclass(frozen=True, slots=True)
class ClipTask:
    """One fetched clip, or one text and the file to write."""

    index: int
    path: Path
    """The clip's file; for a text, the file to write its audio to, for which the stage has reserved bytes."""
    text: str | None = None
    audio_milliseconds: int = 0
    """The length that the header announces; 0: unknown."""
    max_bytes: int | None = None
    """For a text: the bytes reserved for its audio, which the lane never exceeds."""
    heard: Callable[[int], None] | None = field(default=None, compare=False, repr=False)
    """Called with the milliseconds of the clip that the model has worked through, as often as the model tells it."""


@dataclass(frozen=True, slots=True)
class ClipVerdict:
    """The outcome of one clip: a transcript, an audio file, or a failure class with its reason."""

    index: int
    failure_class: FailureClass | None = None
    reason: str = ""
    text: str | None = None
    segments: tuple[TimedText, ...] | None = None
    words: tuple[TimedText, ...] | None = None
    language: str | None = None
    synthesized: SynthesizedFile | None = None
    """The audio file at `ClipTask.path`."""
    audio_milliseconds: int = 0
    attestation: Attestation | None = None
    warnings: tuple[RowWarning, ...] = ()
    decode_milliseconds: int = 0
    wait_milliseconds: int = 0
    """Between decoding and inference, inside the lane."""
    infer_milliseconds: int = 0
    """Inference time of the whole batch that contained the clip."""
    batch_size: int = 1
    retried_for: tuple[FailureClass, ...] = ()
    """How tries before the last one failed; only failures due to this clip's own output or to the end of its child."""

    @property
    def retries(self) -> int:
        """Tries of this clip beyond the first."""
        return len(self.retried_for)


class Lane(Protocol):
    """One child process with a model. One attempt works with it at a time."""

    @property
    def batch_size(self) -> int:
        """Clips in a batch; it falls when memory runs short."""
        ...

    @batch_size.setter
    def batch_size(self, size: int) -> None: ...

    @property
    def stepped_down(self) -> StepDown | None:
        """How far `batch_size` fell since it was last set, and why, as far as model and clips alone caused it.

        None when it did not fall, or fell only because of other processes on the Mac or of a clip too large even alone.
        """
        ...

    async def load(self, model: ResolvedModel, spec: LaneSpec) -> LoadedModel:
        """Prepares the lane for `work`; reads the model only when the child has not loaded it yet.

        Raises VoxFleetError: among others CONTRACT_VIOLATION, with the arithmetic, when the contract's ring does not
        fit the lane.
        """
        ...

    def work(self, batches: AsyncIterator[Sequence[ClipTask]]) -> AsyncGenerator[ClipVerdict, None]:
        """Yields exactly one verdict for each clip of each batch, as they come, in any order.

        Requests the next batches while the child infers earlier ones, never has more than LANE_BATCHES at a time, and
        splits a batch that is larger than `batch_size`. A child that dies is replaced, and the new child gets the clips
        without verdict again, suspects one at a time. A clip gets the verdict LANE_CRASHED or MEMORY_EXCEEDED
        when two children have died while working on only this clip. Raises VoxFleetError only for a failure that
        another clip would meet too. Closing the iterator early ends the child.
        """
        ...

    async def unload(self) -> None:
        """Ends the child in order, so that the next `load` starts a fresh one."""
        ...

    def readings(self) -> LaneReadings:
        """What the lane has measured and counted since its last `load`."""
        ...


class LaneHandle(Lane, Protocol):
    """An acquired lane: a Lane with a name and a way to end its child."""

    @property
    def name(self) -> str:
        """Pool and slot."""
        ...

    async def kill(self) -> None:
        """Ends the child at once; does nothing when there is none. The next `load` starts another one."""
        ...
