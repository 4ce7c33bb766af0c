from __future__ import annotations

import pytest
from tests.rig.fake_lane_session import FakeLaneSession

from voxfleet_api.session_protocol import OpenUpload
from voxfleet_gateway.http_api.transcript_output import UploadTimes

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("asked_seconds", "gateway_milliseconds", "tunnel_milliseconds"),
    [
        (9.0, 30, 4),  # the file was on its way before its end: that was passed on 20 ms later
        (10.01, 20, 20),  # the session was opened after the last byte: it took more round trips
    ],
)
async def test_opening_a_session_is_no_time_of_the_gateway(
    asked_seconds: float, gateway_milliseconds: int, tunnel_milliseconds: int
) -> None:
    session = FakeLaneSession(OpenUpload(max_bytes=1), 16_000)
    times = UploadTimes(lambda: 10.51, session, 10.0, asked_seconds, sent_seconds=10.02)
    measured = times.measured(told_seconds=10.5, infer_milliseconds=100)
    assert (measured.total_milliseconds, measured.infer_milliseconds) == (510, 100)
    assert measured.gateway_milliseconds == gateway_milliseconds
    assert measured.tunnel_milliseconds == tunnel_milliseconds
