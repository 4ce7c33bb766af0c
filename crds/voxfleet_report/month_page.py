"""The report of a fleet's month. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import htpy as h

from voxfleet_api.quantities import hours_text
from voxfleet_report import figures
from voxfleet_report.charts import Bar, columns
from voxfleet_report.month_report import BudgetLine, MonthReport, Part, Times
from voxfleet_report.page import Cell, Column, Figure, name, note, page, section, table, tiles, verdict

CLASSES = (
    ("productive", "productive"),
    ("retry", "retry"),
    ("overhead", "overhead"),
    ("orphaned", "orphaned"),
    ("idle", "idle"),
)
MAX_PARTS = 50
WORST_MACS = 20


def month_page(report: MonthReport) -> str:
    return page(
        f"Machine-hours of {report.month}",
        [
            h.header[h.h1[f"Machine-hours of {report.month}"], [note(told) for told in report.notes]],
            _summary(report),
            _nights(report),
            _budgets(report.budgets),
            _payers(report.payers),
            _worst_macs(report.macs),
            _sources(report),
        ],
    )


def _summary(report: MonthReport) -> h.Element:
    times = report.whole.times
    return section(
        "Summary",
        tiles(
            [
                ("machine-hours", _hours("machineMilliseconds", times.machine)),
                *((label, _hours(f"{kind}Milliseconds", getattr(times, kind))) for kind, label in CLASSES),
                ("estimated, not charged", _hours("estimatedMilliseconds", report.whole.estimated)),
                ("of it corrections", _hours("correctionMilliseconds", report.corrections)),
                ("audio hours", _hours("audioMilliseconds", report.audio)),
                ("clips", Figure("clips", report.clips, figures.count(report.clips))),
                ("signed rows", Figure("rows", report.rows, figures.count(report.rows))),
                *(
                    (f"cost in {currency}", Figure(f"cost.{currency}", amount, amount))
                    for currency, amount in report.whole.costs
                ),
            ]
        ),
        note("Hours of a lane; idle: hours of a rented Mac without a lane held. Currencies are never converted."),
        note(f"{figures.count(report.unpriced_lines)} lines have no price.") if report.unpriced_lines else None,
    )


def _nights(report: MonthReport) -> h.Element:
    bars = [Bar(part.name[-2:], _segments(part.times)) for part in report.nights]
    return section(
        "By night",
        columns("chart-nights", "Hours by night", CLASSES, bars, hours_text),
        _parts("Hours of each night", "Night", "night", report.nights, total=report.whole),
        note("What is charged by the month, such as fees and the rounding of an invoice, stands in its first night."),
    )


def _payers(payers: Sequence[Part]) -> h.Element | None:
    if not payers:
        return None
    return section(
        "Who used it",
        _parts("Those that used most, first", "Team, or namespace and billing key", "payer", payers[:MAX_PARTS]),
        note("Cost of signed rows alone; ", h.code["voxfleet bill show --by team"], " shares fees out, too."),
        _left_out(len(payers) - MAX_PARTS, "voxfleet bill show --by team"),
    )


def _worst_macs(macs: Sequence[Part]) -> h.Element | None:
    if not macs:
        return None
    worst = sorted(macs, key=_badness)[:WORST_MACS]
    return section(
        "Worst Macs",
        _parts("Most time lost to retries first, then most idle time", "Mac", "mac", worst),
        _left_out(len(macs) - WORST_MACS, "voxfleet bill show --by mac"),
    )


def _badness(mac: Part) -> tuple[int, int, str]:
    return (-(mac.times.retry + mac.estimated), -mac.times.idle, mac.name)


def _left_out(left: int, command: str) -> h.Element | None:
    return note(f"{figures.count(left)} more: ", h.code[command], ".") if left > 0 else None


def _budgets(budgets: Sequence[BudgetLine]) -> h.Element | None:
    if not budgets:
        return None
    rows: list[Sequence[Cell]] = [
        (
            name(budget.name),
            _hours(f"budget.{budget.name}.usedMilliseconds", budget.used),
            hours_text(budget.limit),
            Figure(f"budget.{budget.name}.percent", budget.percent, f"{budget.percent} %"),
            budget.policy,
            verdict(kept=budget.used < budget.limit, text="kept" if budget.used < budget.limit else "used up"),
        )
        for budget in budgets
    ]
    heads = (
        Column("Budget"),
        Column("Used h", number=True),
        Column("Of h", number=True),
        Column("Share", number=True),
        Column("At 100 %"),
        Column("Verdict"),
    )
    return section("Budgets", table("Machine-hours of the month", heads, rows))


def _parts(caption: str, heading: str, key: str, parts: Sequence[Part], total: Part | None = None) -> h.Element:
    heads = [
        Column(heading),
        Column("machine h", number=True),
        *(Column(f"{label} h", number=True) for _, label in CLASSES),
        Column("Cost", long=True),
    ]
    return table(
        caption,
        heads,
        [_row(f"{key}.{part.name}", part) for part in parts],
        None if total is None else _row("all", total),
    )


def _row(key: str, part: Part) -> Sequence[Cell]:
    return (
        name(part.name),
        _hours(f"{key}.machineMilliseconds", part.times.machine),
        *(_hours(f"{key}.{kind}Milliseconds", getattr(part.times, kind)) for kind, _ in CLASSES),
        " + ".join(f"{amount} {currency}" for currency, amount in part.costs) or "–",
    )


def _segments(times: Times) -> tuple[int, ...]:
    return tuple(int(getattr(times, kind)) for kind, _ in CLASSES)


def _hours(key: str, milliseconds: int, text: Callable[[int], str] = hours_text) -> Figure:
    return Figure(key, milliseconds, text(milliseconds))


def _sources(report: MonthReport) -> h.Element:
    return section(
        "Where this comes from",
        note(
            "The signed rows of the ledger archive. ",
            h.code["voxfleet bill verify"],
            " proves them, and ",
            h.code["voxfleet bill dispute"],
            " says everything of one.",
        ),
        note("Price book: ", h.code[report.price_book_digest]) if report.price_book_digest else None,
    )
