"""The lines of a job's files: what is known of each clip, before it runs and after."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from voxfleet_api.base import Sha256Hex, SpecModel
from voxfleet_api.clip_warnings import RowWarning
from voxfleet_api.failures import FailureClass


class Row(BaseModel):
    """One line of a JSON Lines file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def line(self) -> bytes:
        """Returns the row as one line without absent fields; the same row always gives the same bytes."""
        return self.model_dump_json(exclude_none=True).encode() + b"\n"


class RowError(BaseModel):
    """Why a clip has no result."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True, validate_by_name=True)

    failure_class: FailureClass | None = Field(alias="class", default=None)
    """Absent only for `not_run`."""
    reason: Annotated[str, Field(max_length=256)]


class ManifestRow(Row):
    """A clip as Plan lists it."""

    index: int
    custom_id: str
    source_index: int | None = None
    """The clip's index where it was chosen: in the whole input with spec.only, in the earlier job with spec.source."""
    uri: str | None = None
    """None for a text to synthesize."""
    text: str | None = None
    """The text to synthesize."""
    size_bytes: int | None = None
    etag: str | None = None
    """The object's version; Process reads this version or reports InputChanged."""
    sha256: str | None = None
    """The expected digest, when the input names one."""
    audio_milliseconds: int = 0
    """The length that the header announces; 0 when the header could not be read."""
    decode_scratch_bytes: int = 0
    """The scratch that decoding may take beside the file, for a copy of the part of it that is audio."""
    refusal: RowError | None = None
    """The violation that the header shows; Process does not fetch such a clip."""


class ClipStatus(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    NOT_RUN = "not_run"


class Timings(BaseModel):
    """A clip's latency, from the start of its fetch to its row being durable, in milliseconds.

    All but `wait_milliseconds` is the clip's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fetch_milliseconds: int = 0
    decode_milliseconds: int = 0
    """With the detection of speech."""
    wait_milliseconds: int = 0
    """Time behind other clips of the same job, which are fetched and decoded ahead of the model. It grows with how far
    ahead they are fetched, and says nothing about the clip."""
    infer_milliseconds: int = 0
    """Of the whole batch that held the clip."""
    write_milliseconds: int = 0
    """For a synthesized clip: encoding and upload of its file."""


class TimedText(BaseModel):
    """A part of a transcript and where it lies in the clip."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start_milliseconds: int
    end_milliseconds: int
    text: str


class SynthesizedAudioFile(BaseModel):
    """The file that Synthesize made from one text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """The path below the job's folder."""
    sha256: str
    size_bytes: int
    container: str
    encoding: str
    sample_rate_hz: int
    channels: int = 1
    chunks: int
    """Chunks that the model streamed; the file holds all their samples, in order."""
    interval_milliseconds: int
    """The length of a streamed chunk, rounded to whole frames of the model's codec."""


class SkippedPart(BaseModel):
    """Bytes of a clip's file that the decoder was not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    offset_bytes: int
    length_bytes: int
    what: str
    """For example `an ID3v2 tag`, `zero bytes`, `bytes of no known format`."""


class Attestation(BaseModel):
    """The properties of the file, and the conversions before inference."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    container: str
    encoding: str
    sample_rate_hz: int
    channels: int
    conversions: tuple[str, ...] = ()
    """For example `resample:22050->16000:soxr_vhq`, `downmix:2->1:Mean`; empty: none."""
    decoder: str
    """The decoder's name and version."""
    skipped: Annotated[tuple[SkippedPart, ...], Field(max_length=16)] = ()
    """What lies around and between the audio: tags, padding, length headers that do not fit, and rubbish."""
    sha256: str | None = None
    """The sha256 of the decoded bytes."""


class ResultRow(Row):
    """The one row of one clip."""

    index: int
    custom_id: str
    source_index: int | None = None
    """As in the clip's ManifestRow."""
    status: ClipStatus
    text: str | None = None
    segments: tuple[TimedText, ...] | None = None
    words: tuple[TimedText, ...] | None = None
    language: str | None = None
    audio: SynthesizedAudioFile | None = None
    error: RowError | None = None
    warnings: tuple[RowWarning, ...] = ()
    audio_milliseconds: int = 0
    sha256: str | None = None
    etag: str | None = None
    timings: Timings | None = None
    attestation: Attestation | None = None
    batch_size: int | None = None
    """The number of clips in the batch of this one, itself included."""
    retries: int | None = None
    """Fetches and inferences of this clip beyond the first; retries because of other clips do not count."""
    attempt: int | None = None
    chip: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    dtype: str | None = None
    """What the model computed in; absent when the clip never reached it."""


class Evidence(SpecModel):
    """What is known about a quarantined clip; its audio stays in the input."""

    index: int
    custom_id: str
    failure_class: FailureClass = Field(alias="class")
    reason: str
    sha256: Sha256Hex | None = None
    size_bytes: int | None = None
    etag: str | None = None
    head: str = ""
    """The first bytes, in hex."""
    attestation: Attestation | None = None
