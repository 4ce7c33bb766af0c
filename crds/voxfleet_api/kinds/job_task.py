"""AudioBatchJob: what to do with the clips."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import Duration, SpecModel, Uri, between, cel, validations

MAX_TEXT_CHARACTERS = 5_000
"""The longest text of one clip to synthesize."""

Language = Annotated[str, Field(min_length=2, max_length=35, pattern=r"^[A-Za-z][A-Za-z-]*$")]


class Task(StrEnum):
    TRANSCRIBE = "Transcribe"
    SYNTHESIZE = "Synthesize"


class Transcription(SpecModel):
    """How the model transcribes; a setting that the model does not know fails the job."""

    language: Annotated[
        Language | None,
        Field(description="The spoken language, as a code (en) or a name (English); absent: the model detects it."),
    ] = None
    max_tokens: Annotated[
        int | None,
        Field(ge=16, le=131_072, description="Token budget of a clip or window; absent: the model's own."),
    ] = None


class SynthesisMode(StrEnum):
    PRESET = "Preset"
    CUSTOM_VOICE = "CustomVoice"
    VOICE_DESIGN = "VoiceDesign"


class VoiceReference(SpecModel):
    """A recording of the voice."""

    uri: Annotated[Uri, Field(description="The recording; the contract's input clauses apply to it too.")]
    text: Annotated[str, Field(min_length=1, max_length=1000, description="The words that are spoken in it.")]


class Synthesis(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "self.mode != 'Preset' || (has(self.voice) && !has(self.instruction) && !has(self.reference))",
            "mode Preset needs voice, and takes neither instruction nor reference",
            field_path=".voice",
        ),
        cel(
            "self.mode != 'CustomVoice' || (has(self.reference) ? !has(self.voice)"
            " : (has(self.voice) && has(self.instruction)))",
            "mode CustomVoice needs a reference, or a voice with an instruction",
            field_path=".reference",
        ),
        cel(
            "self.mode != 'VoiceDesign' || (has(self.instruction) && !has(self.voice) && !has(self.reference))",
            "mode VoiceDesign needs instruction, and takes neither voice nor reference",
            field_path=".instruction",
        ),
    ),
):
    """How the model synthesizes speech."""

    mode: Annotated[
        SynthesisMode,
        Field(
            description="Preset: a voice of the model. CustomVoice: a recording, or a voice of the model with an"
            " instruction. VoiceDesign: a voice made from a description."
        ),
    ] = SynthesisMode.PRESET
    voice: Annotated[str | None, Field(min_length=1, max_length=64, description="Name of a voice of the model.")] = None
    instruction: Annotated[
        str | None, Field(min_length=1, max_length=1000, description="How to speak, or what the voice is like.")
    ] = None
    reference: Annotated[VoiceReference | None, Field(description="A recording of the voice.")] = None
    language: Annotated[
        Language | None, Field(description="The text's language, as a code or a name; absent: the model's default.")
    ] = None
    speed_percent: Annotated[
        int, Field(ge=25, le=400, description="Speed; a model that cannot change it accepts only 100.")
    ] = 100
    streaming_interval: Annotated[
        Duration,
        Field(
            description="Length of a streamed chunk; rounded to whole frames of the model's codec. Of a VoiceEndpoint"
            " spec.streaming.interval counts instead.",
            json_schema_extra=between("10ms", "60s"),
        ),
    ] = "2s"
    max_tokens: Annotated[
        int | None, Field(ge=16, le=131_072, description="Token budget of a text; absent: the model's own.")
    ] = None
