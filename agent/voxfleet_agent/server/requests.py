"""What requests of several endpoints of the protocol have in common: UIDs, JSON bodies, how long an order holds."""

from __future__ import annotations

import json
import re

from starlette.requests import HTTPConnection, Request

from voxfleet_agent.server.responses import RequestRefused, whole_number
from voxfleet_api.endpoint_lanes import LaneKey
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


def lane_key(request: HTTPConnection) -> LaneKey:
    """The lane that the path names. Raises RequestRefused (400)."""
    endpoint_uid, generation = request.path_params["endpoint_uid"], request.path_params["generation"]
    if not UID.fullmatch(endpoint_uid):
        raise RequestRefused.of(400, "the endpoint's UID in the path is not a UID")
    return LaneKey(endpoint_uid, whole_number(generation, "the generation in the path", least=1, most=2**53, default=0))


def parse_json(content: bytes) -> object:
    """Raises RequestRefused (400)."""
    try:
        parsed: object = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RequestRefused.of(400, "the body is not JSON") from error
    return parsed
