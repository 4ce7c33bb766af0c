"""Latency of warm endpoints through gateway and tunnel: alone, beside a batch, and beside a batch that never yields.

One Mac has a lane that works on batches, one that hears and one that speaks. The models are small, and their lanes have
the CPU alone on Linux: what a GPU does is not measured here.
"""

from __future__ import annotations

import asyncio
import sys
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from tests.bench.clips import Pool
from tests.bench.delaying_proxy import DelayingProxy
from tests.bench.endpoint_calls import Latencies, Utterance, final_texts, first_audio, spoken_final_texts
from tests.bench.gateway_overhead import Overhead, overhead
from tests.bench.live_rig import LiveRig
from tests.bench.night_batch import NightBatch, NightFindings
from tests.bench.report import Figure, Goal

CALLS = 500
PACED_PART = 10
"""One turn in so many is also measured at the pace of speech."""
COMPARED_PART = 5
"""So many times fewer calls show what the gateway adds, and the harm of a batch that never gives way."""
ROUND_TRIP_SECONDS = 0.04
TEXT = "The line is open."
METAL = "Metal not measured" if sys.platform != "darwin" else "Metal"
SLO_MILLISECONDS = 1000.0
OVERHEAD_MILLISECONDS = 15.0
NEIGHBOUR_RATIO = 1.2
PERCENTS = (50, 95, 99)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """In one surrounding."""

    text: Latencies
    """Of committed turns."""
    spoken_text: Latencies
    """Of turns at the pace of speech, whose end is waited for."""
    first_audio: Latencies


def endpoint_figures(directory: Path, pool: Pool, calls: int, say: Say) -> list[Figure]:
    """Raises MeasurementFailed, ChildFailed, KubectlFailed."""
    with LiveRig(directory, pool.folder) as rig:
        return asyncio.run(_EndpointBench(rig, NightBatch(rig, pool), _utterances(pool), calls, say).figures())


