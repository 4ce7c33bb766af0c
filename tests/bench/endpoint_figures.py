"""Latency of warm endpoints through gateway and tunnel: alone, beside the batch, and beside a batch that never yields.

One Mac has a lane that works on a batch, one that hears and one that speaks. The models are small, and their lanes have
the CPU alone on Linux: what a GPU does is not measured here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.clips import Pool
from tests.bench.failure import MeasurementFailed
from tests.bench.report import Figure, Goal
from tests.bench.rig import CONTRACT, NAMESPACE, OPERATOR_NAMESPACE, Rig

from voxfleet_dev.demo_speech import ANNOUNCEMENTS, CAPTIONS, DemoSpeech
from voxfleet_dev.gateway_process import GatewayAccount, GatewayProcess
from voxfleet_dev.mac import Mac

CALLS = 500
PROBE_SECONDS = 3600.0
NIGHT_CLIPS = 400
NIGHT_COPIES = 50
"""How often the night's job takes the pool, so that it lasts as long as the calls."""
START_SECONDS = 120.0
TEXT = "The line is open."
METAL = "Metal not measured" if sys.platform != "darwin" else "Metal"
SLO_MILLISECONDS = 1000.0
OVERHEAD_MILLISECONDS = 15.0
NEIGHBOUR_RATIO = 1.2

LIVE_CONTRACT: dict[str, object] = {
    **CONTRACT,
    "metadata": {"name": "live"},
    "spec": {
        "input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1], "maxClip": "30s"},
    },
}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Latencies:
    """In milliseconds. `hear`: a recording to its text. `speak`: a text to its first byte of audio."""

    hear: Mapping[str, Mapping[str, float]]
    speak: Mapping[str, Mapping[str, float]]


def endpoint_figures(directory: Path, pool: Pool, calls: int, say: Say) -> list[Figure]:
    """Raises MeasurementFailed, ChildFailed, KubectlFailed."""
    with Rig(directory, macs=1, readable=pool.folder, interactive_lanes=2) as rig:
        (mac,) = rig.macs
        secrets = ["fleet-ssh", mac.session_secret]
        keys = [{"namespace": NAMESPACE, "secretNames": ["speech-keys"]}]
        values: Mapping[str, object] = {"fleetSecrets": secrets, "keySecrets": keys}
        account = GatewayAccount(rig.control_plane, OPERATOR_NAMESPACE, values)
        account.grant()
        rig.control_plane.apply(LIVE_CONTRACT, namespace=NAMESPACE)
        speech = DemoSpeech(rig.control_plane, directory / "results", NAMESPACE, "live")
        speech.apply()
        with GatewayProcess(directory, account.kubeconfig, OPERATOR_NAMESPACE) as gateway:
            probe = _Probe(f"{gateway.url}/{NAMESPACE}", speech.key.text, calls)
            say(f"{calls} calls each of an endpoint that hears and one that speaks, alone")
            idle = probe.measured()
            _submit_night(rig, pool, "night")
            say("the same beside a batch")
            beside = probe.measured()
            _end_night(rig, "night")
            _restart_without_yield(rig, mac)
            _submit_night(rig, pool, "harm")
            say("the same beside a batch that never gives way")
            harm = probe.measured()
            _end_night(rig, "harm")
    return _figures(idle, beside, harm, calls)


class _Probe:
    """`voxfleet endpoint probe`, as people run it."""

    def __init__(self, url: str, key: str, calls: int) -> None:
        self._url = url
        self._key = key
        self._calls = calls

    def measured(self) -> Latencies:
        return Latencies(self._milliseconds(CAPTIONS), self._milliseconds(ANNOUNCEMENTS, "--text", TEXT))

    def _milliseconds(self, endpoint: str, *words: str) -> Mapping[str, Mapping[str, float]]:
        argv = [sys.executable, "-m", "voxfleet_cli.main", "endpoint", "probe", "--url", f"{self._url}/{endpoint}"]
        ended = subprocess.run(
            [*argv, "--count", str(self._calls), "-o", "json", *words],
            env={**os.environ, "VOXFLEET_API_KEY": self._key},
            capture_output=True,
            text=True,
            check=False,
            timeout=PROBE_SECONDS,
        )
        if ended.returncode:
            raise MeasurementFailed(f"endpoint probe ended with {ended.returncode}: {ended.stderr.strip()}")
        milliseconds: Mapping[str, Mapping[str, float]] = json.loads(ended.stdout)["milliseconds"]
        return milliseconds


def _submit_night(rig: Rig, pool: Pool, name: str) -> None:
    """Returns once the Mac works on it."""
    lines = pool.manifest(f"{name}-once", NIGHT_CLIPS).read_text().splitlines()
    clips = [json.loads(line) for line in lines]
    manifest = pool.manifest(name, 1)
    manifest.write_text(
        "".join(
            json.dumps({**clip, "id": f"{copy}-{clip['id']}"}) + "\n" for copy in range(NIGHT_COPIES) for clip in clips
        )
    )
    rig.submit(name, manifest)
    rig.wait_for(f"job {name} works", lambda: rig.job(name).status.clips.succeeded > 0, START_SECONDS)


def _end_night(rig: Rig, name: str) -> None:
    clips = rig.job(name).status.clips
    if clips.running + clips.pending == 0:
        raise MeasurementFailed(f"job {name} ended before the calls did; its figures say nothing")
    rig.control_plane.kubectl("delete", "abj", name, "-n", NAMESPACE, "--timeout=120s")


def _restart_without_yield(rig: Rig, mac: Mac) -> None:
    mac.agent.stop()
    mac.batches_yield = False
    mac.write_files()
    mac.restart_agent()
    for name in (CAPTIONS, ANNOUNCEMENTS):
        wait = ("wait", f"ve/{name}", "-n", NAMESPACE, "--for=condition=Available", "--timeout=120s")
        rig.control_plane.kubectl(*wait, timeout_seconds=130)


def _figures(idle: Latencies, beside: Latencies, harm: Latencies, calls: int) -> list[Figure]:
    of_calls = f"of {calls} calls; {METAL}"
    figures: list[Figure] = []
    for what, unit, parts in (
        ("text", "ms from a recording's request to its text, p95", [each.hear for each in (idle, beside, harm)]),
        (
            "first_audio",
            "ms from a text's request to its first byte, p95",
            [each.speak for each in (idle, beside, harm)],
        ),
    ):
        alone, with_batch, without_yield = (part["total"]["p95"] for part in parts)
        slo = Goal("<=", SLO_MILLISECONDS)
        figures += [
            Figure(f"endpoint_{what}_idle_p95_ms", alone, f"{unit}, {of_calls}", slo),
            Figure(f"endpoint_{what}_with_batch_p95_ms", with_batch, f"{unit}, beside a batch, {of_calls}", slo),
            Figure(
                f"endpoint_{what}_with_batch_ratio",
                with_batch / alone,
                f"that against alone, {of_calls}",
                Goal("<=", NEIGHBOUR_RATIO),
            ),
            Figure(
                f"endpoint_{what}_without_yield_ratio",
                without_yield / alone,
                f"the same beside a batch that never gives way, {of_calls}",
            ),
        ]
    figures.append(
        Figure(
            "endpoint_gateway_and_tunnel_p95_ms",
            idle.hear["gateway"]["p95"] + idle.hear["tunnel"]["p95"],
            "ms that both add to a recording's text at most (the sum of both p95), on loopback",
            Goal("<=", OVERHEAD_MILLISECONDS),
        )
    )
    return figures
