"""What requests of several endpoints of the protocol have in common: UIDs, JSON bodies, how long an order holds."""

from __future__ import annotations

import json
import re

from starlette.requests import Request

from voxfleet_agent.server.responses import RequestRefused
from voxfleet_api.order_age import GOOD_UNTIL_HEADER, ClockReading

UID = re.compile(r"[A-Za-z0-9-]{1,64}")


def good_until(request: Request) -> ClockReading | None:
    """Until when the order holds; None: its caller does not say. Raises RequestRefused (400)."""
    text = request.headers.get(GOOD_UNTIL_HEADER)
    if text is None:
        return None
    found = ClockReading.parse(text)
    if found is None:
        raise RequestRefused.of(400, f"header {GOOD_UNTIL_HEADER} is no time on this agent's clock")
    return found


def parse_json(content: bytes) -> object:
    """Raises RequestRefused (400)."""
    try:
        parsed: object = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RequestRefused.of(400, "the body is not JSON") from error
    return parsed