class _EndpointBench:
    def __init__(self, rig: LiveRig, night: NightBatch, spoken: Sequence[Utterance], calls: int, say: Say) -> None:
        self._rig = rig
        self._night = night
        self._spoken = spoken
        self._calls = calls
        self._compared_calls = -(-calls // COMPARED_PART)
        self._say = say

    async def figures(self) -> list[Figure]:
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(headers=self._rig.headers, timeout=timeout) as client:
            idle = await self._measured(client, "alone", self._calls)
            overheads = await self._overheads(client)
            await asyncio.to_thread(self._night.run_alone)
            async with self._night.beside("night"):
                beside = await self._measured(client, "beside a batch", self._calls)
            findings = await asyncio.to_thread(self._night.findings)
            self._say(f"the batch beside the calls: {findings}")
            await asyncio.to_thread(self._rig.forget_how_to_yield)
            async with self._night.beside("harm"):
                harm = await self._measured(client, "beside a batch that never gives way", self._compared_calls)
        return [
            *_latency_figures(idle, beside, harm, self._calls),
            *_overhead_figures(overheads, self._compared_calls),
            *_night_figures(findings),
        ]

    async def _measured(self, client: aiohttp.ClientSession, where: str, calls: int) -> Measured:
        hearing, speaking = self._rig.hearing_url, self._rig.speaking_url
        measured = Measured(
            await final_texts(client, hearing, self._spoken, calls),
            await spoken_final_texts(client, hearing, self._spoken, -(-calls // PACED_PART)),
            await first_audio(client, speaking, TEXT, calls),
        )
        self._say(f"{where}: committed turn to text {measured.text}")
        self._say(f"{where}: at the pace of speech, last sound to text {measured.spoken_text}")
        self._say(f"{where}: line to first audio {measured.first_audio}")
        return measured

    async def _overheads(self, client: aiohttp.ClientSession) -> dict[str, Overhead]:
        """By where the Mac is."""
        found: dict[str, Overhead] = {}
        ssh_port = self._rig.mac.sshd.port
        far = DelayingProxy(ssh_port, ROUND_TRIP_SECONDS)
        for name, link in (("loopback", nullcontext()), ("far", far)):
            with link:
                if link is far:
                    await asyncio.to_thread(self._rig.reach_the_mac_by, far.port)
                found[name] = await overhead(self._rig, client, self._spoken, self._compared_calls)
                self._say(f"{name}: to the agent {found[name].direct}; through the gateway {found[name].through}")
                if link is far:
                    await asyncio.to_thread(self._rig.reach_the_mac_by, ssh_port)
        return found


def _latency_figures(idle: Measured, beside: Measured, harm: Measured, calls: int) -> Iterator[Figure]:
    each: tuple[tuple[str, str, Callable[[Measured], Latencies]], ...] = (
        (
            "text",
            "ms from a turn's last frame to its text, at five times the pace of speech",
            lambda measured: measured.text,
        ),
        (
            "spoken_text",
            "ms from a turn's last sound to its text, at the pace of speech, with the wait for its end",
            lambda measured: measured.spoken_text,
        ),
        (
            "first_audio",
            "ms from a line's request to its first byte of audio, tiny voice of random weights",
            lambda measured: measured.first_audio,
        ),
    )
    for what, unit, of in each:
        alone, with_batch, without_yield = of(idle), of(beside), of(harm)
        surroundings = (
            ("idle", "alone", alone),
            ("with_batch", "beside a batch", with_batch),
            ("without_yield", "beside a batch that never gives way", without_yield),
        )
        for name, where, measured in surroundings:
            for percent in PERCENTS:
                goal = Goal("<=", SLO_MILLISECONDS) if percent == 95 and measured is not without_yield else None
                told = f"{unit}, {where}, p{percent} of {len(measured.milliseconds)}; {METAL}"
                yield Figure(f"endpoint_{what}_{name}_p{percent}_ms", measured.percent(percent), told, goal)
        yield Figure(
            f"endpoint_{what}_with_batch_ratio",
            with_batch.percent(95) / alone.percent(95),
            f"its p95 beside a batch / alone; {METAL}",
            Goal("<=", NEIGHBOUR_RATIO),
        )
        yield Figure(
            f"endpoint_{what}_without_yield_ratio",
            without_yield.percent(95) / alone.percent(95),
            f"its p95 beside a batch that never gives way / alone; {METAL}",
        )
    failed = sum(len(part.failed) for measured in (idle, beside) for part in (measured.text, measured.first_audio))
    yield Figure("endpoint_failed_calls", float(failed), f"of {4 * calls}, alone and beside a batch", Goal("<=", 0))


def _overhead_figures(overheads: dict[str, Overhead], calls: int) -> Iterator[Figure]:
    for name, found in overheads.items():
        where = "on loopback" if name == "loopback" else f"with {ROUND_TRIP_SECONDS * 1000:g} ms of round trip"
        for percent in PERCENTS:
            yield Figure(
                f"endpoint_gateway_and_tunnel_{name}_p{percent}_ms",
                found.added(percent),
                f"ms that both add to a turn's text, {where}: p{percent} of {calls} turns less that of the agent alone",
                Goal("<=", OVERHEAD_MILLISECONDS) if name == "loopback" and percent == 95 else None,
            )


def _night_figures(found: NightFindings) -> Iterator[Figure]:
    what = f"of {found.jobs} jobs that ran beside calls"
    yield Figure("endpoint_batch_unlike_results", float(found.unlike_rows), f"clips, {what}", Goal("<=", 0))
    yield Figure("endpoint_batch_retries", float(found.retries), f"shards and clips, {what}", Goal("<=", 0))
    yield Figure(
        "endpoint_batch_unaccounted_seconds",
        found.unaccounted_milliseconds / 1000,
        f"machine-seconds that the Mac's signed rows do not account for, the most {what}",
        Goal("<=", 1),
    )
    yield Figure(
        "endpoint_batch_paused_seconds", found.paused_milliseconds / 1000, "signed for the endpoints, not for the jobs"
    )


def _utterances(pool: Pool) -> list[Utterance]:
    """Clips that need no conversion."""
    paths = [clip.path for clip in pool.clips if "wav-16000-1" in clip.path.parts]
    return [_utterance(path) for path in paths[:20]]


def _utterance(path: Path) -> Utterance:
    with wave.open(str(path)) as opened:
        return Utterance(opened.readframes(opened.getnframes()), opened.getframerate())
