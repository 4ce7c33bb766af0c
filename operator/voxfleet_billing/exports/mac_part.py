"""A Mac's part of an export, in a file of its own. What a process of its own runs, so it imports little."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from voxfleet_billing.archive_format import MonthIndex
from voxfleet_billing.archive_reader import MacMonth
from voxfleet_billing.archive_store import opened
from voxfleet_billing.exports.csv_file import write_part
from voxfleet_billing.exports.request import Request
from voxfleet_billing.exports.tally import Tally
from voxfleet_billing.mac_charges import MacCharges
from voxfleet_billing.money import EXACT
from voxfleet_billing.month_sums import MonthSums
from voxfleet_billing.pricing import Hours


@dataclass(frozen=True, slots=True)
class PartTask:
    """One Mac. Passed to another process."""

    uri: str
    index: MonthIndex
    request: Request
    idle_until: int
    left: Hours
    """Of each commitment."""
    file: Path


@dataclass(frozen=True, slots=True)
class MacPart:
    """What was written, and what follows from it for the whole file."""

    file: Path
    lines: int
    tally: Tally
    sums: MonthSums
    used: Hours
    """Of each commitment."""


def write_mac(task: PartTask) -> MacPart:
    """Raises Unbillable, Unpriced, NoMoney, ArchiveError, OSError."""
    request, tally = task.request, Tally()
    month = MacMonth(opened(task.uri), task.index)
    macs = MacCharges(request.period, request.book, task.idle_until, task.left)
    lines = request.lines(macs.lines(task.index, month.rows(), month.settlements), tally)
    count = write_part(task.file, lines)
    left = macs.pricing.hours_left()
    used = {name: EXACT.subtract(before, left[name]) for name, before in task.left.items()}
    return MacPart(task.file, count, tally, macs.sums, used)
