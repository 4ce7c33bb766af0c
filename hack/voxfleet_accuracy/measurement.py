"""What the takes and both sides' texts add up to. Pure.

`Results` holds what each side heard, by path (None: mlx-audio's own) and the take's name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from voxfleet_accuracy.heard import Heard, Results
from voxfleet_accuracy.scoring import (
    Normalise,
    Token,
    WordErrors,
    around_gap,
    count_near,
    error_seconds,
    part_starts,
    said_tokens,
    start_differences,
    starts_by,
    time_faults,
    tokens_of,
    word_errors,
)
from voxfleet_accuracy.takes import GivenPath, Take
from voxfleet_api.clip_warnings import WarningCode

WORST_POINTS = 0.2
"""How much worse than mlx-audio's own the product's word error rate may be in total."""
START_GOAL_SECONDS = 0.2
BORDER_SECONDS = 1.0
GAP_MARGIN_SECONDS = 0.5
UNSPOKEN_WARNINGS = frozenset(map(str, (WarningCode.NO_AUDIBLE_SPEECH, WarningCode.REPEATED_TEXT)))
"""What says that nobody spoke a text. Any other warning does not."""


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """Word errors of some takes along one path."""

    group: str
    path: str
    takes: int
    product: WordErrors
    upstream: WordErrors
    equal_texts: int
    failed: Mapping[str, int]
    """Takes without a text, by class."""

    @property
    def difference_points(self) -> float:
        return self.product.percent - self.upstream.percent

    @property
    def holds(self) -> bool:
        """Never where no words are known."""
        return self.product.words > 0 and self.difference_points <= WORST_POINTS


@dataclass(frozen=True, slots=True)
class UnspokenLine:
    """A take in which nothing is said, or the gap in one."""

    name: str
    path: str
    product: str
    """What the product wrote there."""
    told: tuple[str, ...]
    """The class, or those of UNSPOKEN_WARNINGS that the row has."""
    upstream: str

    @property
    def holds(self) -> bool:
        return not self.product or bool(self.told)


@dataclass(frozen=True, slots=True)
class TimesLine:
    """Times of some takes along one path, in seconds."""

    group: str
    path: str
    faults: tuple[str, ...]
    untimed: int
    """Takes with a text and without times."""
    words: int
    """The words whose start is compared: with the known one, or else with mlx-audio's."""
    p50: float
    p95: float
    known_starts: int
    """First words of joined texts, and the words around a gap, which lie as in the same recording without it."""
    p95_known_start: float
    p95_upstream_known_start: float

    @property
    def holds(self) -> bool:
        """Never where no word was compared."""
        return self.words > 0 and not self.faults and not self.untimed and self.p95 <= START_GOAL_SECONDS


@dataclass(frozen=True, slots=True)
class BorderLine:
    """Word errors within BORDER_SECONDS of the ends of one take's windows."""

    name: str
    path: str
    borders: int
    product: int
    upstream: int

    @property
    def holds(self) -> bool:
        """Never where the file was not cut."""
        return self.borders > 0 and self.product <= self.upstream


@dataclass(frozen=True, slots=True)
class Measurement:
    lines: tuple[ErrorLine, ...]
    totals: tuple[ErrorLine, ...]
    """A line a path, and last all of them."""
    unspoken: tuple[UnspokenLine, ...]
    times: tuple[TimesLine, ...]
    borders: tuple[BorderLine, ...]
    cut_takes: int
    """Takes along all paths that are cut and whose words' places are known."""
    borders_unknown: tuple[str, ...]
    """Those of them without a line in `borders`: their ends cannot be computed again, or no words have times."""
    spoken_takes: int
    """Takes along all paths in which somebody speaks a language that the model knows."""
    false_quarantines: tuple[str, ...]
    """Those of them that have a class instead of a text."""
    false_warnings: tuple[str, ...]
    """Those of them whose text has one of UNSPOKEN_WARNINGS, and no word in a gap: with `unspokenText: Quarantine`
    they would be lost."""
    foreign: tuple[str, ...]
    """What came of takes in a language that the model does not know. No text of them is true."""


