"""Both sockets of an endpoint with the demo's clips: what is told is the batch's text, however the audio is cut."""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp
import mlx_audio_io  # type: ignore[import-untyped]  # it has no types
import numpy as np
from tests.bench.failure import MeasurementFailed
from tests.bench.report import Figure, Goal
from tests.bench.rig import CONTRACT, SPEC
from tests.bench.socket_clients import Heard, Spoken, as_mlx_audio, as_openai
from tests.bench.speech_rig import SpeechRig

from voxfleet_dev.locations import REPOSITORY

CLIPS = REPOSITORY / "examples" / "clips"
FRAME_MILLISECONDS = (10, 20, 30, 100, 1000)
AT_PACE_CLIPS = 3
STOPS = 1000
SESSIONS_AT_ONCE = 4
RATES_HZ = [16000, 22050, 44100, 48000]
DEMO_CONTRACT: dict[str, object] = {
    **CONTRACT,
    "spec": {
        **SPEC,
        "input": {"containers": ["wav", "flac", "mp3", "m4a"], "sampleRatesHz": RATES_HZ, "channels": [1, 2]},
    },
}
SHORT_SPEC: dict[str, object] = {
    **SPEC,
    "input": {"containers": ["wav", "flac"], "sampleRatesHz": RATES_HZ, "channels": [1, 2], "maxClip": "30s"},
}
SHORT_CONTRACT: dict[str, object] = {**CONTRACT, "spec": SHORT_SPEC}
"""Uploads of it take little of a lane's memory."""
UNDECLARED_HZ = 24_000

Say = Callable[[str], None]
Client = Callable[..., Awaitable[Heard]]
SOCKETS: dict[str, Client] = {"mlx_audio": as_mlx_audio, "openai": as_openai}


def socket_figures(directory: Path, say: Say) -> list[Figure]:
    """Raises MeasurementFailed, ChildFailed, KubectlFailed."""
    spec: dict[str, object] = {"turnDetection": {"type": "None"}, "session": {"maxPerLane": SESSIONS_AT_ONCE}}
    with SpeechRig(directory, readable=CLIPS, contract=DEMO_CONTRACT, spec=spec) as rig:
        return asyncio.run(_measure(rig, say))


async def _measure(rig: SpeechRig, say: Say) -> list[Figure]:
    spoken = [(spoken_clip(path), text) for path, text in demo_clips()]
    figures: list[Figure] = []
    async with aiohttp.ClientSession(headers=rig.headers, timeout=aiohttp.ClientTimeout(total=None)) as client:
        for name, socket in SOCKETS.items():
            figures += await _texts(client, rig.url, name, socket, spoken, say)
            refused = await socket(client, rig.url, Spoken("undeclared", bytes(9_600), UNDECLARED_HZ), 960)
            say(f"{name}: {UNDECLARED_HZ} Hz, which the contract does not name: {refused.error or refused}")
            figures.append(
                Figure(f"undeclared_rate_heard_{name}", float(not refused.error), "sessions, of one", Goal("<=", 0))
            )
        lost = await _lost_tails(client, rig.url, *spoken[0])
    say(f"{STOPS} stops: {lost} tails lost")
    return [*figures, Figure("tails_lost", float(lost), f"of {STOPS} stops, mlx-audio's socket", Goal("<=", 0))]


async def _texts(
    client: aiohttp.ClientSession,
    url: str,
    name: str,
    socket: Client,
    spoken: Sequence[tuple[Spoken, str]],
    say: Say,
) -> list[Figure]:
    unlike_deltas = 0
    others: list[str] = []
    lags: list[float] = []
    sessions = 0

    def count(one: Spoken, wanted: str, how: str, heard: Heard) -> None:
        nonlocal unlike_deltas, sessions
        sessions += 1
        if heard.error or heard.close_code != 1000:
            raise MeasurementFailed(f"{name}, {one.name} {how}: {heard}")
        unlike_deltas += heard.deltas != heard.text
        if heard.text != wanted:
            others.append(f"{one.name} {how}: {heard.text!r}, the batch {wanted!r}")

    for milliseconds in FRAME_MILLISECONDS:
        how = f"in frames of {milliseconds} ms"
        for one, wanted in spoken:
            count(one, wanted, how, await socket(client, url, one, one.frame_bytes(milliseconds)))
        for one, wanted in spoken[:AT_PACE_CLIPS]:
            heard = await socket(client, url, one, one.frame_bytes(milliseconds), at_pace=True)
            count(one, wanted, f"{how} at pace", heard)
            lags += [] if heard.first_delta_seconds is None else [heard.first_delta_seconds]
        say(f"{name}: {how}: {sessions} sessions so far, {len(others)} with another text than the batch's")
    for one, wanted in spoken[:AT_PACE_CLIPS]:
        count(one, wanted, "in frames of one byte", await socket(client, url, one, 1))
    for other in others:
        say(f"{name}: {other}")
    return [
        Figure(f"deltas_unlike_text_{name}", float(unlike_deltas), f"of {sessions} sessions", Goal("<=", 0)),
        Figure(
            f"texts_as_batch_{name}",
            100.0 * (sessions - len(others)) / sessions,
            f"percent of {sessions} sessions",
            Goal(">=", 99),
        ),
        Figure(
            f"first_delta_median_seconds_{name}",
            statistics.median(lags) if lags else 0.0,
            "from the first frame on, at the pace of speech",
        ),
    ]


async def _lost_tails(client: aiohttp.ClientSession, url: str, spoken: Spoken, wanted: str) -> int:
    """How often a session that stops right after its last frame lacks any of the text."""
    lost, left = 0, STOPS

    async def stop_again_and_again() -> None:
        nonlocal lost, left
        while left > 0:
            left -= 1
            heard = await as_mlx_audio(client, url, spoken, spoken.frame_bytes(100))
            lost += (heard.text, heard.close_code) != (wanted, 1000)

    async with asyncio.TaskGroup() as group:
        for _ in range(SESSIONS_AT_ONCE):
            group.create_task(stop_again_and_again())
    return lost


def demo_clips() -> list[tuple[Path, str]]:
    """Those that have a text, and the batch's text."""
    rows = [json.loads(line) for line in (CLIPS / "expected.jsonl").read_text().splitlines()]
    texts = {row["id"]: row["text"] for row in rows if "text" in row}
    return [(path, texts[path.stem]) for path in sorted(CLIPS.iterdir(), reverse=True) if path.stem in texts]


def spoken_clip(path: Path) -> Spoken:
    samples, rate_hz = mlx_audio_io.load(str(path), mono=True)
    pcm = np.clip(np.round(np.asarray(samples, dtype=np.float64).reshape(-1) * 32_768), -32_768, 32_767)
    return Spoken(path.stem, pcm.astype("<i2").tobytes(), rate_hz)
