"""AudioBatchJob: the clips."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from voxfleet_api.base import Sha256Hex, SpecModel, Uri, cel, list_map, list_unique, validations
from voxfleet_api.kinds.job_task import MAX_TEXT_CHARACTERS


class PrefixInput(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "!has(self.include) || self.include.all(pattern, !pattern.contains('/'))",
            "a pattern applies to a file's own name, in every folder; write *.wav instead of **/*.wav",
            field_path=".include",
        ),
    ),
):
    """All objects under a prefix."""

    uri: Annotated[Uri, Field(description="The prefix; ends with a slash.", pattern=r"^(file:///|s3://[a-z0-9]).*/$")]
    include: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=256)], ...],
        Field(
            min_length=1,
            max_length=16,
            json_schema_extra=list_unique(),
            description="Patterns of file names, such as `*.wav`; absent: all. Hidden files and folders, and those of"
            " operating systems, are never clips, unless a pattern that begins with a dot names the file.",
        ),
    ] = ("*",)
    match_case: Annotated[
        bool, Field(description="Whether `*.wav` leaves out `CALL.WAV`; by default, patterns ignore case.")
    ] = False


class ManifestInput(SpecModel):
    """A file that lists the clips: an `id` with a `uri` and perhaps its `sha256`, or with a `text` for Synthesize."""

    uri: Annotated[
        Uri,
        Field(
            description='The manifest: JSON Lines, one `{"id", "uri", "sha256"}` or `{"id", "text"}` a line, or CSV'
            " with a header that names the columns `id,uri,sha256,text`; columns that no clip needs may be absent. A"
            " clip's `uri` may be relative to the manifest's folder."
        ),
    ]


class ClipInput(
    SpecModel,
    json_schema_extra=validations(
        cel("has(self.uri) != has(self.text)", "write uri for a clip to transcribe, or text for one to speak"),
        cel("!has(self.sha256) || has(self.uri)", "sha256 is of the object at uri; a text has none"),
    ),
):
    """One clip: a recording, or a text to synthesize."""

    id: Annotated[
        str, Field(min_length=1, max_length=128, pattern=r"^[\w.:-]+$", description="Your name for the clip; unique.")
    ]
    uri: Annotated[Uri | None, Field(description="The recording.")] = None
    text: Annotated[
        str | None, Field(min_length=1, max_length=MAX_TEXT_CHARACTERS, description="The text to synthesize.")
    ] = None
    sha256: Annotated[Sha256Hex | None, Field(description="Expected sha256; absent: not checked.")] = None


class JobInput(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "[has(self.prefix), has(self.manifest), has(self.clips)].filter(x, x).size() == 1",
            "write exactly one of input.prefix, input.manifest and input.clips",
        ),
    ),
):
    """The clips."""

    prefix: Annotated[PrefixInput | None, Field(description="All objects under a prefix.")] = None
    manifest: Annotated[ManifestInput | None, Field(description="The clips that a file lists.")] = None
    clips: Annotated[
        tuple[ClipInput, ...] | None,
        Field(min_length=1, max_length=200, json_schema_extra=list_map("id"), description="The clips themselves."),
    ] = None

    def uris(self) -> tuple[str, ...]:
        """Returns the addresses that the input names, for access checks."""
        if self.prefix is not None:
            return (self.prefix.uri,)
        if self.manifest is not None:
            return (self.manifest.uri,)
        return tuple(clip.uri for clip in self.clips or () if clip.uri is not None)