def measure(
    takes: Sequence[Take],
    results: Results,
    borders: Mapping[tuple[GivenPath, str], Sequence[float]],
    normalise: Normalise,
    languages: Collection[str] | None = None,
) -> Measurement:
    """`borders`: when the windows of a take end, in seconds. `languages`: those that the model knows; None: all."""
    spoken = [take for take in takes if take.text != ""]
    lines = []
    for path in GivenPath:
        for group in dict.fromkeys(take.group for take in spoken):
            members = [take for take in spoken if take.group == group and path in take.paths]
            if members:
                lines.append(_error_line(group, path, members, results, normalise))
    totals = [_total(f"total, {path}", [line for line in lines if line.path == path]) for path in GivenPath]
    known = [take for take in spoken if languages is None or take.language in languages]
    runs = [(take, path) for take in known for path in take.paths]
    cut = [(take, path) for take in spoken for path in take.paths if take.parts and path is not GivenPath.WHOLE]
    compared = {(path, name): ends for (path, name), ends in borders.items() if results[path, name].words is not None}
    return Measurement(
        lines=tuple(lines),
        totals=(*(total for total in totals if total.takes), _total("total", lines)),
        unspoken=tuple(
            _unspoken(take, path, results)
            for take in takes
            for path in take.paths
            if take.text == "" or take.gap_seconds
        ),
        times=tuple(_times_lines(spoken, results, normalise)),
        borders=tuple(_border_lines(spoken, results, compared, normalise)),
        cut_takes=len(cut),
        borders_unknown=tuple(f"{take.name}, {path}" for take, path in cut if (path, take.name) not in compared),
        spoken_takes=len(runs),
        false_quarantines=tuple(
            f"{take.name}, {path}: {failure_class}"
            for take, path in runs
            if (failure_class := results[path, take.name].failure_class) is not None
        ),
        false_warnings=tuple(
            f"{take.name}, {path}: {', '.join(codes)}"
            for take, path in runs
            if (codes := _unspoken_warnings(results[path, take.name])) and not _in_gap(take, results[path, take.name])
        ),
        foreign=tuple(
            f"{take.name}, {path}: {results[path, take.name].failure_class or 'a text'}"
            for take in spoken
            if take not in known
            for path in take.paths
        ),
    )


def _error_line(
    group: str, path: GivenPath, takes: Sequence[Take], results: Results, normalise: Normalise
) -> ErrorLine:
    failed: dict[str, int] = {}
    product = upstream = WordErrors()
    equal = 0
    for take in takes:
        ours, theirs = results[path, take.name], results[None, take.name]
        equal += ours.text.split() == theirs.text.split()
        if ours.failure_class is not None:
            failed[ours.failure_class] = failed.get(ours.failure_class, 0) + 1
        if take.text is not None:
            product += word_errors(take.text, ours.text, normalise)
            upstream += word_errors(take.text, theirs.text, normalise)
    return ErrorLine(group, path, len(takes), product, upstream, equal, failed)


def _total(name: str, lines: Sequence[ErrorLine]) -> ErrorLine:
    failed: dict[str, int] = {}
    for line in lines:
        for failure_class, count in line.failed.items():
            failed[failure_class] = failed.get(failure_class, 0) + count
    return ErrorLine(
        group=name,
        path="",
        takes=sum(line.takes for line in lines),
        product=sum((line.product for line in lines), WordErrors()),
        upstream=sum((line.upstream for line in lines), WordErrors()),
        equal_texts=sum(line.equal_texts for line in lines),
        failed=failed,
    )


def _unspoken(take: Take, path: GivenPath, results: Results) -> UnspokenLine:
    ours, theirs = results[path, take.name], results[None, take.name]
    told = _unspoken_warnings(ours) if ours.failure_class is None else (ours.failure_class,)
    if take.gap_seconds is None:
        return UnspokenLine(take.condition, path, ours.text, told, theirs.text)
    return UnspokenLine(take.name, path, _in_gap(take, ours), told, _in_gap(take, theirs))


