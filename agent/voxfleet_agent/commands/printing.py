"""Prints tables: as wide as a terminal is, and whole where a file or another program reads them."""

from __future__ import annotations

from rich.console import Console, RenderableType

_UNBOUNDED = 100_000


def console(least_width: int = 0) -> Console:
    """For standard output. `least_width`: of tables that make no sense when they are narrower."""
    found = Console(markup=False, highlight=False, soft_wrap=least_width > 0)
    found.width = max(found.width, least_width) if found.is_terminal else _UNBOUNDED
    return found


def show(*shown: RenderableType) -> None:
    out = console()
    for item in shown:
        out.print(item)
