"""VoiceContract: what audio is accepted, and which conversions are declared."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from voxfleet_api.base import (
    Digest,
    Duration,
    ObservedGeneration,
    Quantity,
    SpecModel,
    StatusModel,
    cel,
    list_set,
    validations,
)
from voxfleet_api.conditions import Conditions
from voxfleet_api.kinds.resource import AGE_COLUMN, CrdFacts, PrinterColumn, Resource


class Container(StrEnum):
    WAV = "wav"
    FLAC = "flac"
    MP3 = "mp3"
    M4A = "m4a"


class ResampleQuality(StrEnum):
    """Named modes only: mlx-audio-io's `default` means another thing on each platform."""

    SOXR_HQ = "soxr_hq"
    SOXR_VHQ = "soxr_vhq"


class DownmixMode(StrEnum):
    MEAN = "Mean"


RateHz = Annotated[int, Field(ge=4000, le=384000)]
ChannelCount = Annotated[int, Field(ge=1, le=64)]


class ContractInput(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "duration(self.minClip) <= duration(self.maxClip)",
            "minClip is longer than maxClip; write minClip shorter than or equal to maxClip",
            field_path=".minClip",
        ),
    ),
):
    """The audio that is accepted. Everything else is refused."""

    containers: Annotated[
        tuple[Container, ...],
        Field(
            min_length=1,
            max_length=4,
            json_schema_extra=list_set(),
            description="Accepted containers, told by their first bytes and never by the file's name.",
        ),
    ]
    sample_rates_hz: Annotated[
        tuple[RateHz, ...],
        Field(
            min_length=1,
            max_length=16,
            json_schema_extra=list_set(),
            description="Accepted sample rates in hertz, as stored in the file.",
        ),
    ]
    channels: Annotated[
        tuple[ChannelCount, ...],
        Field(
            min_length=1,
            max_length=8,
            json_schema_extra=list_set(),
            description="Accepted channel counts, as stored in the file.",
        ),
    ]
    min_clip: Annotated[Duration, Field(description="The shortest accepted clip.")] = "100ms"
    max_clip: Annotated[Duration, Field(description="The longest accepted clip.")] = "10m"
    max_clip_bytes: Annotated[Quantity, Field(description="The largest accepted file.")] = "200Mi"


class Resample(SpecModel):
    """Declares that a clip's rate may be changed."""

    to_hz: Annotated[RateHz, Field(description="The rate after resampling, in hertz; the model's own rate.")]
    quality: Annotated[ResampleQuality, Field(description="The resampler's mode, by name.")] = ResampleQuality.SOXR_VHQ


class Downmix(SpecModel):
    """Declares that a clip's channels may be mixed into one."""

    mode: Annotated[DownmixMode, Field(description="Mean: the average of all channels.")] = DownmixMode.MEAN


class Conversions(SpecModel):
    """Declared conversions; an absent one is forbidden."""

    resample: Annotated[Resample | None, Field(description="Absent: a clip at another rate is refused.")] = None
    downmix: Annotated[Downmix | None, Field(description="Absent: a clip of more than one channel is refused.")] = None


class Quarantine(SpecModel):
    """How many clips may be quarantined before the job counts as failed."""

    max_clips: Annotated[int, Field(ge=0, le=1_000_000, description="Most quarantined clips of a complete job.")] = 100
    max_percent: Annotated[
        int, Field(ge=0, le=100, description="Most quarantined clips of a complete job, in percent of all its clips.")
    ] = 2


class VoiceContractSpec(SpecModel):
    """The audio requirements. Jobs copy them when they are accepted; a later edit never reaches a running job."""

    input: Annotated[ContractInput, Field(description="The audio that is accepted.")]
    conversions: Annotated[
        Conversions, Field(description="Conversions that may happen; an absent one is forbidden.")
    ] = Conversions()
    quarantine: Annotated[
        Quarantine, Field(description="Limits beyond which a job with quarantined clips counts as failed.")
    ] = Quarantine()


class VoiceContractStatus(StatusModel):
    observed_generation: ObservedGeneration = -1
    digest: Annotated[Digest | None, Field(description="Digest of the spec; jobs and agents name contracts by it.")] = (
        None
    )
    conditions: Conditions = ()


class VoiceContract(Resource):
    """States what audio a job accepts and which conversions it declares."""

    crd: ClassVar[CrdFacts] = CrdFacts(
        kind="VoiceContract",
        plural="voicecontracts",
        singular="voicecontract",
        short_names=("vc",),
        scope="Namespaced",
        columns=(
            PrinterColumn("Accepted", "string", '.status.conditions[?(@.type=="Accepted")].status', "Is it usable?"),
            PrinterColumn("Containers", "string", ".spec.input.containers", "Accepted containers"),
            PrinterColumn("Rates", "string", ".spec.input.sampleRatesHz", "Accepted sample rates in hertz"),
            PrinterColumn("Resample", "integer", ".spec.conversions.resample.toHz", "Declared resampling, in hertz"),
            PrinterColumn("Digest", "string", ".status.digest", "Digest of the spec", priority=1),
            AGE_COLUMN,
        ),
    )

    spec: VoiceContractSpec
    status: VoiceContractStatus = VoiceContractStatus()
