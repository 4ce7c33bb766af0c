"""Checks what confines the lanes, by asking a child that is started as theirs are."""

from __future__ import annotations

import os
from pathlib import Path

from voxfleet_agent import core_dumps
from voxfleet_agent.config import AgentConfig
from voxfleet_agent.confinement.guards import FileGuard, NetworkGuard
from voxfleet_agent.confinement.measurement import Measured
from voxfleet_agent.doctor.finding import Finding, fail, ok, warn
from voxfleet_agent.lanes.lane_user import LaneUser, LaneUserError
from voxfleet_agent.local_services import ServiceSettings, measure_confinement

_LANE_USER = "laneUser"


def check_lanes(config: AgentConfig, file: Path) -> list[Finding]:
    """`file`: the configuration file, which lanes must not read either. Takes about 0.2 s."""
    try:
        user = None if config.lane_user is None else LaneUser.from_name(config.lane_user)
    except LaneUserError as error:
        what, _, mend = str(error).partition("; ")
        return [fail("lane account", what, mend or "name another account in laneUser")]
    core_dumps.hide_memory()  # as the agent does, whose memory the child shall not read
    settings = ServiceSettings.of(config)
    measured = measure_confinement(settings, user, {"the configuration": file.resolve()})
    return [judge_account(config.lane_user, os.geteuid()), *judge_confinement(measured, config.lane_user)]


def judge_account(lane_user: str | None, agent_uid: int) -> Finding:
    if lane_user is not None:
        return ok("lane account", f"lanes run as {lane_user}, whose group is its own")
    if agent_uid == 0:
        return warn("lane account", "lanes run as root", "name an account without rights in laneUser")
    return ok("lane account", "lanes run as the agent's account; laneUser would give them one of their own")


def judge_confinement(measured: Measured, lane_user: str | None) -> list[Finding]:
    """What is in force for files and network, each with what was reached in spite of it."""
    if measured.error:
        mend = "let the lanes' account read and execute the agent's Python and its packages"
        return [fail("lane confinement", f"no child can start as lanes do: {measured.error}", mend)]
    if measured.closed:
        mend = f"run: chmod o+x {measured.closed[0]}, or put scratch.path and modelCache.path elsewhere"
        return [fail("lane confinement", f"the lanes' account cannot pass through {measured.closed[0]}", mend)]
    files = [guard for guard in (measured.guards.files.value, lane_user and _LANE_USER) if guard not in (None, "none")]
    reasons = "; ".join(f"{name}: {why}" for name, why in measured.refused.items())
    return [
        _judge(
            "lane network",
            measured.guards.network.value,
            measured.reached_network,
            reasons,
            "let the system offer seccomp (in a container: its seccomp profile), or treat clips as trusted",
            NetworkGuard.NONE.value,
        ),
        _judge(
            "lane files",
            " and ".join(str(guard) for guard in files) or FileGuard.NONE.value,
            measured.reached_files,
            reasons,
            "set laneUser, or let the system offer Landlock (Linux 5.13 and later); keep secrets out of system folders",
            FileGuard.NONE.value,
        ),
    ]


def _judge(name: str, guard: str, reached: tuple[str, ...], reasons: str, mend: str, none: str) -> Finding:
    why = f" ({reasons})" if reasons and guard == none else ""
    if reached:
        return warn(name, f"{guard}{why}: a lane can reach {', '.join(reached)}", mend)
    return ok(name, f"{guard}{why}: a child tried, and reached nothing")
