"""Machine-hours of a job by Mac and class. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import htpy as h

from voxfleet_api.machine_time import MachineTime, MacTime
from voxfleet_api.quantities import hours_text, seconds_text
from voxfleet_report import figures
from voxfleet_report.charts import Bar, stacked_bars
from voxfleet_report.page import Cell, Column, Figure, figure, name, note, paragraph, section, table, verdict

CLASSES = (("productive", "productive"), ("retry", "retry"), ("overhead", "overhead"))
MAX_BARS = 16


Costs = Sequence[tuple[str, str]]
"""Currency and exact amount."""


def machine_tiles(found: MachineTime | None, costs: Costs) -> Iterator[tuple[str, Figure | None]]:
    total = 0 if found is None else sum(mac.machine_milliseconds for mac in found.macs)
    yield (
        "machine-hours",
        None if found is None else Figure("usage.machineSeconds", seconds_text(total), hours_text(total)),
    )
    for currency, amount in costs:
        yield f"cost in {currency}", Figure(f"cost.{currency}", amount, amount)


def machine_time_section(found: MachineTime | None) -> h.Element:
    title = "Machine-hours"
    if found is None:
        return section(title, note("This run was not on a fleet: its time is not metered, and nobody is billed."))
    columns = (
        Column("Mac"),
        *(Column(f"{kind_name} s", number=True) for _, kind_name in CLASSES),
        Column("all s", number=True),
        Column("Rows", number=True),
    )
    bars = [
        Bar(_mac(mac), (mac.productive_milliseconds, mac.retry_milliseconds, mac.overhead_milliseconds))
        for mac in found.macs[:MAX_BARS]
    ]
    return section(
        title,
        h.p[_settled(found)],
        table(
            "Seconds that lanes were held, by Mac and by what they were good for",
            columns,
            [_row(_mac(mac), f"mac.{_mac(mac)}", mac) for mac in found.macs],
            _row("all", "usage", _sum(found)),
        ),
        paragraph("Audio of the clips that these attempts processed: ", figure(_audio(found)), "."),
        stacked_bars("chart-machine-hours", "Machine-hours by Mac", CLASSES, bars, hours_text) if bars else None,
        note(f"The chart shows the {MAX_BARS} that used most.") if len(found.macs) > MAX_BARS else None,
    )


def _audio(found: MachineTime) -> Figure:
    text = figures.duration(found.audio_milliseconds)
    return Figure("usage.audioSeconds", seconds_text(found.audio_milliseconds), text)


def _settled(found: MachineTime) -> h.Element:
    if found.open_attempts:
        return verdict(
            kept=None,
            text=f"Not settled yet: rows of {figures.count(found.open_attempts)}"
            f" {'attempt' if found.open_attempts == 1 else 'attempts'} are still expected, so that these sums grow."
            " voxfleet report gives the report with the sums of now.",
        )
    if found.unverified_attempts:
        return verdict(
            kept=False,
            text=f"Settled, but for {figures.count(found.unverified_attempts)}"
            f" {'attempt' if found.unverified_attempts == 1 else 'attempts'} of which rows may be missing, because"
            " their Macs stayed away.",
        )
    return verdict(kept=True, text="Settled: every attempt has ended, and its rows are verified.")


def _row(label: str, key: str, mac: MacTime) -> Sequence[Cell]:
    values = {
        "productiveSeconds": mac.productive_milliseconds,
        "retrySeconds": mac.retry_milliseconds,
        "overheadSeconds": mac.overhead_milliseconds,
        "machineSeconds": mac.machine_milliseconds,
    }
    return (
        name(label),
        *(Figure(f"{key}.{unit}", seconds_text(value), seconds_text(value)) for unit, value in values.items()),
        Figure(f"{key}.rows", mac.rows, figures.count(mac.rows)),
    )


def _mac(mac: MacTime) -> str:
    return mac.mac if mac.mac is not None else "not told by Mac"


def _sum(found: MachineTime) -> MacTime:
    return MacTime(
        productive_milliseconds=sum(mac.productive_milliseconds for mac in found.macs),
        retry_milliseconds=sum(mac.retry_milliseconds for mac in found.macs),
        overhead_milliseconds=sum(mac.overhead_milliseconds for mac in found.macs),
        rows=sum(mac.rows for mac in found.macs),
    )
