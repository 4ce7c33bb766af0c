"""VoiceContract: memory, batches, retries, quarantine, budgets and scratch."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import Duration, Size, SpecModel, between, cel, list_set, validations


class Buffer(SpecModel):
    """The ring of decoded audio between decoder and model."""

    headroom_percent: Annotated[
        int,
        Field(
            ge=0,
            le=400,
            description="Room beyond the longest accepted clip (or window), in percent. The ring counts inside the"
            " lane's memory cap; a contract whose ring does not fit is refused.",
        ),
    ] = 20


MAX_BATCH_SIZE = 8
"""The most clips that a lane works on at once."""


class Ladder(
    SpecModel,
    json_schema_extra=validations(
        cel("self.from <= self.to", "from is greater than to; write the smaller batch size first", field_path=".from"),
    ),
):
    """Batch sizes to measure, once for each model, chip, MLX version and contract."""

    from_: Annotated[int, Field(alias="from", ge=1, le=MAX_BATCH_SIZE, description="Smallest batch size.")] = 1
    to: Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE, description="Largest batch size.")] = 8


class Batching(SpecModel):
    """How many clips the model works on at once."""

    ladder: Annotated[
        Ladder | None,
        Field(
            description="Measure batch sizes and use the smallest within 5 % of the best throughput, under the memory"
            " cap and slo.offlineTailP95; absent: the Mac's default batch size."
        ),
    ] = None
    memory_cap: Annotated[
        Size | None, Field(description="Most memory that a lane may use; absent: the cap of the Mac's pool.")
    ] = None


class RetryClass(StrEnum):
    """Failures that may pass with time. Failures of data cannot be listed."""

    TRANSPORT = "Transport"
    THROTTLED = "Throttled"


class Backoff(SpecModel):
    """Full jitter: a delay is a random part of a bound that grows with each retry. A longer Retry-After is honoured."""

    initial: Annotated[
        Duration, Field(description="The delay before the first retry.", json_schema_extra=between("1ms", "1h"))
    ] = "1s"
    factor_percent: Annotated[int, Field(ge=100, le=1000, description="Growth from one retry to the next.")] = 200
    cap: Annotated[Duration, Field(description="The longest delay.", json_schema_extra=between("1ms", "1h"))] = "60s"


class Retries(SpecModel):
    """Retries of one clip's fetch and of one object's write."""

    max_retries: Annotated[int, Field(ge=0, le=10, description="Maximum number of retries; 0: none.")] = 3
    backoff: Annotated[Backoff, Field(description="Delays.")] = Backoff()
    classes: Annotated[
        tuple[RetryClass, ...],
        Field(
            max_length=len(RetryClass),
            json_schema_extra=list_set(),
            description="Failure classes that are retried; an empty list: none.",
        ),
    ] = tuple(RetryClass)


class Quarantine(SpecModel):
    """How many clips may be quarantined before the job counts as failed, and what the Mac keeps of them."""

    max_clips: Annotated[
        int, Field(ge=0, le=1_000_000, description="Maximum number of quarantined clips in a complete job.")
    ] = 100
    max_percent: Annotated[
        int,
        Field(ge=0, le=100, description="Maximum of quarantined clips in a complete job, in percent of all its clips."),
    ] = 2
    halt_fan_out_percent: Annotated[
        int | None,
        Field(
            ge=1,
            le=100,
            description="No new shard starts, and the job fails, once more than this share of the finished clips is"
            " quarantined, counted from the first committed shard on. Absent: never.",
        ),
    ] = None
    retain_for: Annotated[
        Duration | None,
        Field(
            description="How long the Mac keeps a fetched clip that was quarantined; absent: not at all. A clip that"
            " was refused for its header was never fetched.",
            json_schema_extra=between("1m", "8760h"),
        ),
    ] = None


class FailureBudget(SpecModel):
    """What one Mac may spend on a job's failures; beyond it the job fails."""

    retries_per_hour: Annotated[
        int | None,
        Field(ge=0, le=100_000, description="Maximum number of retries in any hour; 0: none; absent: no limit."),
    ] = None
    quarantined_minutes: Annotated[
        int | None, Field(ge=0, le=100_000, description="Maximum minutes of quarantined audio; absent: no limit.")
    ] = None


class UnspokenText(StrEnum):
    """What becomes of a clip with text that no audible speech explains."""

    WARN = "Warn"
    QUARANTINE = "Quarantine"


class Completeness(SpecModel):
    """When a transcript does not fit what is heard in its clip.

    A transcript that is cut short (TruncatedOutput) is tried once more, then quarantined.
    """

    min_coverage_percent: Annotated[
        int,
        Field(
            ge=0,
            le=100,
            description="The smallest share of the audible speech that the transcript's times must cover, where the"
            " model gives times; 0: not checked.",
        ),
    ] = 90
    unspoken_text: Annotated[
        UnspokenText | None,
        Field(
            description="What becomes of a clip whose text lies where no speech is audible, or repeats a phrase faster"
            " than anybody speaks. Warn, and absent: its row has a warning (NoAudibleSpeech, RepeatedText). Quarantine:"
            " it is quarantined (UnspokenText).",
        ),
    ] = None


class Slo(SpecModel):
    """How long a clip may be at work, and a turn of speech."""

    offline_tail_p95: Annotated[
        Duration | None,
        Field(
            description="The longest p95 of a clip's inference, which takes as long as its whole batch; it bounds the"
            " batch size that batching.ladder chooses. When no measured batch size keeps to it, the smallest is used."
            " Absent: throughput and memory alone decide.",
            json_schema_extra=between("1ms", "24h"),
        ),
    ] = None
    interactive_p95: Annotated[
        Duration | None,
        Field(
            description="The longest p95 of an endpoint's turns, as people feel it: from the last voiced sample to the"
            " final text, from an upload's last byte to its first line, from a text to the first audio. The condition"
            " SLOMet of a VoiceEndpoint says whether it is kept. It means nothing to a job. Absent: nothing is"
            " promised.",
            json_schema_extra=between("10ms", "60s"),
        ),
    ] = None


class ScratchLimit(SpecModel):
    max_bytes: Annotated[Size, Field(description="Most scratch of one attempt.")] = "20Gi"
