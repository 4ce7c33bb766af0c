"""VoiceContract: the audio that is accepted, and the conversions that are declared."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import Duration, Size, SpecModel, between, cel, list_set, validations


class Container(StrEnum):
    WAV = "wav"
    FLAC = "flac"
    MP3 = "mp3"
    M4A = "m4a"
    AIFF = "aiff"
    CAF = "caf"


class Encoding(StrEnum):
    """How samples are stored. PCM has the same name in both byte orders."""

    PCM16 = "pcm16"
    PCM24 = "pcm24"
    PCM32 = "pcm32"
    FLOAT32 = "float32"
    FLAC = "flac"
    MP3 = "mp3"
    AAC = "aac"


class Decoder(StrEnum):
    MLX_AUDIO_IO = "mlx-audio-io"


class Truncated(StrEnum):
    """What becomes of a file that ends early."""

    REFUSE = "Refuse"
    ACCEPT = "Accept"


class ResampleQuality(StrEnum):
    """The resampler's modes, by mlx-audio-io's names. `default` is missing because its meaning differs by platform."""

    FASTEST = "fastest"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    BEST = "best"
    SOXR_HQ = "soxr_hq"
    SOXR_VHQ = "soxr_vhq"


class DownmixMode(StrEnum):
    MEAN = "Mean"
    EQUAL_POWER = "EqualPower"


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
            max_length=len(Container),
            json_schema_extra=list_set(),
            description="Accepted containers, recognized by the file's first bytes and never by its name.",
        ),
    ]
    encodings: Annotated[
        tuple[Encoding, ...],
        Field(
            min_length=1,
            max_length=len(Encoding),
            json_schema_extra=list_set(),
            description="Accepted encodings, as stored in the file; absent: all of them.",
        ),
    ] = tuple(Encoding)
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
    min_clip: Annotated[
        Duration, Field(description="The shortest accepted clip.", json_schema_extra=between("1ms", "24h"))
    ] = "100ms"
    max_clip: Annotated[
        Duration, Field(description="The longest accepted clip.", json_schema_extra=between("1ms", "24h"))
    ] = "10m"
    max_clip_bytes: Annotated[Size, Field(description="The largest accepted file.")] = "200Mi"
    truncated: Annotated[
        Truncated,
        Field(
            description="What becomes of a file that ends before the length that its header announces, or inside a"
            " frame. Refuse: it is quarantined. Accept: what is there is processed, and its row says so."
        ),
    ] = Truncated.REFUSE
    decoders: Annotated[
        tuple[Decoder, ...],
        Field(
            min_length=1,
            max_length=len(Decoder),
            json_schema_extra=list_set(),
            description="Programs that may decode a clip; rows attest which one did.",
        ),
    ] = (Decoder.MLX_AUDIO_IO,)


class Resample(SpecModel):
    """Declares that a clip's rate may be changed."""

    to_hz: Annotated[RateHz, Field(description="The rate after resampling, in hertz; the model's own rate.")]
    quality: Annotated[
        ResampleQuality,
        Field(
            description="The resampler's mode, by name. A mode that is worse on the Mac's platform than its name says"
            " is refused; soxr_hq and soxr_vhq mean the same everywhere."
        ),
    ] = ResampleQuality.SOXR_VHQ


class Downmix(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "self.mode != 'EqualPower'",
            "EqualPower does not work in the pinned mlx-audio-io; write mode: Mean",
            field_path=".mode",
        ),
    ),
):
    """Declares that a clip's channels may be mixed into one."""

    mode: Annotated[DownmixMode, Field(description="Mean: the average of all channels.")] = DownmixMode.MEAN


class Windows(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "duration(self.seek) < duration(self.length)",
            "seek is not shorter than length; write a seek of a few seconds",
            field_path=".seek",
        ),
    ),
):
    """Declares that a clip longer than a window may reach the model window by window.

    A window ends at the quietest moment within its last `seek`; each sample lies in exactly one window.
    """

    length: Annotated[
        Duration,
        Field(
            description="The longest window. For Whisper and recordings of many minutes, 30s or 60s: what it heard"
            " wrong at one place makes it hear wrong, or leave out, what follows.",
            json_schema_extra=between("100ms", "1h"),
        ),
    ]
    seek: Annotated[
        Duration,
        Field(
            description="The last part of a window, in which its quiet end is searched.",
            json_schema_extra=between("1ms", "1h"),
        ),
    ] = "5s"


class Conversions(SpecModel):
    """Declared conversions; an absent one is forbidden."""

    resample: Annotated[Resample | None, Field(description="Absent: a clip at another rate is refused.")] = None
    downmix: Annotated[Downmix | None, Field(description="Absent: a clip of more than one channel is refused.")] = None
    windows: Annotated[Windows | None, Field(description="Absent: a clip reaches the model whole.")] = None
