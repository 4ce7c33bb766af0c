"""An endpoint whose turns become late and are good again: SLOMet tells it in three places; idle, it writes nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel
from tests.bench.audit import requests
from tests.bench.endpoint_calls import HearingSession, Utterance, a_moment, hearing_session
from tests.bench.failure import MeasurementFailed
from tests.bench.report import Figure, Goal
from tests.bench.rig import NAMESPACE, OPERATOR_NAMESPACE
from tests.bench.socket_figures import CLIPS, SHORT_CONTRACT, SHORT_SPEC, demo_clips, spoken_clip
from tests.bench.speech_rig import ENDPOINT, SpeechRig, lane_children

from voxfleet_api.conditions import ConditionType, find
from voxfleet_api.endpoint_latency import LatencyPart
from voxfleet_dev.health_client import HealthClient
from voxfleet_dev.operator_process import OperatorProcess
from voxfleet_dev.processes import free_port

WINDOW_SECONDS, WRITE_SECONDS = 60.0, 60.0
"""The least `sloWindow`; at most one write of turns and verdict in so long: ADR 72."""
READ_SECONDS = 10.0
"""Lanes are read every 5 s, and a turn may stay for a thirtieth of the window too long."""
STOPPED_SECONDS = 1.5
IDLE_SECONDS = 75.0
SETTLED_SECONDS = WINDOW_SECONDS + WRITE_SECONDS + READ_SECONDS
"""After the last turn: the window empties, and that is written."""
FALSE_SECONDS = WINDOW_SECONDS + READ_SECONDS
CHANGE_SECONDS = 240.0
WRITING = frozenset({"create", "update", "patch", "delete"})
AGREE_SECONDS = 2.0
"""Until the operator's cache has what the API server has."""
GUILTY = frozenset({LatencyPart.WAIT, LatencyPart.INFER})
"""Of a child that stands still: it takes no turn up, or does not finish it."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Places:
    """What SLOMet is where people look."""

    kubectl: str
    metrics: str
    why: str

    @property
    def agree(self) -> bool:
        return self.kubectl == self.metrics == self.why


class _Told(BaseModel):
    type: str
    status: str


class Explained(BaseModel):
    """What `voxfleet why` says, as far as it matters here."""

    conditions: tuple[_Told, ...]
    slow: str = ""


class SloRig(SpeechRig):
    """With an operator whose metrics can be read."""

    def __init__(self, directory: Path) -> None:
        contract: dict[str, object] = {**SHORT_CONTRACT, "spec": {**SHORT_SPEC, "slo": {"interactiveP95": "1s"}}}
        spec: dict[str, object] = {"turnDetection": {"type": "None"}, "sloWindow": "1m"}
        super().__init__(directory, readable=CLIPS, contract=contract, spec=spec)
        port = free_port()
        self.operator_health = HealthClient(port)
        self.operator = OperatorProcess(
            directory / "operator",
            kubeconfig=self.account.kubeconfig,
            namespace=OPERATOR_NAMESPACE,
            flags=(f"--health-port={port}",),
        )

    def slo_condition(self) -> str:
        """Status and reason."""
        found = find(self.endpoint().status.conditions, ConditionType.SLO_MET)
        return "" if found is None else f"{found.status} {found.reason}"

    def places(self) -> Places:
        """The metric has no value while the verdict is Unknown."""
        column = self.control_plane.kubectl(
            *("get", "ve", ENDPOINT, "-n", NAMESPACE, "-o"),
            'jsonpath={.status.conditions[?(@.type=="SLOMet")].status}',
        )
        table = self.control_plane.kubectl("get", "ve", ENDPOINT, "-n", NAMESPACE)
        heads, row = table.splitlines()[:2]
        start = heads.index("SLOMET")
        if row[start:].split()[0] != column:
            raise MeasurementFailed(f"kubectl prints another SLOMet than {column}:\n{table}")
        labels = {"namespace": NAMESPACE, "endpoint": ENDPOINT}
        values = [
            sample.value
            for family in text_string_to_metric_families(self.operator_health.answer("/metrics"))
            for sample in family.samples
            if sample.name == "voxfleet_endpoint_slo_met" and sample.labels == labels
        ]
        told = {(): "Unknown", (1.0,): "True", (0.0,): "False"}[tuple(values)]
        of_why = [each.status for each in self.why().conditions if each.type == "SLOMet"]
        return Places(column, told, of_why[0] if of_why else "")

    def why(self) -> Explained:
        asked = [
            sys.executable,
            "-m",
            "voxfleet_cli.main",
            "why",
            f"ve/{ENDPOINT}",
            "--namespace",
            NAMESPACE,
            "--output",
            "json",
        ]
        answer = subprocess.run(
            asked, env=self.control_plane.environment(), capture_output=True, text=True, check=False, timeout=60
        )
        if answer.returncode:
            raise MeasurementFailed(f"voxfleet why: {answer.stderr}")
        return Explained.model_validate_json(answer.stdout)

    def agreed(self) -> tuple[int, Places]:
        """Disagreements that last longer than a watch may need, 0 or 1."""
        deadline = time.monotonic() + AGREE_SECONDS
        while True:
            found = self.places()
            if found.agree or time.monotonic() > deadline:
                return int(not found.agree), found

    def version(self) -> str:
        version = self.endpoint().metadata.resource_version
        return str(version)

    def writes(self, start: datetime, end: datetime) -> list[str]:
        """To the endpoint and to what is named after it, as events are."""
        with self.control_plane.audit_log.open() as lines:
            return [
                f"{request.what} by {request.client}"
                for request in requests(lines)
                if start <= request.received <= end and request.verb in WRITING and request.name.startswith(ENDPOINT)
            ]


def slo_figures(directory: Path, say: Say) -> list[Figure]:
    """Raises MeasurementFailed, ChildFailed, KubectlFailed."""
    with SloRig(directory) as rig:
        return asyncio.run(_measure(rig, say))


async def _measure(rig: SloRig, say: Say) -> list[Figure]:
    path, _ = next((path, text) for path, text in demo_clips() if path.suffix == ".wav")
    clip = spoken_clip(path)
    spoken = Utterance(clip.pcm, clip.rate_hz)
    disagreements = 0
    last_late_seconds = 0.0

    async def reach(wanted: str, *, late: bool) -> float:
        """Seconds until SLOMet is so, from the first of these turns on, or from the last late one before them."""
        nonlocal disagreements, last_late_seconds
        began = time.monotonic() if late else last_late_seconds or time.monotonic()
        async with hearing_session(client, rig.url, spoken.rate_hz) as session:
            while not (await asyncio.to_thread(rig.slo_condition)).startswith(wanted):
                if time.monotonic() - began > CHANGE_SECONDS:
                    raise MeasurementFailed(f"SLOMet is not {wanted} after {CHANGE_SECONDS:g} s")
                await a_moment()
                await (_late_turn(rig, session, spoken) if late else session.turn(spoken))
                if late:
                    last_late_seconds = time.monotonic()
            seconds = time.monotonic() - began
            unlike, places = await asyncio.to_thread(rig.agreed)
        disagreements += unlike
        say(f"{await asyncio.to_thread(rig.slo_condition)} after {seconds:.1f} s: {places}")
        return seconds

    async with aiohttp.ClientSession(headers=rig.headers, timeout=aiohttp.ClientTimeout(total=None)) as client:
        await reach("True", late=False)
        false_seconds = await reach("False", late=True)
        slow = (await asyncio.to_thread(rig.why)).slow
        say(f"why: {slow}")
        back_seconds = await reach("True", late=False)
    rig.wait_for("the window empty", lambda: rig.slo_condition() == "Unknown NoTurns", SETTLED_SECONDS)
    unlike, places = rig.agreed()
    say(f"{rig.slo_condition()}: {places}")
    disagreements += unlike
    version, start = rig.version(), datetime.now(UTC)
    await asyncio.sleep(IDLE_SECONDS)
    writes = rig.writes(start, datetime.now(UTC))
    if rig.version() != version and not writes:
        writes = ["a write that the audit log does not have"]
    say(f"idle for {IDLE_SECONDS:g} s: {writes or 'no write'}")
    unnamed = int(not any(f" is {part}" in slow for part in GUILTY))
    return [
        Figure("slo_false_seconds", false_seconds, "from the first late turn", Goal("<=", FALSE_SECONDS)),
        Figure("slo_back_seconds", back_seconds, "from the last late turn", Goal("<=", SETTLED_SECONDS)),
        Figure("slo_disagreements", disagreements, "of kubectl, metrics and why, in 4 readings", Goal("<=", 0)),
        Figure("slo_guilty_part_unnamed", unnamed, "of 1 time that why was asked", Goal("<=", 0)),
        Figure("slo_idle_writes", len(writes), f"within {IDLE_SECONDS:g} s", Goal("<=", 0)),
    ]


async def _late_turn(rig: SloRig, session: HearingSession, spoken: Utterance) -> None:
    """The lane's process stands still while the turn is sent."""
    (child,) = lane_children(rig.macs[0])
    os.kill(child.pid, signal.SIGSTOP)
    go_on = asyncio.get_running_loop().call_later(STOPPED_SECONDS, os.kill, child.pid, signal.SIGCONT)
    try:
        await session.turn(spoken)
    finally:
        go_on.cancel()
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGCONT)
