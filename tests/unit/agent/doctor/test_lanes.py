"""What doctor says of the lanes: the guard in force, and what a child reached in spite of it."""

from __future__ import annotations

from pathlib import Path

from voxfleet_agent.confinement.confinement import Confinement
from voxfleet_agent.confinement.guards import UNGUARDED, FileGuard, Guards, NetworkGuard, preferred
from voxfleet_agent.confinement.measurement import Measured
from voxfleet_agent.doctor.finding import Health
from voxfleet_agent.doctor.lanes import judge_account, judge_confinement


def measured(guards: Guards, *reached: str, error: str = "", **refused: str) -> Measured:
    return Measured(Confinement(guards, Path("/clips")), reached, refused, (), error)


def test_full_confinement_names_its_guards() -> None:
    found = judge_confinement(measured(preferred("linux")), "_voxlane")
    assert [(finding.name, finding.health, finding.found.partition(":")[0]) for finding in found] == [
        ("lane network", Health.OK, "seccomp"),
        ("lane files", Health.OK, "landlock and laneUser"),
    ]


def test_what_was_reached_is_named_where_it_belongs() -> None:
    network, files = judge_confinement(
        measured(UNGUARDED, "TCP", "tokenFile", landlock="Operation not permitted", seccomp="Invalid argument"), None
    )
    assert (network.health, files.health) == (Health.WARN, Health.WARN)
    assert "none" in network.found and "can reach TCP" in network.found and "tokenFile" not in network.found
    assert "can reach tokenFile" in files.found and "landlock: Operation not permitted" in files.found
    assert "laneUser" in files.mend


def test_a_lane_user_counts_where_the_kernel_has_nothing() -> None:
    _, files = judge_confinement(measured(Guards(FileGuard.NONE, NetworkGuard.SECCOMP)), "_voxlane")
    assert (files.health, files.found) == (Health.OK, "laneUser: a child tried, and reached nothing")


def test_a_child_that_cannot_start_fails() -> None:
    (finding,) = judge_confinement(measured(preferred("linux"), error="python: Permission denied"), "_voxlane")
    assert finding.health is Health.FAIL and "Permission denied" in finding.found and "read and execute" in finding.mend


def test_lanes_of_root_are_warned_of() -> None:
    assert judge_account(None, 0).health is Health.WARN
    assert judge_account(None, 501).health is judge_account("_voxlane", 0).health is Health.OK
