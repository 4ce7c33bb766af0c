"""The lines of a job, as its report sums them up: the same as the bill by job has."""

from __future__ import annotations

from decimal import Decimal

from tests.rig.reports import job_report
from tests.unit.billing.test_bill_totals import LINES, usage

from voxfleet_api.machine_time import MAX_MACS, MacTime
from voxfleet_billing.bill_totals import By, bill_totals
from voxfleet_billing.charge import ChargeKind
from voxfleet_billing.job_time import job_lines
from voxfleet_report.job_page import job_page

UID = "job-uid"


def test_a_job_has_its_lines_alone_and_their_cost() -> None:
    of_job = [
        usage(owner_uid=UID),
        usage("mac-02", owner_uid=UID, time_class="Retry", money=None),
        usage("mac-02", owner_uid=UID, kind=ChargeKind.MINIMUM, milliseconds=0),
    ]
    found = job_lines([*LINES, *of_job], UID)
    assert [(time.mac, time.productive_milliseconds, time.retry_milliseconds) for time in found.macs] == [
        ("mac-01", 3_600_000, 0),
        ("mac-02", 0, 3_600_000),
    ]
    assert found.costs == (("EUR", Decimal("3.60")),) and found.unpriced == 1
    [shown] = bill_totals(of_job, By.JOB).groups.values()
    assert dict(found.costs) == shown.costs and sum(time.machine_milliseconds for time in found.macs) == shown.machine


def test_macs_beyond_those_that_are_named_are_one() -> None:
    found = job_lines([usage(f"mac-{number:03}", owner_uid=UID) for number in range(MAX_MACS + 3)], UID)
    assert len(found.macs) == MAX_MACS + 1 and found.macs[-1] == MacTime(
        productive_milliseconds=3 * 3_600_000, retry_milliseconds=0, overhead_milliseconds=0, rows=3
    )


def test_a_report_shows_a_cost_only_where_it_is_known() -> None:
    page = job_page(job_report(), costs=[("EUR", "12.5")])
    assert 'data-figure="cost.EUR" data-value="12.5"' in page and "cost in EUR" in page
    assert "cost" not in job_page(job_report())
