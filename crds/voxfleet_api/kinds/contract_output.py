"""VoiceContract: what results look like."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import SpecModel, cel, list_set, validations
from voxfleet_api.kinds.contract_input import RateHz


class OutputFormat(StrEnum):
    JSONL = "jsonl"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"
    TXT = "txt"


class Timestamps(StrEnum):
    NONE = "None"
    SEGMENT = "Segment"
    WORD = "Word"


class AudioContainer(StrEnum):
    WAV = "wav"
    FLAC = "flac"
    M4A = "m4a"


class AudioEncoding(StrEnum):
    PCM16 = "pcm16"
    PCM24 = "pcm24"
    FLOAT32 = "float32"
    AAC = "aac"


class Clipping(StrEnum):
    """What happens to synthesized samples beyond full scale."""

    REFUSE = "Refuse"
    LIMIT = "Limit"


class AudioOutput(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "{'wav': ['pcm16', 'pcm24', 'float32'], 'flac': ['pcm16', 'pcm24'], 'm4a': ['aac']}"
            "[self.container].exists(e, e == self.encoding)",
            "the container cannot hold this encoding; write pcm16, pcm24 or float32 for wav, pcm16 or pcm24 for flac,"
            " aac for m4a",
            field_path=".encoding",
        ),
    ),
):
    """The audio files that Synthesize writes."""

    container: Annotated[AudioContainer, Field(description="The container.")] = AudioContainer.WAV
    encoding: Annotated[AudioEncoding, Field(description="How samples are stored.")] = AudioEncoding.PCM16
    sample_rate_hz: Annotated[
        RateHz, Field(description="The rate of the files; a model that synthesizes at another rate is refused.")
    ] = 24_000
    channels: Annotated[int, Field(ge=1, le=1, description="Channels; models synthesize mono.")] = 1
    clipping: Annotated[
        Clipping,
        Field(description="Refuse: samples beyond full scale fail the clip. Limit: they are set to full scale."),
    ] = Clipping.REFUSE


_TIMED = "self.timestamps != 'None' || !self.formats.exists(f, f == 'srt' || f == 'vtt')"


class ContractOutput(
    SpecModel,
    json_schema_extra=validations(
        cel(_TIMED, "srt and vtt need timestamps; write timestamps: Segment or Word", field_path=".timestamps"),
    ),
):
    """What results look like."""

    formats: Annotated[
        tuple[OutputFormat, ...],
        Field(
            min_length=1,
            max_length=len(OutputFormat),
            json_schema_extra=list_set(),
            description="Formats that a job may ask for; all but jsonl add one file per clip.",
        ),
    ] = (OutputFormat.JSONL,)
    timestamps: Annotated[
        Timestamps,
        Field(description="The finest times in the results; a model that gives no times of that kind is refused."),
    ] = Timestamps.NONE
    audio: Annotated[AudioOutput, Field(description="The audio files that Synthesize writes.")] = AudioOutput()
