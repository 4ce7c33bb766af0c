"""`voxfleet report`: which source tells a job's machine time by Mac."""

from __future__ import annotations

import pytest
from tests.unit.operator.decisions.job_objects import a_job

from voxfleet_api.kinds.job_status import JobUsage
from voxfleet_api.machine_time import MacTime
from voxfleet_cli.report.settled_time import time_of_now


def of_mac(mac: str | None, productive: int, rows: int = 3) -> MacTime:
    return MacTime(
        mac=mac, productive_milliseconds=productive, retry_milliseconds=0, overhead_milliseconds=0, rows=rows
    )


BOTH = (of_mac("mac-a", 4000), of_mac("mac-b", 1500))
EARLY = (of_mac("mac-a", 4000),)


@pytest.mark.parametrize(
    ("known", "archived", "told"),
    [
        (BOTH, (), BOTH),
        (EARLY, BOTH, BOTH),
        (EARLY, EARLY, (of_mac(None, 5500, 6),)),
        ((), (), (of_mac(None, 5500, 6),)),
    ],
)
def test_what_does_not_come_to_the_status_is_not_told(
    known: tuple[MacTime, ...], archived: tuple[MacTime, ...], told: tuple[MacTime, ...]
) -> None:
    job = a_job()
    usage = JobUsage(machine_seconds="5.500", productive_seconds="5.500", rows=6, settled=True)
    job = job.model_copy(update={"status": job.status.model_copy(update={"usage": usage})})
    found = time_of_now(job, (), known, archived)
    assert found.macs == told and found.open_attempts == 0
