"""When an attempt's machine time is known in full."""

from __future__ import annotations

import pytest

from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, AttemptUsage, JobRef, Stage
from voxfleet_api.protocol import AttemptState, AttemptStatus
from voxfleet_operator.metering.usage import NO_ROWS, attempt_usage

SUM = AttemptUsage(chain_id="c", first_sequence=3, last_sequence=4, rows=2, work_milliseconds=900)
WHOLE = SUM.model_copy(update={"complete": True})


def report(state: AttemptState) -> AttemptStatus:
    return AttemptStatus(
        shard_uid="s",
        attempt=1,
        spec_digest="sha256:0",
        control_plane="cp",
        namespace="team",
        job=JobRef(name="job", uid="job-uid"),
        shard_name="job-00000",
        stage=Stage.PROCESS,
        state=state,
    )


@pytest.mark.parametrize(
    ("outcome", "state", "verified", "expecting", "found"),
    [
        pytest.param(AttemptOutcome.REFUSED, None, None, True, NO_ROWS, id="refused and unknown there: never ran"),
        pytest.param(AttemptOutcome.REFUSED, None, None, False, NO_ROWS, id="refused, and then out of contact"),
        pytest.param(AttemptOutcome.REFUSED, AttemptState.DELETING, SUM, True, None, id="refused after it had run"),
        pytest.param(AttemptOutcome.REFUSED, AttemptState.DELETING, SUM, False, SUM, id="so far, out of contact"),
        pytest.param(AttemptOutcome.REFUSED, None, SUM, True, WHOLE, id="deleted there: all rows came first"),
        pytest.param(AttemptOutcome.LOST, None, SUM, False, SUM, id="lost: more rows may come"),
        pytest.param(AttemptOutcome.LOST, AttemptState.PARKED, SUM, True, None, id="back, not yet deleted"),
    ],
)
def test_usage_is_complete_only_when_no_row_can_come(
    outcome: AttemptOutcome,
    state: AttemptState | None,
    verified: AttemptUsage | None,
    expecting: bool,
    found: AttemptUsage | None,
) -> None:
    record = AttemptRecord(attempt=1, mac="mac-a", outcome=outcome)
    seen = None if state is None else report(state)
    assert attempt_usage(record, seen, verified, expecting=expecting) == found