def _unspoken_warnings(heard: Heard) -> tuple[str, ...]:
    return tuple(code for code in heard.warnings if code in UNSPOKEN_WARNINGS)


def _in_gap(take: Take, heard: Heard) -> str:
    """The words that lie in the take's gap as a whole, without what models misplace at its ends."""
    if take.gap_seconds is None:
        return ""
    first, last = take.gap_seconds[0] + GAP_MARGIN_SECONDS, take.gap_seconds[1] - GAP_MARGIN_SECONDS
    return " ".join(word.text for word in heard.words or () if first <= word.start_seconds and word.end_seconds <= last)


def _times_lines(takes: Sequence[Take], results: Results, normalise: Normalise) -> Iterable[TimesLine]:
    for path in GivenPath:
        short = [take for take in takes if path in take.paths and not take.parts]
        if short:
            yield _times_line(f"{len(short)} single clips", path, short, results, normalise)
        for take in takes:
            if path in take.paths and take.parts:
                yield _times_line(take.group, path, [take], results, normalise)


def _times_line(
    group: str, path: GivenPath, takes: Sequence[Take], results: Results, normalise: Normalise
) -> TimesLine:
    faults: list[str] = []
    differences: list[float] = []
    known_starts: list[float] = []
    upstream_starts: list[float] = []
    untimed = 0
    for take in takes:
        ours, theirs = results[path, take.name], results[None, take.name]
        if ours.words is None or ours.segments is None:
            untimed += bool(ours.text)
            continue
        faults += [f"{take.name}: word {fault}" for fault in time_faults(ours.words, take.seconds)]
        faults += [f"{take.name}: segment {fault}" for fault in time_faults(ours.segments, take.seconds)]
        heard, upstream = tokens_of(ours.words, normalise), tokens_of(theirs.words or (), normalise)
        known = _known_starts(take, heard, results, normalise)
        # A model that hears silence may place words in it, and that is no time to compare with.
        others = {} if take.gap_seconds else starts_by(heard, upstream)
        differences += start_differences(heard, others | known)
        known_starts += start_differences(heard, known)
        upstream_starts += start_differences(upstream, _known_starts(take, upstream, results, normalise))
    return TimesLine(
        group=group,
        path=path,
        faults=tuple(faults),
        untimed=untimed,
        words=len(differences),
        p50=percentile(differences, 50),
        p95=percentile(differences, 95),
        known_starts=len(known_starts),
        p95_known_start=percentile(known_starts, 95),
        p95_upstream_known_start=percentile(upstream_starts, 95),
    )


def _known_starts(take: Take, heard: Sequence[Token], results: Results, normalise: Normalise) -> dict[int, float]:
    """By the word's index in `heard`."""
    if take.gap_seconds is None:
        return part_starts(take.parts, heard, normalise)
    whole = results.get((None, take.without_gap or ""))
    return (
        {} if whole is None else starts_by(heard, tokens_of(around_gap(whole.words or (), take.gap_seconds), normalise))
    )


def _border_lines(
    takes: Sequence[Take],
    results: Results,
    borders: Mapping[tuple[GivenPath, str], Sequence[float]],
    normalise: Normalise,
) -> Iterable[BorderLine]:
    for (path, name), ends in borders.items():
        take = next(take for take in takes if take.name == name)
        said = said_tokens(take.parts, normalise)
        product, upstream = (
            count_near(error_seconds(said, tokens_of(heard.words or (), normalise)), ends, BORDER_SECONDS)
            for heard in (results[path, name], results[None, name])
        )
        yield BorderLine(take.group, path, len(ends), product, upstream)


def percentile(values: Sequence[float], share: float) -> float:
    """0 without values."""
    return float(np.percentile(values, share)) if values else 0.0
