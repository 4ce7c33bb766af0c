"""Measured batch sizes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from voxfleet_api.base import Digest, SpecModel
from voxfleet_api.kinds.contract_limits import MAX_BATCH_SIZE

BatchSize = Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE)]
Measured = Annotated[int, Field(ge=0, le=2**53)]


class LadderTier(SpecModel):
    """The measurement of one batch size, in a process of its own."""

    batch_size: BatchSize
    peak_rss_bytes: Measured
    metal_peak_bytes: Measured | None = None
    audio_milliseconds: Measured
    """The audio of all rounds."""
    infer_milliseconds: Measured
    """Of all rounds, each counted as the median one."""
    clip_p50_milliseconds: Measured
    """The p50 of a clip's time, which is the time of its batch."""
    clip_p95_milliseconds: Measured
    scratch_bytes: Measured = 0
    """The fetched bytes of the clips of all rounds."""

    @property
    def audio_seconds_per_second(self) -> float:
        return self.audio_milliseconds / max(1, self.infer_milliseconds)


class LadderTable(SpecModel):
    """Measured batch sizes, smallest first, and the batch size chosen from them.

    Without sizes for a model that works on one clip at a time, where there is nothing to choose.
    """

    model_digest: Digest
    contract_digest: Digest
    chip: str
    versions: dict[str, str]
    sample_rate_hz: int
    memory_cap_bytes: int
    tail_p95_milliseconds: int | None = None
    """The contract's slo.offlineTailP95."""
    dtype: str | None = None
    """What the model computed in."""
    family: str | None = None
    """mlx-audio's name for the kind of model."""
    parameters: int | None = None
    """The number of the model's parameters, for an estimate of multiply-accumulates."""
    tiers: tuple[LadderTier, ...]
    memory_knee: int
    """The largest batch size under the memory cap."""
    latency_knee: int
    """The last batch size under the memory cap whose throughput gained more than its p95 grew."""
    throughput_knee: int
    """The smallest batch size within 5 % of the best throughput, under the memory cap and slo.offlineTailP95."""
    chosen: BatchSize
    """The throughput knee, or less after a job had to step down."""
    stepped_down_for: str | None = None
    """Why a job had to step down since the table was measured."""
    measured_on: str | None = None
    """The MacAgent that measured it, if this Mac was handed it. Never in a file of a job: an agent that does not know
    the field would not read the file."""

    @property
    def one_clip_at_a_time(self) -> bool:
        """Whether there was nothing to measure, because the model works on one clip at a time."""
        return not self.tiers and self.family is not None and self.chosen == 1

    @property
    def audio_milliseconds_per_second(self) -> int | None:
        """How much audio a lane works through in a second with the chosen batch size; None if that is not measured."""
        used = next((tier for tier in self.tiers if tier.batch_size == self.chosen), None)
        return None if used is None else round(used.audio_seconds_per_second * 1000)
