"""What `voxfleet why` and `voxfleet drain` say of a Mac: its hours, its drain, as what it is paid."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.operator.decisions.bodies import mac_agent
from typer.testing import CliRunner

from voxfleet_api.kinds import AudioShard, MacAgent
from voxfleet_api.kinds.mac_agent import Drain, DrainMode
from voxfleet_cli.drain import what_follows
from voxfleet_cli.explain import explain
from voxfleet_cli.main import app

SINCE = "2026-11-20T12:00:00Z"
HOURS = {
    "timeZone": "Europe/Berlin",
    "windows": [{"start": "20:00", "end": "06:00"}],
    "rentalEnd": "2026-12-01T00:00:00Z",
}


def a_mac(*conditions: tuple[str, str, str, str], **spec: Any) -> MacAgent:
    told = [
        {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": SINCE}
        for type_, status, reason, message in conditions
    ]
    return MacAgent.load({**mac_agent("mac-01", **spec), "status": {"conditions": told}})


def a_shard(name: str, outcome: str, **status: Any) -> AudioShard:
    attempts = [{"attempt": 3, "mac": "mac-01", "outcome": outcome}]
    return AudioShard.load(
        {
            "metadata": {"name": name, "namespace": "ns", "uid": name},
            "spec": {"jobRef": {"name": "nightly", "uid": "job-1"}, "stage": "Process", "ordinal": 0, "indexes": "0-4"},
            "status": {"attempt": 3, "mac": "mac-01", "attempts": attempts, **status},
        }
    )


def test_a_mac_tells_its_hours_and_what_runs_there() -> None:
    mac = a_mac(
        ("Reachable", "True", "Connected", "it answers"),
        ("Available", "False", "OutsideWindow", "opens at 2026-11-20 20:00 Europe/Berlin"),
        availability=HOURS,
        billing={"lessor": "mac-rentals", "sku": "m4-pro"},
    )
    shards = [a_shard("nightly-00000", "Assigned", folded={"attempts": 2}), a_shard("nightly-00001", "Succeeded")]
    told = explain(mac, shards)
    assert told["state"] == "OutsideWindow" and told["next"] == "opens at 2026-11-20 20:00 Europe/Berlin"
    assert told["availability"]["rentalEnd"] == "2026-12-01T00:00:00Z"
    assert told["running"] == ["nightly-00000 (attempt 3)"]
    assert told["billing"] == {"lessor": "mac-rentals", "sku": "m4-pro"}


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        ("True", "2 attempts still to end", "wait: 2 attempts still to end"),
        ("False", "nothing runs on this Mac any more", "nothing runs on this Mac any more; it takes nothing new"),
    ],
)
def test_a_mac_that_drains_says_how_far_it_is(status: str, message: str, told: str) -> None:
    mac = a_mac(
        ("Available", "False", "Draining", "spec.drain is set"),
        ("Draining", status, "Draining" if status == "True" else "Drained", message),
        drain={"mode": "Finish"},
    )
    explained = explain(mac)
    assert explained["next"] == told and explained["drain"] == {"mode": "Finish", "deadlineSeconds": 3600}


@pytest.mark.parametrize(
    ("drain", "ends", "waits"),
    [
        (Drain(), "3900 s", "--timeout=4020s"),
        (Drain(deadline_seconds=60), "360 s", "--timeout=480s"),
        (Drain(mode=DrainMode.RETURN_AT_NEXT_CLIP), "300 s", "--timeout=420s"),
    ],
)
def test_what_follows_from_a_drain_is_said_with_the_command_that_waits_for_it(
    drain: Drain, ends: str, waits: str
) -> None:
    text = what_follows("mac-01", drain)
    assert f"ends in {ends} at most" in text
    assert "kubectl wait mac/mac-01 --for=condition=Draining=False" in text and text.endswith(waits)


@pytest.mark.parametrize("deadline", ["soon", "169h", "-1s", ""])
def test_a_deadline_that_is_none_is_wrong_usage(deadline: str) -> None:
    result = CliRunner().invoke(app, ["drain", "mac-01", f"--deadline={deadline}"])
    assert result.exit_code == 2 and "write for example 30m or 2h" in result.stderr
