"""The placeholders in the addresses of a job template. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class UnknownPlaceholder(ValueError):
    """An address has braces that stand for nothing; the message lists what is known."""


def placeholders(slot: datetime, zone: ZoneInfo) -> Mapping[str, str]:
    """What stands for each placeholder, as the clock of the zone shows the slot.

    The offset tells apart the two slots that a clock shows alike when it is put back.
    """
    local = slot.astimezone(zone)
    seconds = f"{local:%S}" if local.second else ""
    return {
        "date": f"{local:%Y-%m-%d}",
        "slot": f"{local:%Y%m%dT%H%M}{seconds}{local:%z}",
        "yesterday": f"{local.date() - timedelta(days=1):%Y-%m-%d}",
    }


def filled_in(template: str, values: Mapping[str, str]) -> str:
    """Raises UnknownPlaceholder."""

    def part(match: re.Match[str]) -> str:
        text = match[0]
        if text in ("{{", "}}"):
            return text[0]
        value = None if match[1] is None else values.get(match[1])
        if value is None:
            known = ", ".join(f"{{{name}}}" for name in sorted(values))
            raise UnknownPlaceholder(
                f"{template}: {text} stands for nothing; write one of {known}, or {{{{ for a brace"
            )
        return value

    return _PART.sub(part, template)
