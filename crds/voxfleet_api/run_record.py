"""run.json: where and how an attempt ran. It imports the kinds, which import `results`, so it is not defined there."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from voxfleet_api.base import Digest, SpecModel, StatusModel, Uid
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.ladder_table import LadderTable


class UnderrunCause(StrEnum):
    """What kept decoded audio from being there when the model was ready for it."""

    DISK = "Disk"  # the clip's file was being read
    DECODE = "Decode"  # decoding and converting it take longer than the model does
    SCHEDULING = "Scheduling"  # the thread that decodes was kept from running, by other processes or by the model


class LaneReadings(StatusModel):
    """The readings of a lane during one attempt. A reader ignores those that it does not know."""

    ring_bytes: int = 0
    ring_high_water_bytes: int = 0
    ring_underruns: int = 0
    """How often the model waited for decoded audio while clips were in the lane."""
    ring_underruns_by_cause: dict[str, int] | None = None
    """The same by UnderrunCause; None: not told. Never in the run.json of a fleet, where an agent of the version before
    may merge: it refuses a file with a field that it does not know."""
    ring_resets: dict[str, int] = Field(default_factory=dict)
    """How often decoded audio was dropped, by cause."""
    peak_rss_bytes: int = 0
    metal_peak_bytes: int | None = None
    restarts: dict[str, int] = Field(default_factory=dict)
    """How often the lane's process was replaced, by cause."""
    batch_size: int = 1
    """The batch size at the end; memory errors make it smaller than at the beginning."""


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
    dtype: str | None = None
    """The types of the model's floating-point weights, in which it computed. A CPU computes in float32, whatever the
    model's files hold."""
    seed: int
    retries: dict[str, int] = Field(default_factory=dict)
    """Retries by failure class."""
    ladder: LadderTable | None = None
    ladder_milliseconds: int = 0
    """How long the attempt measured its ladder, fetches included; 0 when a stored one was used."""
    readings: LaneReadings = LaneReadings()
