"""Namespaces and Macs go in mid-run, with the controllers of a real cluster: nothing hangs, and nothing is left."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest
from tests.e2e.conftest import making_fleets, with_kinds
from tests.e2e.fleet import Fleet

from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.mac import Mac

OPERATOR_NAMESPACE = "voxfleet-system"
LONG_CLIPS = 400
"""More than any test waits for."""
MANY_CLIPS = "many-clips.jsonl"
GONE_SECONDS = 60.0
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def macs_and_operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two Macs, and an operator in a namespace of its own."""
    folder = tmp_path_factory.mktemp("deletions")
    with (
        ControlPlane(folder / "control-plane", controllers=True) as control_plane,
        making_fleets(with_kinds(control_plane), folder) as make,
    ):
        control_plane.kubectl("create", "namespace", OPERATOR_NAMESPACE)
        fleet = make(operator_namespace=OPERATOR_NAMESPACE)
        manifest = fleet.shared / "clips" / MANY_CLIPS
        lines = ({"id": f"clip-{number}", "uri": "wav-16000-01.wav"} for number in range(LONG_CLIPS))
        manifest.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        fleet.start()
        yield fleet


@pytest.fixture
def fleet(macs_and_operator: Fleet) -> Fleet:
    """Both Macs work on a job, in a new namespace, of which most is still to be done."""
    fleet = macs_and_operator
    fleet.enter_namespace(f"team-{next(_numbers)}")
    fleet.submit("long", input={"manifest": {"uri": f"file://{fleet.shared}/clips/{MANY_CLIPS}"}})
    fleet.wait_for("both Macs work", lambda: all(works(fleet, mac) for mac in fleet.macs))
    return fleet


def works(fleet: Fleet, mac: Mac) -> bool:
    return any(attempt.stage is Stage.PROCESS and not attempt.has_ended for attempt in fleet.attempts_on(mac))


def delete_namespace(fleet: Fleet) -> None:
    fleet.control_plane.kubectl("delete", "namespace", fleet.namespace, "--wait=false")


def is_left(fleet: Fleet, what: str) -> bool:
    return bool(fleet.control_plane.kubectl("get", what, "-n", fleet.namespace, "-o", "name").split())


def assert_gone(fleet: Fleet) -> None:
    fleet.control_plane.kubectl(
        "wait",
        "--for=delete",
        f"namespace/{fleet.namespace}",
        f"--timeout={GONE_SECONDS:g}s",
        timeout_seconds=GONE_SECONDS + 10,
    )


def test_a_namespace_goes_with_what_runs_for_it(fleet: Fleet) -> None:
    delete_namespace(fleet)
    assert_gone(fleet)
    fleet.wait_until_empty(*fleet.macs)


def test_a_mac_and_a_namespace_that_go_while_no_operator_runs_hold_up_nothing(
    fleet: Fleet,
) -> None:
    removed, other = fleet.macs
    fleet.operator.stop()  # first, so that nobody ends what the Mac has until it is gone
    fleet.control_plane.kubectl("delete", "macagent", removed.name)
    delete_namespace(fleet)
    fleet.wait_for("all but the job is gone", lambda: not is_left(fleet, "ash,vc") and is_left(fleet, "abj"))
    fleet.operator.start()
    assert_gone(fleet)
    fleet.wait_until_empty(other)
    assert fleet.attempts_on(removed) != (), "nobody told it"
    fleet.register(removed)
    fleet.wait_until_empty(removed)  # it returns


def test_a_job_deleted_in_the_foreground_goes_with_its_shards(fleet: Fleet) -> None:
    for kind in ("vc/contract", "secret --all"):
        fleet.control_plane.kubectl("delete", *kind.split(), "-n", fleet.namespace)
    fleet.control_plane.kubectl(
        "delete", "abj", "long", "-n", fleet.namespace, "--cascade=foreground", "--timeout=60s", timeout_seconds=70
    )
    assert not is_left(fleet, "ash")
    fleet.wait_until_empty(*fleet.macs)
