"""The files of a job's output folder, `<output.uri>/<job>-<uid8>/`, and their rows.

    contract.json                          the contract as accepted
    plan/<n>/manifest.jsonl                one ManifestRow per clip
    plan/<n>/skipped.jsonl                 one SkippedRow per entry of a prefix that became no clip
    plan/<n>/plan.json                     PlanFile; its sha256 is the Plan shard's commit
    parts/<shardUID>/<n>/base.json         AttemptBase: what attempt n inherits, frozen before its first clip
    parts/<shardUID>/<n>/part-<k>-<sha256>.jsonl   ResultRows
    parts/<shardUID>/<n>/audio/<index>-<sha256>.<container>   the file of a synthesized text
    parts/<shardUID>/<n>/run.json          RunRecord: where and how the attempt ran
    parts/<shardUID>/<n>/commit.json       Commit; its sha256 is the Process shard's commit
    quarantine/<index>.json                Evidence of a quarantined clip
    transcripts/<index>.<format>           json, srt, vtt and txt, where the job asks for them
    transcripts/files.jsonl                one FileRef per transcript file
    repro/bundle.json metrics.json batch-table.csv   what a second machine needs to run the job again
    results.jsonl errors.jsonl             ResultRows in the order of their index
    index.json                             ResultIndex, written last; its sha256 is the Finalize shard's commit

Rows use snake_case (data people read them), the other files camelCase.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from voxfleet_api.base import (
    OPEN_VALUE,
    Decimal3,
    Digest,
    Ranges,
    Sha256Hex,
    SpecModel,
    StatusModel,
    Uid,
    list_atomic,
    list_map,
    open_enum,
)
from voxfleet_api.failures import FailureClass

RESULTS_NAME = "results.jsonl"
ERRORS_NAME = "errors.jsonl"
INDEX_NAME = "index.json"
SKIPPED_NAME = "skipped.jsonl"


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


class WarningCode(StrEnum):
    """What is worth knowing about a clip and no failure. The list is closed: people count and filter by it."""

    BYTES_SKIPPED = "BytesSkipped"
    """The file holds bytes that are neither audio nor part of its format; they were not decoded."""
    LEVEL_LOST = "LevelLost"
    """A declared conversion made the clip much quieter."""
    NO_AUDIBLE_SPEECH = "NoAudibleSpeech"
    """The model wrote a text where no speech is audible."""
    TRUNCATED_AUDIO = "TruncatedAudio"
    """The file ends early; the contract accepts what is there."""


MAX_WARNING_CODES = 16
"""The most codes that a status has room for."""


class RowWarning(BaseModel):
    """A warning of one clip."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: WarningCode
    message: Annotated[str, Field(max_length=256)]


class WarningCount(StatusModel):
    """How many clips have a warning with this code."""

    code: Annotated[str, OPEN_VALUE, open_enum(WarningCode), Field(description="What the rows warn of.")]
    clips: Annotated[int, Field(description="Clips whose rows have such a warning.")]


WarningCounts = Annotated[
    tuple[WarningCount, ...],
    Field(
        max_length=MAX_WARNING_CODES,
        json_schema_extra=list_map("code"),
        description="Warnings in the rows of the committed clips, by code. A clip with a warning is no failure.",
    ),
]


def warning_counts(counts: Iterable[WarningCount]) -> tuple[WarningCount, ...]:
    """Adds counts up, one a code, in the order of the codes. Pure.

    Of more codes than a status has room for, those with the most clips stay: Macs of several versions may know more.
    """
    clips: Counter[str] = Counter()
    for count in counts:
        clips[count.code] += count.clips
    most = sorted(clips.items(), key=lambda item: (-item[1], item[0]))[:MAX_WARNING_CODES]
    return tuple(WarningCount(code=code, clips=number) for code, number in sorted(most) if number)


class ManifestRow(Row):
    """A clip as Plan lists it."""

    index: int
    custom_id: str
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


