"""Compares two finished runs clip by clip. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from voxfleet_agent.finished_runs.row_statistics import RowStatistics, row_statistics
from voxfleet_agent.finished_runs.time_difference import times_of, what_differs_in_time
from voxfleet_agent.mlx_audio_names import QUARANTINE, TMPDIR
from voxfleet_agent.stages.finalize.repro import ReproBundle
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.rows import ClipStatus, ResultRow
from voxfleet_shared.text_difference import TextDifference, text_difference


@dataclass(frozen=True, slots=True)
class OutcomeDifference:
    """A clip whose outcome differs between two runs."""

    index: int
    """The clip's index in the first run."""
    custom_id: str
    outcome_a: str
    """The row's status, with the failure class if there is one."""
    outcome_b: str
    word_error_percent: float | None
    """Word errors between the two transcripts; None when one run has no transcript, or they are too long."""
    what: str
    """The difference without any transcript text: numbers of changes, or the failure's reason."""
    text_a: str | None
    text_b: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    a: RowStatistics
    b: RowStatistics
    wall_a_milliseconds: int | None
    """None: the run was on a fleet, where no single clock measures it."""
    wall_b_milliseconds: int | None
    clips_of_both: int
    only_a: int
    only_b: int
    machines: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    """(A's, B's) chips, types of number and package versions, by name, where the rows of the two runs differ."""
    settings: SetupDifferences
    differences: tuple[OutcomeDifference, ...]
    failed_only_a: dict[str, int]
    """Clips of both runs that have a result only in B, counted by their failure class in A."""
    failed_only_b: dict[str, int]

    @property
    def same(self) -> bool:
        """Whether both runs have the same clips with the same outcomes."""
        return not (self.differences or self.only_a or self.only_b)


@dataclass(frozen=True, slots=True)
class RowPair:
    """The rows of one clip in two runs."""

    before: ResultRow
    after: ResultRow

    @property
    def same(self) -> bool:
        return _result_of(self.before) == _result_of(self.after)

    @property
    def failure_class(self) -> FailureClass | None:
        """Why the second run does not reproduce the first; None when their rows are the same.

        A clip without a result has the class of its failure; one with another result is NondeterministicReplay.
        """
        if self.same:
            return None
        return FailureClass.NONDETERMINISTIC_REPLAY if self.after.error is None else self.after.error.failure_class


def compare(
    a: Sequence[ResultRow],
    b: Sequence[ResultRow],
    wall_a_milliseconds: int | None = None,
    wall_b_milliseconds: int | None = None,
    settings: SetupDifferences | None = None,
) -> Comparison:
    """Matches clips by their id, which the job chooses and which does not depend on the order of the input.

    `settings`: the job settings of both runs, where they differ. Times are compared as far as both contracts ask for
    them.
    """
    left_out = _times_of_one_run(settings or {})
    rows_a, rows_b = ({row.custom_id: row.model_copy(update=left_out) for row in rows} for rows in (a, b))
    both = sorted(rows_a.keys() & rows_b.keys(), key=lambda name: rows_a[name].index)
    differences = (_difference(rows_a[name], rows_b[name]) for name in both)
    return Comparison(
        a=row_statistics(a),
        b=row_statistics(b),
        wall_a_milliseconds=wall_a_milliseconds,
        wall_b_milliseconds=wall_b_milliseconds,
        clips_of_both=len(both),
        only_a=len(rows_a) - len(both),
        only_b=len(rows_b) - len(both),
        machines=_machines(a, b),
        settings=settings or {},
        differences=tuple(difference for difference in differences if difference is not None),
        failed_only_a=_failed_only((rows_a[name], rows_b[name]) for name in both),
        failed_only_b=_failed_only((rows_b[name], rows_a[name]) for name in both),
    )


def _times_of_one_run(settings: SetupDifferences) -> dict[str, None]:
    """The fields of a row that only one of the contracts asks for."""
    asked = settings.get(_TIMESTAMPS)
    if asked is None:
        return {}
    return {"segments": None, "words": None} if Timestamps.NONE in asked or None in asked else {"words": None}


def _failed_only(pairs: Iterable[tuple[ResultRow, ResultRow]]) -> dict[str, int]:
    """Counts the pairs whose first row has no result and whose second row has one, by failure class."""
    names = (
        failure_name(row)
        for row, other in pairs
        if row.status is not ClipStatus.SUCCEEDED and other.status is ClipStatus.SUCCEEDED
    )
    return dict(sorted(Counter(names).items()))


