"""Where the time of a call went, as the header Server-Timing (W3C) says it. Pure."""

from __future__ import annotations

from voxfleet_api.session_protocol import TurnMeasured

SERVER_TIMING = "Server-Timing"


def server_timing(measured: TurnMeasured) -> str:
    """In milliseconds."""
    parts = {
        "gateway": measured.gateway_milliseconds,
        "tunnel": measured.tunnel_milliseconds,
        "wait": measured.wait_milliseconds,
        "infer": measured.infer_milliseconds,
    }
    return ", ".join(f"{name};dur={milliseconds}" for name, milliseconds in parts.items())
