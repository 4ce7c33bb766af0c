"""run.json: where and how an attempt ran. Apart from the other files, which the kinds are built of."""

from __future__ import annotations

from pydantic import Field

from voxfleet_api.base import Digest, SpecModel, Uid
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.results import LadderTable, LaneReadings


class RunRecord(SpecModel):
    """run.json: where and how one Process attempt ran."""

    shard_uid: Uid
    attempt: int
    chip: str
    memory_bytes: int
    os: str
    versions: dict[str, str]
    model: ModelSource | None = None
    """As the job names it."""
    model_digest: Digest
    model_revision: str | None = None
    model_files: dict[str, str] = Field(default_factory=dict)
    """sha256 by name below the model's folder."""
    sample_rate_hz: int
    scratch_path: str
    environment: dict[str, str] = Field(default_factory=dict)
    """The runbook names as the lane's process saw them."""
    seed: int
    retries: dict[str, int] = Field(default_factory=dict)
    """By failure class."""
    ladder: LadderTable | None = None
    readings: LaneReadings = LaneReadings()
