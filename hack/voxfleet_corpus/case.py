"""One file of the corpus, and the verdict that the agent must reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Downmix, Resample
from voxfleet_api.kinds.contract_limits import Quarantine
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

CONTRACT = VoiceContractSpec(
    input=ContractInput(
        containers=tuple(Container),
        sample_rates_hz=(16_000, 22_050, 44_100, 48_000),
        channels=(1, 2),
        min_clip="100ms",
        max_clip="20s",
        max_clip_bytes="4Mi",
    ),
    conversions=Conversions(resample=Resample(to_hz=16_000), downmix=Downmix()),
    quarantine=Quarantine(max_clips=1000, max_percent=100),
)
"""The contract of the verdicts: every container, four rates, one or two channels, 100 ms to 20 s, at most 4 MiB."""


class Verdict(StrEnum):
    SUCCEEDED = "succeeded"
    QUARANTINED = "quarantined"
    """Decoding or inference shows that the file's bytes are at fault."""
    REFUSED = "refused"
    """The file's address or header shows the fault; it is never decoded."""


@dataclass(frozen=True, slots=True)
class Case:
    id: str
    name: str
    """The file's name relative to the corpus's folder `input/clips`; it may hold slashes."""
    verdict: Verdict
    failure_class: FailureClass | None
    note: str
    content: bytes = b""
    place: Callable[[Path], None] | None = None
    """Makes something other than a plain file of `content` at a path. Raises OSError where this user may not."""
    text: str | None = None
    """The transcript, where the audio is whole and the built-in model `commands` transcribes it correctly."""
    uri: str | None = field(default=None)
    """The manifest's uri, where it differs from the file's own name."""
    sha256: str | None = None
    """The manifest's sha256 of the file."""


def good(id: str, name: str, content: bytes, note: str, text: str | None = None) -> Case:
    return Case(id, name, Verdict.SUCCEEDED, None, note, content, text=text)


def poison(id: str, name: str, content: bytes, failure_class: FailureClass, note: str) -> Case:
    return Case(id, name, Verdict.QUARANTINED, failure_class, note, content)


def refused(id: str, name: str, content: bytes, failure_class: FailureClass, note: str) -> Case:
    return Case(id, name, Verdict.REFUSED, failure_class, note, content)


class Expected(BaseModel):
    """A line of expected.jsonl."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    id: str
    name: str
    verdict: Verdict
    failure_class: FailureClass | None = Field(alias="class", default=None)
    text: str | None = None
    note: str
