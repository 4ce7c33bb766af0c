"""The messages of batches between a lane and its child, and those that load a model.

The parent sends Load, which the child answers with Loaded or WorkerRefusal, and then up to LANE_BATCHES BatchMessages
at a time. The child answers a batch with one VerdictMessage for each clip (clips that were inferred together get theirs
together) and then with BatchDone. It announces every clip before it works on it (DecodingClip, InferringClips), so that
the parent knows after its death which clips it was working on, and tells how far it has come in it (HeardAudio). A
WorkerRefusal of a batch means that no clip is at fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from voxfleet_api.clip_warnings import RowWarning
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.rows import Attestation, TimedText
from voxfleet_api.run_record import UnderrunCause

REASON_CHARACTERS = 256
SYNTHESIZED_PREFIX = "synthesized-"
"""Prefix of the names of audio files that a lane writes in its own folder, from where the agent collects them."""


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SessionLimits(Message):
    """What a lane for people who speak and listen takes at most. Its memory is counted as the model is loaded."""

    most_sessions: int = Field(ge=1)
    """Open at once; one more is refused."""
    max_turn_milliseconds: int = Field(ge=1)
    """The longest turn that a session may ask for, which its ring holds with a fifth on top."""


class Load(Message):
    kind: Literal["Load"] = "Load"
    folder: Path
    digest: str
    task: Task
    contract: VoiceContractSpec
    transcription: Transcription
    synthesis: Synthesis | None = None
    reference: Path | None = None
    memory_cap_bytes: int
    sessions: SessionLimits | None = None
    """None: the lane was not loaded for sessions, and takes a few whose memory nobody has counted."""
    environment: dict[str, str] = Field(default_factory=dict)


class ClipMessage(Message):
    index: int
    path: Path
    text: str | None = None
    max_bytes: int | None = None
    """For a text: the most bytes of its audio file."""


class BatchMessage(Message):
    kind: Literal["Batch"] = "Batch"
    number: int
    clips: tuple[ClipMessage, ...]
    batch_size: int
    """The most pieces that go through the model at once."""


class Loaded(Message):
    kind: Literal["Loaded"] = "Loaded"
    sample_rate_hz: int
    family: str
    batches: bool
    parameters: int
    dtype: str
    ring_bytes: int
    seed: int
    blas: str
    warm_up_milliseconds: int
    """How long the model took for its first audio, before any clip."""
    environment: dict[str, str] = Field(default_factory=dict)


class DecodingClip(Message):
    """The decoding thread starts on this clip, or has none left (None)."""

    kind: Literal["Decoding"] = "Decoding"
    index: int | None = None


class InferringClips(Message):
    """The model starts on these clips, or is idle (none)."""

    kind: Literal["Inferring"] = "Inferring"
    indexes: tuple[int, ...] = ()
    audio_milliseconds: int = 0
    tells_progress: bool = False
    """HeardAudio will follow while the model works, about once for each 30 s of audio."""


class HeardAudio(Message):
    """The model has heard or spoken this much of a clip, counted from its start; it may go back for another try.

    It is sent again while what the model wrote of it is checked against the audio.
    """

    kind: Literal["Heard"] = "Heard"
    index: int
    audio_milliseconds: int
    with_results: bool = False
    """A window of the clip has its transcript: the message may wait for the other results of the group."""


@dataclass(frozen=True, slots=True)
class SynthesizedFile:
    """The audio file that a lane wrote for a text."""

    size_bytes: int
    sample_rate_hz: int
    chunks: int
    interval_milliseconds: int


class VerdictMessage(Message):
    kind: Literal["Verdict"] = "Verdict"
    index: int
    failure_class: FailureClass | None = None
    reason: str = ""
    text: str | None = None
    segments: tuple[TimedText, ...] | None = None
    words: tuple[TimedText, ...] | None = None
    language: str | None = None
    synthesized: SynthesizedFile | None = None
    audio_milliseconds: int = 0
    attestation: Attestation | None = None
    warnings: tuple[RowWarning, ...] = ()
    decode_milliseconds: int = 0
    wait_milliseconds: int = 0
    infer_milliseconds: int = 0
    batch_size: int = 1
    retried_for: tuple[FailureClass, ...] = ()


class WorkerReadings(Message):
    """The child's readings since its last Load."""

    ring_high_water_bytes: int = 0
    ring_underruns: int = 0
    ring_underruns_by_cause: dict[UnderrunCause, int] = Field(default_factory=dict)
    ring_resets: dict[str, int] = Field(default_factory=dict)
    peak_rss_bytes: int = 0
    metal_peak_bytes: int | None = None


class BatchDone(Message):
    """Every clip of the batch has its verdict."""

    kind: Literal["BatchDone"] = "BatchDone"
    number: int
    footprint_bytes: int
    """Measured at rest, without what MLX keeps for reuse."""
    memory_short: bool = False
    """Memory was too short for several clips together, though each of them fitted alone."""
    readings: WorkerReadings = WorkerReadings()


class WorkerRefusal(Message):
    """A failure that another clip would meet too."""

    kind: Literal["Refused"] = "Refused"
    failure_class: FailureClass
    message: str


EXIT_LANE_BUSY = 75
EXIT_GPU_FAULT = 70
"""The child met a Metal fault as an exception, wrote it to stderr and ended: the GPU's state cannot be trusted."""
