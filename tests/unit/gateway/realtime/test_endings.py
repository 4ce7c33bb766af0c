"""Close codes: what a client may try again, and what would fail again."""

from __future__ import annotations

import pytest

from voxfleet_api.failures import FailureClass
from voxfleet_api.session_protocol import Ended
from voxfleet_gateway.realtime.endings import Ending, lane_ended, refused
from voxfleet_gateway.refusals import CallRefused


@pytest.mark.parametrize(
    ("failure_class", "close_code"),
    [
        (FailureClass.TRANSPORT, 1013),
        (FailureClass.MACHINE_RETURNED, 1013),
        (FailureClass.LANE_CRASHED, 1013),
        (FailureClass.THROTTLED, 1013),
        ("ClassOfANewerAgent", 1013),
        (FailureClass.INVALID_INPUT, 1008),
        (FailureClass.CONTRACT_VIOLATION, 1008),
    ],
)
def test_a_lane_that_fails(failure_class: str, close_code: int) -> None:
    ending = lane_ended(Ended(failure_class=failure_class, reason="because"), asked_for=True)
    assert ending.close_code == close_code and ending.retryable is (close_code == 1013)
    assert "because" in ending.message


@pytest.mark.parametrize(("status", "close_code"), [(404, 1008), (422, 1008), (429, 1013), (500, 1011), (503, 1013)])
def test_a_refusal_after_the_upgrade(status: int, close_code: int) -> None:
    ending = refused(CallRefused(status, "some_code", "why", param="model"))
    assert (ending.close_code, ending.code, ending.param) == (close_code, "some_code", "model")
    assert ending.retryable is (close_code == 1013)


def test_a_reason_fits_a_close_frame_and_stays_text() -> None:
    reason = Ending(1008, "code", "ü" * 100).close_reason
    assert len(reason) <= 123 and reason.decode() == "ü" * 61
