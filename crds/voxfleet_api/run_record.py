"""run.json: where and how an attempt ran. It imports the kinds, which import `results`, so it is not defined there."""

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
    """The model as the job names it."""
    model_digest: Digest
    model_revision: str | None = None
    model_files: dict[str, str] = Field(default_factory=dict)
    """The sha256 of each file, by its name below the model's folder."""
    sample_rate_hz: int
    scratch_path: str
    environment: dict[str, str] = Field(default_factory=dict)
    """TMPDIR and the MLX_AUDIO_ variables of the worker's environment."""
    blas: str
    """The library of linear algebra that the worker had loaded; its file's name holds its version."""
    seed: int
    retries: dict[str, int] = Field(default_factory=dict)
    """Retries by failure class."""
    ladder: LadderTable | None = None
    ladder_milliseconds: int = 0
    """How long the attempt measured its ladder, fetches included; 0 when a stored one was used."""
    readings: LaneReadings = LaneReadings()
