"""What an input holds, what of it became clips, and why the rest did not."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import OPEN_VALUE, StatusModel, list_map, open_enum
from voxfleet_api.rows import Row


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
    NOT_CHOSEN = "NotChosen"
    """A clip that spec.only leaves out, or one of the earlier job that spec.source does not select."""


class SkippedRow(Row):
    """An entry of the prefix that is no clip. A folder ends in a slash, and stands for everything below it."""

    name: str
    reason: SkipReason


class SkippedEntries(StatusModel):
    """How many entries of the input became no clip for one reason."""

    reason: Annotated[
        str,
        OPEN_VALUE,
        open_enum(SkipReason),
        Field(description="Hidden, NoPatternMatched, OwnOutput, LinkedFolder, NotReadable, NotChosen, or a later one."),
    ]
    entries: Annotated[int, Field(ge=1, description="Files, and folders that were not entered.")]


class InputSelection(StatusModel):
    """What the input holds, and what of it became clips: `listed` is `taken` and all that was skipped."""

    listed: Annotated[int, Field(ge=0, description="Entries of the prefix, or clips that could be chosen.")]
    taken: Annotated[int, Field(ge=0, description="Entries that are clips of the job.")]
    skipped: Annotated[
        tuple[SkippedEntries, ...],
        Field(
            max_length=16,
            json_schema_extra=list_map("reason"),
            description="Entries that are no clips, by reason; of a prefix, plan/<attempt>/skipped.jsonl names them.",
        ),
    ] = ()

    @property
    def named(self) -> bool:
        """Whether skipped.jsonl names something: entries of a prefix, not clips that were left out by their index."""
        return any(item.reason != SkipReason.NOT_CHOSEN for item in self.skipped)

    @property
    def text(self) -> str:
        """In one line: `12 listed, 9 taken, 2 Hidden, 1 LinkedFolder`."""
        skipped = [f"{item.entries} {item.reason}" for item in self.skipped]
        return ", ".join([f"{self.listed} listed", f"{self.taken} taken", *skipped])
