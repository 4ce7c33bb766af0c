"""Draws stored ladders as one picture. The only module that imports matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter

from voxfleet_agent.ladder import estimates, knees
from voxfleet_agent.ladder.ladder_book import short
from voxfleet_api.ladder_table import LadderTable, LadderTier

MAX_LADDERS = 8
"""The most ladders in one picture; more lines would be indistinguishable."""
SUFFIXES = (".png", ".svg")
GIB = 2**30
CAP_IN_SIGHT = 1.6
"""A cap above the highest peak by more than this factor would flatten the curve; it is named in words, not drawn."""
_GREY = "#767676"
# Distinguishable for colour-blind readers too.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5a4fcf", "#444444")
_KEY = (
    "ring: the batch size used; open point: over the memory cap; multiply-accumulates: estimated as parameters x"
    f" {estimates.FRAMES_PER_SECOND} frames a second of audio"
)


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    unit: str
    value: Callable[[LadderTable, LadderTier], float | None]
    in_large_numbers: bool
    """Formats ticks as 20 M and 1.5 G instead of plain numbers."""


_PANELS = (
    _Panel("Scratch read", "bytes a minute", lambda _, tier: estimates.scratch_bytes_per_minute(tier), True),
    _Panel("Multiply-accumulates (estimate)", "a second", estimates.multiply_accumulates_per_second, True),
    _Panel("Peak memory of the lane", "GiB", lambda _, tier: knees.memory_bytes(tier) / GIB, False),
    _Panel("p95 of a clip", "seconds", lambda _, tier: tier.clip_p95_milliseconds / 1000, False),
)
_MEMORY = _PANELS[2]


def draw(tables: Sequence[LadderTable], file: Path) -> None:
    """Writes a PNG or SVG with four panels over batch size x sample rate.

    Raises ValueError for another suffix, for no table or for more than MAX_LADDERS, and OSError when the file cannot be
    written.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{file} is neither .png nor .svg")
    if not 1 <= len(tables) <= MAX_LADDERS:
        raise ValueError(f"a picture shows 1 to {MAX_LADDERS} ladders, not {len(tables)}")
    with mpl.rc_context({"font.size": 9, "svg.hashsalt": "voxfleet"}):
        figure = Figure(figsize=(11, 8), layout="constrained")
        for axes, panel in zip(figure.subplots(2, 2).flat, _PANELS, strict=True):
            _fill(axes, panel, tables)
        _frame(figure, tables)
        figure.savefig(file, dpi=130, metadata={"Date": None} if file.suffix.lower() == ".svg" else None)


def _fill(axes: Axes, panel: _Panel, tables: Sequence[LadderTable]) -> None:
    axes.set_title(panel.title, loc="left", fontsize=10.5, fontweight="bold")
    axes.set_ylabel(panel.unit)
    axes.spines[["right", "top"]].set_visible(False)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    highest = max([_draw_one(axes, panel, table, colour) for table, colour in zip(tables, _COLOURS, strict=False)])
    if highest == 0:
        axes.annotate("not known for this model", (0.5, 0.5), xycoords="axes fraction", ha="center", color=_GREY)
        axes.set_yticks([])
    if panel is _MEMORY:
        highest = max(highest, _draw_caps(axes, tables, highest))
    axes.set_ylim(0, highest * 1.15 or 1)
    axes.yaxis.set_major_formatter(
        EngFormatter() if panel.in_large_numbers else FuncFormatter(lambda value, _: f"{value:g}")
    )
    _name_batch_sizes(axes, tables)


def _draw_one(axes: Axes, panel: _Panel, table: LadderTable, colour: str) -> float:
    """Draws one ladder; returns the height of its highest point, or 0 without points."""
    heights = [(tier, height) for tier in table.tiers if (height := panel.value(table, tier)) is not None]
    positions = [estimates.samples_at_once(table, tier) for tier, _ in heights]
    axes.plot(positions, [height for _, height in heights], color=colour, linewidth=1.8, zorder=2)
    for position, (tier, height) in zip(positions, heights, strict=True):
        fits = knees.memory_bytes(tier) <= table.memory_cap_bytes
        axes.plot(
            position, height, "o", markersize=5, color=colour, markerfacecolor=colour if fits else "white", zorder=3
        )
        if tier.batch_size == table.chosen:
            axes.plot(position, height, "o", markersize=13, color=colour, markerfacecolor="none", markeredgewidth=1.6)
    return max((height for _, height in heights), default=0.0)


def _draw_caps(axes: Axes, tables: Sequence[LadderTable], highest: float) -> float:
    """Draws the memory caps in range and names the others; returns the highest one drawn."""
    caps = sorted({table.memory_cap_bytes / GIB for table in tables})
    drawn = [cap for cap in caps if cap <= highest * CAP_IN_SIGHT]
    for cap in drawn:
        axes.axhline(cap, color=_GREY, linestyle="--", linewidth=1)
        axes.annotate(
            f"cap {cap:.3g} GiB", (0.01, cap), xycoords=("axes fraction", "data"), va="bottom", color=_GREY
        )  # fmt: skip
    beyond = ", ".join(f"{cap:.3g}" for cap in caps if cap not in drawn)
    if beyond:
        axes.annotate(
            f"cap {beyond} GiB, above this picture", (0.99, 0.03), xycoords="axes fraction", ha="right", color=_GREY
        )
    return max(drawn, default=0.0)


def _name_batch_sizes(axes: Axes, tables: Sequence[LadderTable]) -> None:
    axes.set_xlabel("batch size x sample rate")
    axes.xaxis.set_major_formatter(EngFormatter())
    rates_hz = {table.sample_rate_hz for table in tables}
    if len(rates_hz) == 1:
        (rate_hz,) = rates_hz
        sizes = sorted({tier.batch_size for table in tables for tier in table.tiers})
        axes.set_xticks(
            [size * rate_hz for size in sizes], [f"{size * rate_hz / 1000:g} k\n({size})" for size in sizes]
        )
        axes.set_xlabel("batch size x sample rate (batch size)")


def _frame(figure: Figure, tables: Sequence[LadderTable]) -> None:
    chips = {table.chip for table in tables}
    title = f"Batch sizes measured on {chips.pop()}" if len(chips) == 1 else "Batch sizes measured"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    lines = [Line2D([], [], color=colour, linewidth=1.8) for _, colour in zip(tables, _COLOURS, strict=False)]
    names = [
        f"model {short(table.model_digest)}, contract {short(table.contract_digest)}: {knees.explain(table)}"
        for table in tables
    ]
    figure.legend([*lines, Line2D([], [], linewidth=0)], [*names, _KEY], loc="outside lower left", frameon=False)
