"""The recorded table: one line a file, and how two tables differ. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from voxfleet_api.failures import FailureClass
from voxfleet_api.rows import ClipStatus, ResultRow


class CorpusLine(BaseModel):
    """What became of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    path: str
    sha256: str
    status: ClipStatus
    failure_class: FailureClass | None = Field(alias="class", default=None)
    reason: str | None = None
    warnings: tuple[str, ...] = ()
    """The codes of the row's warnings, and their messages."""
    audio_milliseconds: int = 0

    @classmethod
    def of(cls, path: str, sha256: str, row: ResultRow) -> CorpusLine:
        return cls(
            path=path,
            sha256=sha256,
            status=row.status,
            failure_class=None if row.error is None else row.error.failure_class,
            reason=None if row.error is None else row.error.reason,
            warnings=tuple(f"{warning.code}: {warning.message}" for warning in row.warnings),
            audio_milliseconds=row.audio_milliseconds,
        )

    @property
    def outcome(self) -> str:
        """For people, in one line."""
        if self.failure_class is not None:
            return f"{self.status} {self.failure_class}: {self.reason}"
        return " ".join((f"{self.status}, {self.audio_milliseconds} ms", *(f"({text})" for text in self.warnings)))


def written(lines: Iterable[CorpusLine]) -> str:
    return "".join(
        json.dumps(line.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False) + "\n"
        for line in sorted(lines, key=lambda line: line.path)
    )


def read(text: str) -> list[CorpusLine]:
    return [CorpusLine.model_validate_json(line) for line in text.splitlines() if line]


def differences(recorded: Sequence[CorpusLine], found: Sequence[CorpusLine], unread: frozenset[str]) -> Iterator[str]:
    """Yields a sentence a difference; `unread` names the packages that were left out."""
    before = _by_path(line for line in recorded if line.path.partition("/")[0] not in unread)
    after = _by_path(found)
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old is None and new is not None:
            yield f"{path}: is not in the table; now {new.outcome}"
        elif new is None and old is not None:
            yield f"{path}: is in the table and was not found"
        elif old is not None and new is not None and old != new:
            changed = "other content; " if old.sha256 != new.sha256 else ""
            yield f"{path}: {changed}was {old.outcome}\n    now {new.outcome}"


def _by_path(lines: Iterable[CorpusLine]) -> Mapping[str, CorpusLine]:
    return {line.path: line for line in lines}
