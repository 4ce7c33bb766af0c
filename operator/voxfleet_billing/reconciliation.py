"""Four sides of a bill, which have to say the same to the millisecond. Pure; memory is that of Macs and jobs.

The signed rows of the archive are the truth, and the other three are held against them: the statements of the Macs, the
usage in the status of jobs, and lines of a CSV (`line_comparison`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from voxfleet_api.kinds import AudioBatchJob, MachineHourStatement
from voxfleet_api.quantities import seconds_milliseconds, seconds_text
from voxfleet_billing.archive_format import TimeClass
from voxfleet_billing.charge import Charge, ChargeKind

_FIELDS = {
    TimeClass.PRODUCTIVE: "productiveSeconds",
    TimeClass.RETRY: "retrySeconds",
    TimeClass.OVERHEAD: "overheadSeconds",
    TimeClass.ORPHANED: "orphanedSeconds",
}


@dataclass(slots=True)
class Sums:
    """Milliseconds and counts of signed rows."""

    by_class: dict[str, int] = field(default_factory=dict)
    audio: int = 0
    rows: int = 0

    def add(self, charge: Charge) -> None:
        self.by_class[charge.time_class] = self.by_class.get(charge.time_class, 0) + charge.milliseconds
        self.audio += charge.audio_milliseconds
        self.rows += 1

    def facts(self) -> dict[str, int]:
        """By the names that statements and jobs have for them."""
        times = {name: self.by_class.get(time_class, 0) for time_class, name in _FIELDS.items()}
        return {"machineSeconds": sum(times.values()), **times, "audioSeconds": self.audio, "rows": self.rows}


@dataclass(slots=True)
class SignedSums:
    """What the archive says, by Mac and by job UID."""

    by_mac: dict[str, Sums] = field(default_factory=dict)
    by_job: dict[str, Sums] = field(default_factory=dict)

    def watch(self, charges: Iterable[Charge]) -> Iterator[Charge]:
        """Passes lines on, and sums up those of signed rows of this control plane."""
        for charge in charges:
            if charge.kind is ChargeKind.USAGE and charge.time_class != TimeClass.FOREIGN:
                self.by_mac.setdefault(charge.mac, Sums()).add(charge)
                self.by_job.setdefault(charge.owner_uid, Sums()).add(charge)
            yield charge


@dataclass(frozen=True, slots=True)
class SideDifference:
    side: str
    """Of an object: `mhs/mac-01-2026-11`, `abj/speech/nightly`."""
    fact: str
    told: str
    signed: str
    """What the signed rows say."""


def statement_differences(
    statements: Iterable[MachineHourStatement], month: str, signed: Mapping[str, Sums]
) -> Iterator[SideDifference]:
    """A Mac's month may have several statements, as there is room for 16 chains in each; they are added up."""
    told: dict[str, list[MachineHourStatement]] = {}
    for statement in statements:
        if statement.spec.month == month:
            told.setdefault(statement.spec.mac, []).append(statement)
    for mac in sorted(told.keys() | signed.keys()):
        parts = told.get(mac, [])
        names = "+".join(sorted(part.metadata.name for part in parts))
        found = signed.get(mac, Sums()).facts()
        if not parts:
            yield SideDifference(f"mac/{mac}", "statement", "none", f"{found['rows']} rows")
            continue
        for fact, milliseconds in found.items():
            values = [_told(part.status.dump(), fact) for part in parts]
            if sum(values) != milliseconds:
                yield SideDifference(f"mhs/{names}", fact, _text(fact, sum(values)), _text(fact, milliseconds))


def jobs_of_month(jobs: Iterable[AudioBatchJob], month: str) -> tuple[list[AudioBatchJob], int]:
    """The settled jobs that ran in the month, and how many others did."""
    ran = [job for job in jobs if month in months_of(job)]
    settled = [job for job in ran if job.status.usage.settled]
    return settled, len(ran) - len(settled)


def months_of(job: AudioBatchJob) -> list[str]:
    """From the month in which it started to that in which it ended; one that runs has the first alone."""
    start, end = job.status.start_time, job.status.completion_time or job.status.start_time
    if start is None or end is None:
        return []
    first, last = (12 * int(text[:4]) + int(text[5:7]) - 1 for text in (start, end))
    return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in range(first, max(first, last) + 1)]


def job_differences(jobs: Iterable[AudioBatchJob], signed: Mapping[str, Sums]) -> Iterator[SideDifference]:
    """`jobs`: settled ones of which `signed` has all rows. Their statuses know no orphaned time."""
    for job in jobs:
        usage = job.status.usage.dump()
        found = signed.get(job.metadata.uid, Sums()).facts()
        for fact, milliseconds in found.items():
            if fact == _FIELDS[TimeClass.ORPHANED] and not milliseconds:
                continue
            told = _told(usage, fact)
            if told != milliseconds:
                side = f"abj/{job.metadata.namespace}/{job.metadata.name}"
                yield SideDifference(side, fact, _text(fact, told), _text(fact, milliseconds))


def _told(plain: Mapping[str, object], fact: str) -> int:
    value = plain.get(fact, 0)
    return value if isinstance(value, int) else seconds_milliseconds(str(value))


def _text(fact: str, value: int) -> str:
    return str(value) if fact == "rows" else seconds_text(value)
