"""Where the time of a call went, as the header Server-Timing (W3C) says it. Pure."""

from __future__ import annotations

from voxfleet_api.session_protocol import TurnMeasured

SERVER_TIMING = "Server-Timing"


def server_timing(measured: TurnMeasured, *, knows_infer: bool = True) -> str:
    """In milliseconds. Where inference is not known yet, nor is what was waited beside it."""
    parts = {"gateway": measured.gateway_milliseconds, "tunnel": measured.tunnel_milliseconds}
    if knows_infer:
        parts |= {"wait": measured.wait_milliseconds, "infer": measured.infer_milliseconds}
    return ", ".join(f"{name};dur={milliseconds}" for name, milliseconds in parts.items())
