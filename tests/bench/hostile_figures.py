"""Clients that do harm to an endpoint, and how long a neighbour on the same lane waits for its texts meanwhile."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from tests.bench.failure import MeasurementFailed
from tests.bench.hostile_clients import OPENAI, TIMES_ALLOWED, Answered, Hostile, HostileClients
from tests.bench.report import Figure, Goal
from tests.bench.socket_clients import Spoken
from tests.bench.socket_figures import CLIPS, SHORT_CONTRACT, demo_clips, spoken_clip
from tests.bench.speech_rig import SpeechRig

PLACES = 16
IDLE_SECONDS = 2
"""It bounds a slow upload. A half-open socket ends by it here, too, before its pings would end it."""
ROUNDS = 3
ANSWER_SECONDS = 5.0
NEIGHBOUR_MILLISECONDS = 1000.0
TURNS_ALONE = 50
PATIENCE_SECONDS = 30.0
_TRANSCRIPTION = "conversation.item.input_audio_transcription"

Say = Callable[[str], None]


@dataclass
class _Neighbour:
    """One session that says the same again and again: from each commit to its text."""

    spoken: Spoken
    text: str
    alone: list[float] = field(default_factory=list)
    """In milliseconds."""
    beside: list[float] = field(default_factory=list)
    """While others do harm."""

    async def turn(self, socket: aiohttp.ClientWebSocketResponse, milliseconds: list[float]) -> None:
        """Raises MeasurementFailed."""
        for frame in self.spoken.frames(self.spoken.frame_bytes(100)):
            await socket.send_json({"type": "input_audio_buffer.append", "audio": base64.b64encode(frame).decode()})
        began = time.monotonic()
        await socket.send_json({"type": "input_audio_buffer.commit"})
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for message in socket:
                told = json.loads(message.data)
                if told["type"] == f"{_TRANSCRIPTION}.completed":
                    milliseconds.append((time.monotonic() - began) * 1000)
                    if told["transcript"] != self.text:
                        raise MeasurementFailed(f"the neighbour was told {told['transcript']!r}, not {self.text!r}")
                    return
                if told["type"] in ("error", f"{_TRANSCRIPTION}.failed"):
                    raise MeasurementFailed(f"the neighbour was told {message.data}")
        raise MeasurementFailed(f"the neighbour's session ended with {socket.close_code}")

    async def speak_beside(self, socket: aiohttp.ClientWebSocketResponse, over: asyncio.Event) -> None:
        while not over.is_set():
            await self.turn(socket, self.beside)


def hostile_figures(directory: Path, say: Say) -> list[Figure]:
    """Raises MeasurementFailed, ChildFailed, KubectlFailed."""
    session = {"maxPerLane": PLACES, "maxUploadBytes": 4 * 2**20, "idleSeconds": IDLE_SECONDS}
    spec: dict[str, object] = {"turnDetection": {"type": "None"}, "session": session}
    with SpeechRig(directory, readable=CLIPS, contract=SHORT_CONTRACT, spec=spec, speaks=True) as rig:
        return asyncio.run(_measure(rig, say))


async def _measure(rig: SpeechRig, say: Say) -> list[Figure]:
    path, text = min(demo_clips(), key=lambda clip: len(spoken_clip(clip[0]).pcm))
    neighbour = _Neighbour(spoken_clip(path), text)
    clients = HostileClients(rig.url, rig.speaker_url, rig.key.text, neighbour.spoken, PLACES)
    answers: dict[str, list[Answered]] = {}
    crowds: list[Answered] = []
    async with _session(rig, neighbour.spoken.rate_hz) as socket:
        for _ in range(TURNS_ALONE):
            await neighbour.turn(socket, neighbour.alone)
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(neighbour.speak_beside(socket, over))
            for _ in range(ROUNDS):
                acts = clients.all()
                told = await asyncio.gather(*(_answer(act) for act in acts))
                for act, answered in zip(acts, told, strict=True):
                    answers.setdefault(act.name, []).append(answered)
                crowds += await clients.crowd()
            over.set()
    documented = {act.name: act.documented for act in clients.all()}
    for name, each in answers.items():
        seconds = max(answered.seconds for answered in each)
        kinds = ", ".join(sorted({answered.told for answered in each}))
        say(f"{name:32} documented {documented[name]:18} answered {kinds:18} within {seconds:.2f} s")
    crowd = Counter(answered.told for answered in crowds)
    say(f"{TIMES_ALLOWED} times the allowed sessions, {ROUNDS} times: {dict(crowd)}")
    return _figures(answers, documented, crowds, neighbour)


def _figures(
    answers: dict[str, list[Answered]], documented: dict[str, str], crowds: list[Answered], neighbour: _Neighbour
) -> list[Figure]:
    wrong = sum(one.told != documented[name] for name, each in answers.items() for one in each)
    strangers = sum(one.told not in ("1000", "429") for one in crowds)
    refused = [one.seconds for one in crowds if one.told != "1000"]
    slowest = max([one.seconds for each in answers.values() for one in each] + refused)
    calls = sum(map(len, answers.values())) + len(crowds)
    beside = f"ms from a neighbour's commit to its text, p95 of {len(neighbour.beside)} turns on the same lane"
    return [
        Figure("hostile_answered_otherwise", wrong + strangers, f"of {calls} calls", Goal("<=", 0)),
        Figure("hostile_slowest_answer_seconds", slowest, f"of {calls} calls", Goal("<=", ANSWER_SECONDS)),
        Figure("hostile_refused_of_crowd", len(refused), f"of {len(crowds)} sockets"),
        Figure("hostile_neighbour_alone_p95_ms", _p95(neighbour.alone), f"p95 of {len(neighbour.alone)} turns"),
        Figure("hostile_neighbour_p95_ms", _p95(neighbour.beside), beside, Goal("<=", NEIGHBOUR_MILLISECONDS)),
    ]


async def _answer(hostile: Hostile) -> Answered:
    began = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await hostile.act()
    except (TimeoutError, OSError, aiohttp.ClientError) as error:
        return Answered(f"{type(error).__name__}: {error}", time.monotonic() - began)


@asynccontextmanager
async def _session(rig: SpeechRig, rate_hz: int) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(headers=rig.headers, timeout=timeout) as client,
        client.ws_connect(f"{rig.url}{OPENAI}?intent=transcription") as socket,
    ):
        audio = {"format": {"type": "audio/pcm", "rate": rate_hz}, "turn_detection": None}
        session = {"type": "transcription", "audio": {"input": audio}}
        await socket.send_json({"type": "session.update", "session": session})
        yield socket


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]
