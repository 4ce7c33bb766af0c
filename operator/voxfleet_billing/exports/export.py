"""Writes a month's bill as a file, with the manifest beside it.

Each Mac's lines are made in a process, of which a few run at once, and put together in the Macs' order: how many there
are makes no difference to the file. A Mac's rows are priced with what was left of the commitments when its process
began. Commitments only become less: where all is left that the Mac took of them, it would take the same again, and
where it is not, the Mac is priced once more.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from voxfleet_billing.archive_format import MonthIndex
from voxfleet_billing.charges import month_charges
from voxfleet_billing.exports.csv_file import CsvFile, whole_csv, write_text
from voxfleet_billing.exports.mac_part import MacPart, PartTask, write_mac
from voxfleet_billing.exports.manifest import Export, manifest
from voxfleet_billing.exports.request import Request
from voxfleet_billing.exports.tally import Tally
from voxfleet_billing.mac_processes import of_each, processes_for
from voxfleet_billing.month_sums import MonthSums
from voxfleet_billing.pricing import Pricing

MAX_PROCESSES = 2
"""With this one they need some 200 MB; more would need more than 300 MB."""


@dataclass(frozen=True, slots=True)
class ArchivedMonth:
    """What the archive has of a month."""

    uri: str
    indexes: Sequence[MonthIndex]
    """One a Mac, by name."""
    idle_until: int
    """Milliseconds since 1970: what comes later is not idle yet."""


def manifest_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.manifest.json")


def write_export(
    month: ArchivedMonth,
    request: Request,
    out: Path,
    *,
    processes: int | None = None,
    seen: Callable[[MonthIndex], None] = lambda _: None,
) -> tuple[Tally, dict[str, object]]:
    """Writes `out` and its manifest, which it returns; the same ledger and price book give the same bytes.

    `processes`: None: as many as are of use. `seen` is told of each Mac whose lines are written. Raises Unbillable,
    Unpriced, NoMoney, ArchiveError, OSError; then an earlier file stays.
    """
    if processes is None:
        processes = processes_for(len(month.indexes), MAX_PROCESSES)
    with whole_csv(out, request.header()) as file:
        tally = _write_lines(file, month, request, processes, seen)
    facts = Export(
        request.period,
        request.form.value,
        request.lessor,
        None if request.book is None else request.book.digest,
        request.template_sha256,
        month.idle_until,
        request.voxfleet_version,
        out.name,
    )
    found = manifest(facts, month.indexes, file.written(), tally)
    write_text(manifest_path(out), json.dumps(found, indent=2) + "\n")
    return tally, found


def _write_lines(
    file: CsvFile, month: ArchivedMonth, request: Request, processes: int, seen: Callable[[MonthIndex], None]
) -> Tally:
    tally, sums, pricing = Tally(), MonthSums(), Pricing(request.book, request.period)
    with (
        _folder_for_parts(file) as folder,
        closing(_parts(month, request, pricing, folder, processes)) as parts,  # no process writes there any more
    ):
        for index, part in zip(month.indexes, parts, strict=True):
            file.append(part.file, part.lines)
            part.file.unlink()
            tally.include(part.tally)
            sums.include(part.sums)
            seen(index)
    if request.book is not None:
        file.add(request.lines(month_charges(request.period, request.book, pricing, sums), tally))
    return tally


@contextmanager
def _folder_for_parts(file: CsvFile) -> Iterator[Path]:
    """Beside the file, where there has to be room anyway. What a killed export left there is removed."""
    folder = file.folder / f".{file.name}.parts"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _parts(
    month: ArchivedMonth, request: Request, pricing: Pricing, folder: Path, processes: int
) -> Generator[MacPart, None, None]:
    """In the order of Macs; takes what they used from the commitments of `pricing`."""

    def task(number: int) -> PartTask:
        index, left = month.indexes[number], pricing.hours_left()
        return PartTask(month.uri, index, request, month.idle_until, left, folder / f"{number}.csv")

    with closing(of_each(write_mac, map(task, range(len(month.indexes))), processes)) as parts:
        for number, part in enumerate(parts):
            if pricing.use(part.used):
                yield part
                continue
            again = write_mac(task(number))
            if not pricing.use(again.used):
                raise AssertionError(f"Mac {month.indexes[number].mac} used more of a commitment than was left")
            yield again
