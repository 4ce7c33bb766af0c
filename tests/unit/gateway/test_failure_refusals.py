from __future__ import annotations

import pytest

from voxfleet_api.failures import FailureClass
from voxfleet_gateway.failure_refusals import refusal_of_failure

pytestmark = pytest.mark.unit

RETRYABLE = {
    FailureClass.LANE_CRASHED,
    FailureClass.MEMORY_EXCEEDED,
    FailureClass.ACCESS_DENIED,
    FailureClass.INPUT_NOT_FOUND,
    FailureClass.TRANSPORT,
    FailureClass.MACHINE_LOST,
    FailureClass.MACHINE_RETURNED,
    FailureClass.RUNTIME_MISMATCH,
    FailureClass.SCRATCH_EXHAUSTED,
    FailureClass.GPU_ABORT_OUT_OF_MEMORY,
    FailureClass.GPU_ABORT_TIMEOUT,
    FailureClass.GPU_ABORT_INNOCENT_VICTIM,
    FailureClass.MODEL_UNAVAILABLE,
    FailureClass.MODEL_MISMATCH,
}


@pytest.mark.parametrize("failure_class", FailureClass)
def test_each_class_has_the_status_that_says_whether_to_try_again(failure_class: FailureClass) -> None:
    refusal = refusal_of_failure(failure_class, "the reason")
    if failure_class is FailureClass.THROTTLED:
        assert (refusal.status, refusal.retry_after_seconds) == (429, 1.0)
    elif failure_class in RETRYABLE:
        assert (refusal.status, refusal.retry_after_seconds) == (503, 1.0)
    else:
        assert (refusal.status, refusal.retry_after_seconds) == (422, None)
    assert refusal.message == f"{failure_class}: the reason"


def test_a_class_of_a_newer_agent_may_be_tried_again() -> None:
    refusal = refusal_of_failure("DiskOnFire", "", retry_after_seconds=7)
    assert (refusal.status, refusal.code, refusal.message) == (503, "disk_on_fire", "DiskOnFire")
    assert refusal.retry_after_seconds == 7


def test_an_error_is_written_as_openai_writes_it() -> None:
    assert refusal_of_failure("InvalidInput", "language: not known").error_object() == {
        "error": {
            "message": "InvalidInput: language: not known",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_input",
        }
    }
