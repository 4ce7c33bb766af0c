"""What is believed of an agent's refusal, by table."""

from __future__ import annotations

import pytest

from voxfleet_api.conditions import Reason
from voxfleet_operator.fleet.identity import MacRejected
from voxfleet_operator.fleet.refusals import LARGEST_EPOCH, LARGEST_EPOCH_STEP, check_held_epoch, retry_after_seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("0", 1.0),  # no hot loop
        ("30", 30.0),
        ("86400", 600.0),
        ("9" * 400, 600.0),
    ],
)
def test_a_wait_is_bounded(header: str, seconds: float | None) -> None:
    assert retry_after_seconds(header) == seconds


@pytest.mark.parametrize(("held", "sent"), [(4, 3), (3 + LARGEST_EPOCH_STEP, 3), (LARGEST_EPOCH, LARGEST_EPOCH - 1)])
def test_an_epoch_that_another_leader_may_have_had_is_believed(held: int, sent: int) -> None:
    assert check_held_epoch(held, sent) == held


@pytest.mark.parametrize(
    ("held", "sent"),
    [
        (2**31 - 2, 3),  # the next leader could not be written down
        (4 + LARGEST_EPOCH_STEP, 3),
        (LARGEST_EPOCH + 1, LARGEST_EPOCH),
        (10**4000, 3),
        (3, 3),  # then it would have taken ours
        (-1, 3),
        (None, 3),
    ],
)
def test_an_epoch_that_cannot_be_marks_the_mac(held: int | None, sent: int) -> None:
    with pytest.raises(MacRejected) as trouble:
        check_held_epoch(held, sent)
    assert trouble.value.reason is Reason.EPOCH_NOT_BELIEVED and len(trouble.value.message) < 300
