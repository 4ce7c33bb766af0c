"""Whether a machine has passed its acceptance, and which job may run on one that has not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import mac_agent
from tests.unit.operator.decisions.placement_objects import NIGHT, a_job, a_mac, a_shard, placed, run
from tests.unit.operator.golden.mac_states import CONNECTED, FAILED_LINES, PASSED, SILENT

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.audio_shard import MachineIdentity, Stage
from voxfleet_api.taints import Toleration, TolerationOperator
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.placement import filters
from voxfleet_operator.placement.snapshot import MacSlot, PlacementJob
from voxfleet_operator.reconcile.mac.acceptance import acceptance_passed, awaits_acceptance

KEY = str(PASSED["ledgerPublicKey"])
SAME = MachineIdentity(hardware_id=str(PASSED["hardwareId"]), ledger_key=KEY)
FAILED = {**PASSED, "passed": False, "lines": FAILED_LINES}
CASES: dict[str, tuple[dict[str, object], MacView, bool | None, Reason]] = {
    "required, not tried": ({}, CONNECTED, False, Reason.AWAITS_ACCEPTANCE),
    "passed": ({"acceptance": PASSED}, CONNECTED, True, Reason.ACCEPTANCE_PASSED),
    "failed": ({"acceptance": FAILED}, CONNECTED, False, Reason.ACCEPTANCE_FAILED),
    "out of contact, known from before": (
        {"acceptance": PASSED},
        replace(SILENT, identity=SAME),
        True,
        Reason.ACCEPTANCE_PASSED,
    ),
    "never in contact": ({"acceptance": PASSED}, SILENT, None, Reason.UNKNOWN),
    "another machine proved itself": (
        {"acceptance": PASSED},
        replace(CONNECTED, identity=MachineIdentity(hardware_id="other", ledger_key=KEY)),
        False,
        Reason.OTHER_MACHINE_ACCEPTED,
    ),
    "another machine, although the facts are still the old one's": (
        {"acceptance": PASSED},
        replace(CONNECTED, identity=MachineIdentity(hardware_id="other", ledger_key=KEY), connected=False),
        False,
        Reason.OTHER_MACHINE_ACCEPTED,
    ),
    "another ledger key": (
        {"acceptance": PASSED, "ledgerPublicKey": "B" * 43 + "="},
        CONNECTED,
        False,
        Reason.OTHER_MACHINE_ACCEPTED,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_counts_as_accepted(name: str) -> None:
    spec, view, status, reason = CASES[name]
    mac = MacAgent.load(mac_agent("mac-a", requireAcceptance=True, **spec))
    found = acceptance_passed(mac, view)
    assert found is not None and (found.status, found.reason) == (status, reason)
    kept_off = awaits_acceptance(mac, view)
    assert (kept_off is None) == (status is True)
    assert kept_off is None or kept_off.reason is Reason.AWAITS_ACCEPTANCE


@pytest.mark.parametrize("name", CASES)
def test_a_mac_that_requires_none_is_kept_from_nothing(name: str) -> None:
    spec, view, _, reason = CASES[name]
    mac = MacAgent.load(mac_agent("mac-a", **spec))
    assert awaits_acceptance(mac, view) is None
    found = acceptance_passed(mac, view)
    assert found is None if "acceptance" not in spec else found is not None and found.reason is reason


def test_the_sentence_says_which_line_failed_and_what_to_do() -> None:
    found = acceptance_passed(MacAgent.load(mac_agent("mac-a", acceptance=FAILED)), CONNECTED)
    assert found is not None
    assert found.message == (
        "MachineHours: 1 s, allowed: 2 s; mend it, then voxfleet accept -f JOB --mac mac-a --baseline DIR"
    )


UNACCEPTED = a_mac("mac-a", unaccepted=filters.UNACCEPTED, tried_by="trial")
ELSEWHERE = a_mac("mac-b")
TRIAL = a_job("trial", uid="trial", tries_mac_as="trial")
OTHER_TRIAL = a_job("other", uid="other", tries_mac_as="other")


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize(
    ("job", "macs", "where"),
    [
        (TRIAL, [UNACCEPTED, ELSEWHERE], "mac-a"),
        (TRIAL, [ELSEWHERE], None),
        (OTHER_TRIAL, [UNACCEPTED, ELSEWHERE], None),
        (a_job(), [UNACCEPTED], None),
        (a_job(), [UNACCEPTED, ELSEWHERE], "mac-b"),
        (TRIAL, [a_mac("mac-a", tried_by="trial")], "mac-a"),
        (TRIAL, [a_mac("mac-a", tried_by="trial", unavailable=filters.DRAINING)], None),
        (TRIAL, [a_mac("mac-a", tried_by="trial", taints=NIGHT)], None),
        (
            a_job(
                "trial",
                uid="trial",
                tries_mac_as="trial",
                tolerations=(Toleration(operator=TolerationOperator.EXISTS),),
            ),
            [a_mac("mac-a", tried_by="trial", taints=NIGHT, unaccepted=filters.UNACCEPTED)],
            "mac-a",
        ),
    ],
)
def test_where_the_job_that_tries_a_mac_runs(
    stage: Stage, job: PlacementJob, macs: list[MacSlot], where: str | None
) -> None:
    shard = a_shard(job, stage=stage)
    assert placed(run([shard], macs)) == ({} if where is None else {shard.uid: where})


@given(
    st.lists(st.tuples(st.sampled_from([None, "a", "b"]), st.booleans()), max_size=5),
    st.lists(st.sampled_from([None, "a", "b"]), min_size=1, max_size=5),
)
def test_nothing_else_runs_on_a_mac_that_awaits_acceptance(
    macs: list[tuple[str | None, bool]], jobs: list[str | None]
) -> None:
    slots = {
        f"mac-{number}": a_mac(
            f"mac-{number}", tried_by=tried_by, unaccepted=filters.UNACCEPTED if required else None, free_lanes=2
        )
        for number, (tried_by, required) in enumerate(macs)
    }
    shards = {
        shard.uid: shard
        for number, uid in enumerate(jobs)
        for shard in [a_shard(a_job(f"job-{number}", uid=uid or f"uid-{number}", tries_mac_as=uid))]
    }
    for shard_uid, mac in placed(run([*shards.values()], [*slots.values()])).items():
        needs, traits = shards[shard_uid].job.needs, slots[mac].traits
        if needs.tries_mac_as is None:
            assert traits.unaccepted is None
        else:
            assert traits.tried_by == needs.tries_mac_as