def _difference(a: ResultRow, b: ResultRow) -> OutcomeDifference | None:
    if RowPair(a, b).same:
        return None
    texts = texts_differ(a, b)
    rate = None if texts is None else texts.word_error_percent
    return OutcomeDifference(
        a.index, a.custom_id, outcome(a), outcome(b), rate, what_differs(a, b, texts), a.text, b.text
    )


def texts_differ(a: ResultRow, b: ResultRow) -> TextDifference | None:
    """None when one of the rows has no transcript."""
    return None if a.text is None or b.text is None else text_difference(a.text, b.text)


def what_differs(a: ResultRow, b: ResultRow, texts: TextDifference | None) -> str:
    """Describes how two rows of one clip differ, without any transcript text. Failures give their reasons."""
    reasons = [f"{name}: {row.error.reason}" for name, row in (("A", a), ("B", b)) if row.error is not None]
    other_input = ["another input file"] if a.sha256 and b.sha256 and a.sha256 != b.sha256 else []
    if reasons:
        return "; ".join((*other_input, *reasons))
    parts = list(other_input)
    if texts is not None and a.text != b.text:
        parts.append(texts.what)
    else:
        parts += what_differs_in_time(a, b)
    if (a.audio and a.audio.sha256) != (b.audio and b.audio.sha256):
        parts.append(f"other audio ({a.audio_milliseconds} and {b.audio_milliseconds} ms)")
    return "; ".join(parts)


def _result_of(row: ResultRow) -> tuple[object, ...]:
    return outcome(row), row.text, None if row.audio is None else row.audio.sha256, *times_of(row)


def failure_name(row: ResultRow) -> str:
    """Returns the failure class of a clip without a result, or its status where it has no class."""
    failure_class = None if row.error is None else row.error.failure_class
    return row.status.value if failure_class is None else failure_class.value


def outcome(row: ResultRow) -> str:
    """Returns a row's status, with the failure class if there is one."""
    failure_class = None if row.error is None else row.error.failure_class
    return row.status.value if failure_class is None else f"{row.status.value} ({failure_class})"


def _machines(a: Iterable[ResultRow], b: Iterable[ResultRow]) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    facts_a, facts_b = _machine_facts(a), _machine_facts(b)
    pairs = {
        name: (tuple(sorted(facts_a.get(name, ()))), tuple(sorted(facts_b.get(name, ()))))
        for name in sorted(facts_a.keys() | facts_b.keys())
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _machine_facts(rows: Iterable[ResultRow]) -> Mapping[str, set[str]]:
    facts: dict[str, set[str]] = {}
    for row in rows:
        if row.chip is not None:
            facts.setdefault("chip", set()).add(row.chip)
        if row.dtype is not None:
            facts.setdefault("dtype", set()).add(row.dtype)
        for package, version in row.versions.items():
            facts.setdefault(package, set()).add(version)
    return facts


_JOB_FIELDS = ("task", "contract", "transcription", "synthesis", "formats", "model", "modelDigest", "modelRevision")
_TIMESTAMPS = "contract.output.timestamps"
_FOLDER_VARIABLES = (TMPDIR, QUARANTINE)

SetupDifferences = Mapping[str, tuple[str | None, str | None]]
"""(A's value, B's value) by field, such as `contract.input.maxClip`; None: the field is absent."""


def setup_differences(a: ReproBundle, b: ReproBundle) -> SetupDifferences:
    """Compares contract, task, model and machine settings; ignores where a run kept its files."""
    fields_a, fields_b = dict(_fields(a)), dict(_fields(b))
    names = [*fields_a, *(name for name in fields_b if name not in fields_a)]
    return {
        name: (fields_a.get(name), fields_b.get(name)) for name in names if fields_a.get(name) != fields_b.get(name)
    }


def _fields(bundle: ReproBundle) -> Iterator[tuple[str, str]]:
    plain = bundle.dump()
    for name in _JOB_FIELDS:
        yield from _flat(name, plain.get(name))
    values: dict[str, set[str]] = {}
    for setting in bundle.settings:
        names = {name: value for name, value in setting.environment.items() if name not in _FOLDER_VARIABLES}
        for name, value in {
            **names,
            **({} if setting.dtype is None else {"dtype": setting.dtype}),
            "os": setting.os,
            "BLAS": setting.blas,
            "model's rate": f"{setting.sample_rate_hz} Hz",
        }.items():
            values.setdefault(name, set()).add(value)
    yield from ((name, ", ".join(sorted(values[name]))) for name in sorted(values))


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif isinstance(value, str):
        yield name, value
    elif value is not None:
        yield name, json.dumps(value)
