"""What is worth knowing about a clip and no failure, and how many clips it concerns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from voxfleet_api.base import OPEN_VALUE, StatusModel, list_map, open_enum


class WarningCode(StrEnum):
    """What is worth knowing about a clip and no failure. The list is closed: people count and filter by it."""

    BYTES_SKIPPED = "BytesSkipped"
    """The file holds bytes that are neither audio nor part of its format; they were not decoded."""
    LEVEL_LOST = "LevelLost"
    """A declared conversion made the clip much quieter."""
    NO_AUDIBLE_SPEECH = "NoAudibleSpeech"
    """The model wrote a text where no speech is audible."""
    REPEATED_TEXT = "RepeatedText"
    """The text repeats a phrase faster than anybody speaks."""
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
