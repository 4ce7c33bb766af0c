"""When an attempt's machine time is known in full."""

from __future__ import annotations

import pytest
from tests.unit.operator.decisions.job_objects import a_job, a_shard

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.audio_shard import AttemptUsage, JobRef, Stage
from voxfleet_api.protocol import AttemptState, AttemptStatus
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.metering.usage import NO_ROWS, attempt_usage
from voxfleet_operator.reconcile.shard.decide import usage_of

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
    ("state", "verified", "expecting", "found"),
    [
        pytest.param(None, None, True, NO_ROWS, id="unknown there, and no row: never ran"),
        pytest.param(None, None, False, None, id="out of contact, as all Macs are to a new process"),
        pytest.param(AttemptState.DELETING, SUM, True, None, id="deleted after it had run"),
        pytest.param(AttemptState.DELETING, SUM, False, SUM, id="so far, out of contact"),
        pytest.param(None, SUM, True, WHOLE, id="deleted there: all rows came first"),
        pytest.param(None, SUM, False, SUM, id="lost: more rows may come"),
        pytest.param(AttemptState.PARKED, SUM, True, None, id="back, not yet deleted"),
    ],
)
def test_usage_is_complete_only_when_no_row_can_come(
    state: AttemptState | None, verified: AttemptUsage | None, expecting: bool, found: AttemptUsage | None
) -> None:
    seen = None if state is None else report(state)
    assert attempt_usage(seen, verified, expecting=expecting) == found


@pytest.mark.parametrize("rows_left", [False, True])
def test_an_attempt_that_is_gone_is_not_complete_while_rows_of_its_mac_are_not_read(rows_left: bool) -> None:
    """There is no room for them while the ledger archive is down."""
    record = {"attempt": 1, "mac": "mac-a", "outcome": "Lost"}
    shard = a_shard(a_job(), Stage.PROCESS, 0, attempt=1, attempts=[record])
    usage = {AttemptKey(shard.metadata.uid, 1): SUM}
    view = MacView(
        "mac-a", connected=True, reason=Reason.CONNECTED, message="connected", usage=usage, rows_left=rows_left
    )
    assert usage_of(shard, shard.status.attempts[0], view) == (None if rows_left else WHOLE)