class SkipReason(StrEnum):
    """Why an entry of a prefix is no clip."""

    HIDDEN = "Hidden"
    """It, or a folder above it, is hidden or belongs to a system: `.Trashes`, `__MACOSX`, `@eaDir`."""
    NO_PATTERN_MATCHED = "NoPatternMatched"
    OWN_OUTPUT = "OwnOutput"
    """It lies where the job writes."""
    LINKED_FOLDER = "LinkedFolder"
    """A symbolic link to a folder; it is not followed."""
    NOT_READABLE = "NotReadable"
    """A folder that may not be read."""


class SkippedRow(Row):
    """An entry of the prefix that is no clip. A folder ends in a slash, and stands for everything below it."""

    name: str
    reason: SkipReason


class ClipStatus(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    NOT_RUN = "not_run"


class Timings(BaseModel):
    """A clip's latency, from the start of its fetch to its row being durable, in milliseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fetch_milliseconds: int = 0
    decode_milliseconds: int = 0
    wait_milliseconds: int = 0
    infer_milliseconds: int = 0
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


class SkippedEntries(StatusModel):
    """How many entries of the prefix became no clip for one reason."""

    reason: Annotated[
        str,
        OPEN_VALUE,
        open_enum(SkipReason),
        Field(description="Hidden, NoPatternMatched, OwnOutput, LinkedFolder, NotReadable, or a later one."),
    ]
    entries: Annotated[int, Field(ge=1, description="Files, and folders that were not entered.")]


class InputSelection(StatusModel):
    """What a prefix holds, and what of it became clips: `listed` is `taken` and all that was skipped."""

    listed: Annotated[int, Field(ge=0, description="Entries of the prefix.")]
    taken: Annotated[int, Field(ge=0, description="Entries that are clips of the job.")]
    skipped: Annotated[
        tuple[SkippedEntries, ...],
        Field(
            max_length=16,
            json_schema_extra=list_map("reason"),
            description="Entries that are no clips, by reason; plan/<attempt>/skipped.jsonl names them.",
        ),
    ] = ()

    @property
    def text(self) -> str:
        """In one line: `12 listed, 9 taken, 2 Hidden, 1 LinkedFolder`."""
        skipped = [f"{item.entries} {item.reason}" for item in self.skipped]
        return ", ".join([f"{self.listed} listed", f"{self.taken} taken", *skipped])


class PlanResult(StatusModel):
    """The result of Plan, which is copied into AudioShard.status and from there into the job's status."""

    manifest_sha256: Annotated[Sha256Hex, Field(description="sha256 of plan/<attempt>/manifest.jsonl.")]
    model_digest: Annotated[Digest, Field(description="Digest of the model's files.")]
    model_revision: Annotated[str | None, Field(max_length=64, description="The hub's commit.")] = None
    boundaries: Annotated[
        tuple[int, ...],
        Field(
            max_length=5001,
            json_schema_extra=list_atomic(),
            description="Shard k holds the clips from boundaries[k] up to but not including boundaries[k+1].",
        ),
    ]
    audio_seconds: Annotated[Decimal3, Field(description="Audio that the clips' headers announce.")]
    selection: Annotated[
        InputSelection | None, Field(description="What input.prefix left out; absent for other inputs.")
    ] = None


class PlanFile(SpecModel):
    """plan.json."""

    manifest_sha256: Sha256Hex
    model_digest: Digest
    model_revision: str | None = None
    boundaries: tuple[int, ...]
    audio_seconds: Decimal3
    contract_digest: Digest
    selection: InputSelection | None = None


class FileRef(SpecModel):
    path: str
    sha256: Sha256Hex
    size_bytes: int


class PartRef(SpecModel):
    """One part file, named relative to the job's output folder."""

    path: str
    sha256: Sha256Hex
    indexes: Ranges


class AttemptBase(SpecModel):
    """base.json: the parts that an attempt inherits. It is frozen before the attempt's first clip."""

    shard_uid: Uid
    attempt: int
    plan_attempt: int
    """The Plan whose clips the parts hold."""
    parts: tuple[PartRef, ...]


class LadderTier(SpecModel):
    """The measurement of one batch size, in a process of its own."""

    batch_size: int
    peak_rss_bytes: int
    metal_peak_bytes: int | None = None
    audio_milliseconds: int
    """The audio of all rounds."""
    infer_milliseconds: int
    """Of all rounds, each counted as the median one."""
    clip_p50_milliseconds: int
    """The p50 of a clip's time, which is the time of its batch."""
    clip_p95_milliseconds: int
    scratch_bytes: int = 0
    """The fetched bytes of the clips of all rounds."""

    @property
    def audio_seconds_per_second(self) -> float:
        return self.audio_milliseconds / max(1, self.infer_milliseconds)


class LadderTable(SpecModel):
    """Measured batch sizes, smallest first, and the batch size chosen from them."""

    model_digest: Digest
    contract_digest: Digest
    chip: str
    versions: dict[str, str]
    sample_rate_hz: int
    memory_cap_bytes: int
    tail_p95_milliseconds: int | None = None
    """The contract's slo.offlineTailP95."""
    parameters: int | None = None
    """The number of the model's parameters, for an estimate of multiply-accumulates."""
    tiers: tuple[LadderTier, ...]
    memory_knee: int
    """The largest batch size under the memory cap."""
    latency_knee: int
    """The last batch size under the memory cap whose throughput gained more than its p95 grew."""
    throughput_knee: int
    """The smallest batch size within 5 % of the best throughput, under the memory cap and slo.offlineTailP95."""
    chosen: int
    """The throughput knee, or less after a job had to step down."""
    stepped_down_for: str | None = None
    """Why a job had to step down since the table was measured."""


class LaneReadings(SpecModel):
    """The readings of a lane during one attempt."""

    ring_bytes: int = 0
    ring_high_water_bytes: int = 0
    ring_underruns: int = 0
    """How often the model waited for decoded audio while clips were in the lane."""
    ring_resets: dict[str, int] = Field(default_factory=dict)
    """How often decoded audio was dropped, by cause."""
    peak_rss_bytes: int = 0
    metal_peak_bytes: int | None = None
    restarts: dict[str, int] = Field(default_factory=dict)
    """How often the lane's process was replaced, by cause."""
    batch_size: int = 1
    """The batch size at the end; memory errors make it smaller than at the beginning."""


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


class Counts(StatusModel):
    succeeded: int = 0
    failed: int = 0
    quarantined: int = 0
    not_run: int = 0

    @property
    def total(self) -> int:
        return self.succeeded + self.failed + self.quarantined + self.not_run


class Commit(SpecModel):
    """commit.json: everything that an attempt delivers, inherited parts first."""

    shard_uid: Uid
    attempt: int
    indexes: Ranges
    parts: tuple[PartRef, ...]
    counts: Counts
    warnings: WarningCounts = ()
    runs: tuple[FileRef, ...] = ()
    """The run.json of each attempt whose inferred rows the commit delivers; an attempt that was killed has none."""


class ResultIndex(SpecModel):
    """index.json: all result files. A file that it does not name is not a result."""

    job_uid: Uid
    manifest_sha256: Sha256Hex
    total: int
    counts: Counts
    warnings: WarningCounts = ()
    files: tuple[FileRef, ...]


def plan_folder(attempt: int) -> str:
    return f"plan/{attempt}"


def attempt_folder(shard_uid: str, attempt: int) -> str:
    return f"parts/{shard_uid}/{attempt}"


def part_name(number: int, sha256: str) -> str:
    return f"part-{number:06d}-{sha256}.jsonl"


def job_folder(output_uri: str, job_name: str, job_uid: str) -> str:
    """Returns the job's own folder below the output prefix, without a slash at the end."""
    return f"{output_uri.rstrip('/')}/{job_name}-{job_uid[:8]}"
