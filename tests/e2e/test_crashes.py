"""Agent and operator die at crash points; no clip is lost, none is counted twice, no attempt runs twice."""

from __future__ import annotations

import psutil
import pytest
from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import EXPECTED, Fleet, wait_for_processes_to_end

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_shard import AttemptOutcome, Stage
from voxfleet_api.protocol import AttemptList

CLIPS = [*EXPECTED][:12]
CRASH_EXIT_CODE = 70


def assert_whole(fleet: Fleet, job: AudioBatchJob) -> None:
    assert is_true(job.status.conditions, ConditionType.COMPLETE), fleet.explain()
    fleet.assert_nothing_lost_or_doubled(job, len(CLIPS))


def assert_one_attempt_each(fleet: Fleet, name: str) -> None:
    assert {shard.metadata.name: shard.status.attempt for shard in fleet.shards(name)} == {
        shard.metadata.name: 1 for shard in fleet.shards(name)
    }


AGENT_EDGES = (
    "plan-uploaded",
    "row-sealed",
    "base-frozen",
    "reserved",
    "row-recorded@3",
    "part-frozen",
    "part-uploaded",
    "part-marked",
    "run-uploaded",
    "commit-uploaded",
    "outcome-recorded",
    "index-uploaded",
)
"""The crash points in the order in which a job reaches them; each restart of the agent reaches the next one."""


def test_an_agent_that_dies_at_each_crash_point_finishes_the_same_attempts(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(macs=1)
    fleet.start()
    mac = fleet.macs[0]
    mac.agent.stop()
    mac.restart_agent({"VOXFLEET_CRASH_AT": AGENT_EDGES[0]})
    fleet.submit("job", CLIPS)
    for edge, following in zip(AGENT_EDGES, [*AGENT_EDGES[1:], None], strict=True):
        children: set[psutil.Process] = set()

        def crashed(children: set[psutil.Process] = children) -> bool:
            children.update(mac.agent.descendants())
            return not mac.agent.running

        fleet.wait_for(f"the agent crashed at {edge}", crashed)
        assert mac.agent.exit_code == CRASH_EXIT_CODE
        wait_for_processes_to_end(children)
        mac.restart_agent({"VOXFLEET_CRASH_AT": following} if following else None)
    assert_whole(fleet, fleet.wait_for_end("job"))
    assert_one_attempt_each(fleet, "job")


def test_a_mac_that_is_gone_for_good_is_replaced(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(lost_after="30s")
    fleet.start()
    fleet.submit("job", CLIPS)
    by_name = {mac.name: mac for mac in fleet.macs}

    def working_mac() -> str | None:
        return next(
            (
                shard.status.mac
                for shard in fleet.shards("job")
                if shard.spec.stage is Stage.PROCESS and shard.status.attempt == 1 and shard.status.commit is None
            ),
            None,
        )

    fleet.wait_for("a Mac works on a shard", lambda: working_mac() is not None)
    name = working_mac()
    assert name is not None
    lost = by_name[name]
    wait_for_processes_to_end(lost.kill_agent())
    job = fleet.wait_for_end("job", settled=False)
    assert_survivors_finished(fleet, job, name)


def assert_survivors_finished(fleet: Fleet, job: AudioBatchJob, lost: str) -> None:
    assert is_true(job.status.conditions, ConditionType.COMPLETE), fleet.explain()
    rows = fleet.rows(job)
    assert [row.index for row in rows] == list(range(len(CLIPS)))
    records = [record for shard in fleet.shards("job") for record in shard.status.attempts]
    assert {record.mac for record in records if record.outcome is AttemptOutcome.LOST} == {lost}
    for shard in fleet.shards("job"):
        finished = [record for record in shard.status.attempts if record.outcome is AttemptOutcome.SUCCEEDED]
        assert len(finished) == 1 and shard.status.commit is not None
        assert finished[0].attempt == shard.status.commit.attempt == shard.status.attempt
    survivors = [mac for mac in fleet.macs if mac.name != lost]
    assert [path for mac in survivors for path in mac.scratch.rglob("*") if not path.is_dir()] == []


@pytest.mark.parametrize(
    ("edges", "over_https"),
    [
        pytest.param(
            ("finalizer-added", "put-answered", "plan-recorded", "shard-created@2", "assigned"),
            (),
            id="until work begins",
        ),
        pytest.param(
            ("assigned@2", "put-answered@2", "commit-seen", "finalize-committed"),
            (0, 1),
            id="while work is done over HTTPS",
        ),
    ],
)
def test_an_operator_that_dies_at_each_crash_point_loses_and_repeats_nothing(
    make_fleet: MakeFleet, edges: tuple[str, ...], over_https: tuple[int, ...]
) -> None:
    """`assigned` lies between the status write and the call, `put-answered` after the agent's answer.

    `assigned` comes last: another worker may see the status and make the call, and the plan then ends meanwhile.
    """
    fleet = make_fleet(macs=2, over_https=over_https)
    fleet.start(operator_env={"VOXFLEET_CRASH_AT": edges[0]})
    fleet.submit("job", CLIPS)
    for edge, following in zip(edges, [*edges[1:], None], strict=True):
        fleet.wait_for(f"the operator crashed at {edge}", lambda: not fleet.operator.child.running)
        assert fleet.operator.child.exit_code == CRASH_EXIT_CODE
        fleet.restart_operator({"VOXFLEET_CRASH_AT": following} if following else None)
    assert_whole(fleet, fleet.wait_for_end("job"))
    assert_one_attempt_each(fleet, "job")


def test_an_operator_that_dies_while_it_deletes_finishes_after_its_restart(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(macs=1)
    fleet.start(operator_env={"VOXFLEET_CRASH_AT": "delete-answered"})
    fleet.submit("job", CLIPS)
    fleet.wait_for_end("job")
    fleet.control_plane.kubectl("delete", "abj", "job", "-n", fleet.namespace, "--wait=false")
    fleet.wait_for("the operator crashed after the agent's answer", lambda: not fleet.operator.child.running)
    assert fleet.operator.child.exit_code == CRASH_EXIT_CODE
    fleet.restart_operator()
    fleet.control_plane.kubectl(
        "wait", "--for=delete", "abj/job", "-n", fleet.namespace, "--timeout=60s", timeout_seconds=70
    )
    mac = fleet.macs[0]
    fleet.wait_for("the agent forgot", lambda: AttemptList.load(mac.get_json("/v1/attempts")).attempts == ())
    assert fleet.shards("job") == []
