"""mlx-audio's own server beside an endpoint: the same clips, the same model, the same client, one after the other.

Its server answers HTTP out of a thread that needs a GPU; without one its socket alone can be measured.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import aiohttp
from tests.bench.clips import Pool
from tests.bench.endpoint_calls import first_audio
from tests.bench.endpoint_figures import TEXT
from tests.bench.failure import MeasurementFailed
from tests.bench.live_rig import LiveRig
from tests.bench.report import Figure, Goal
from tests.bench.socket_clients import Spoken, as_mlx_audio

from voxfleet_agent.models.store import builtin_model_folder
from voxfleet_api.kinds.job_model import BuiltinName
from voxfleet_dev.mac import agent_environment
from voxfleet_dev.processes import Child, free_port
from voxfleet_shared.percentile import percentile

CLIPS = 50
CLIENTS = 4
FRAME_MILLISECONDS = 100
START_SECONDS, ANSWER_SECONDS = 60.0, 20.0
LOG_LINES = 8
KIND = "wav-16000-1"

Say = Callable[[str], None]


@dataclass
class Server:
    name: str
    url: str
    client: aiohttp.ClientSession
    model: str | None = None
    """As a client has to write it; None: it need not."""


@dataclass
class Outcome:
    milliseconds: list[float] = field(default_factory=list)
    """From a clip's last frame to its last text."""
    cut_short: int = 0
    """Clips whose text lacks its end, or all of it."""
    refused: int = 0


def upstream_figures(directory: Path, pool: Pool, say: Say) -> list[Figure]:
    """Raises MeasurementFailed, ChildFailed, KubectlFailed."""
    port = free_port()
    argv = [sys.executable, "-m", "mlx_audio.server", "--host", "127.0.0.1", "--port", str(port)]
    with LiveRig(directory, pool.folder) as rig:
        child = Child("mlx_audio.server", argv, directory / "upstream.log", env=agent_environment())
        try:
            child.start()
            return asyncio.run(_measure(rig, child, f"http://127.0.0.1:{port}", pool, say))
        finally:
            child.stop()


async def _measure(rig: LiveRig, child: Child, url: str, pool: Pool, say: Say) -> list[Figure]:
    clips = [(_spoken(clip.path), clip.text) for clip in pool.clips if KIND in clip.path.parts][:CLIPS]
    figures: list[Figure] = []
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(headers=rig.headers, timeout=timeout) as ours,
        aiohttp.ClientSession(timeout=timeout) as theirs,
    ):
        await _until_it_answers(theirs, url, child)
        model = str(builtin_model_folder(BuiltinName.COMMANDS))
        for server in (Server("voxfleet", rig.hearing_url, ours), Server("mlx_audio", url, theirs, model)):
            await _heard(server, clips[:1], 1)
            for clients in (1, CLIENTS):
                outcome = await _heard(server, clips, clients)
                figures += _figures(server.name, outcome, clients, len(clips))
                say(f"{server.name}, {clients} clients: {figures[-3].value:.1f} ms p95, {outcome.cut_short} cut short")
        spoken = await first_audio(ours, rig.speaking_url, TEXT, CLIPS)
        figures.append(Figure("beside_first_audio_p95_ms_voxfleet", spoken.percent(95), "ms to a line's first audio"))
        for path, answers in (("transcriptions", _transcribes), ("speech", _speaks)):
            told = await answers(theirs, url, clips[0][0], model)
            say(f"mlx_audio, POST /v1/audio/{path}: {told or 'answers'}")
            figures.append(Figure(f"beside_{path}_unanswered_mlx_audio", float(bool(told)), "of one, over HTTP"))
    say(f"last of mlx_audio.server:\n{child.log_tail(LOG_LINES)}")
    return figures


async def _heard(server: Server, clips: Sequence[tuple[Spoken, str]], clients: int) -> Outcome:
    outcome, left = Outcome(), iter(clips)

    async def speak() -> None:
        for one, wanted in left:
            size = one.frame_bytes(FRAME_MILLISECONDS)
            try:
                heard = await as_mlx_audio(server.client, server.url, one, size, model=server.model)
            except (TimeoutError, aiohttp.ClientError):
                outcome.refused += 1
                continue
            outcome.refused += bool(heard.error)
            outcome.cut_short += len(heard.text.split()) < len(wanted.split())
            if heard.last_text_seconds is not None:
                outcome.milliseconds.append(heard.last_text_seconds * 1000)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(speak())
    return outcome


def _figures(name: str, outcome: Outcome, clients: int, clips: int) -> list[Figure]:
    told = f"of {clips} clips, {clients} clients, its socket"
    ascending = sorted(round(each * 1000) for each in outcome.milliseconds) or [0]
    ours = name == "voxfleet"
    of_text = f"ms from a clip's last frame to its last text, {told}; {len(outcome.milliseconds)} had one after it"
    return [
        Figure(f"beside_text_median_ms_{name}_{clients}", statistics.median(ascending) / 1000, of_text),
        Figure(f"beside_text_p95_ms_{name}_{clients}", percentile(ascending, 95) / 1000, of_text),
        Figure(
            f"beside_texts_cut_short_{name}_{clients}", float(outcome.cut_short), told, Goal("<=", 0) if ours else None
        ),
        Figure(f"beside_refused_{name}_{clients}", float(outcome.refused), told, Goal("<=", 0) if ours else None),
    ]


async def _until_it_answers(client: aiohttp.ClientSession, url: str, child: Child) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            if not child.running:
                told = child.log_tail(LOG_LINES)
                raise MeasurementFailed(f"mlx_audio.server ended; its packages come with hack/setup.sh peers\n{told}")
            try:
                async with client.get(f"{url}/v1/models"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.5)


async def _transcribes(client: aiohttp.ClientSession, url: str, spoken: Spoken, model: str) -> str:
    """Returns why there is no answer, or nothing."""
    form = aiohttp.FormData()
    form.add_field("model", model)
    form.add_field("file", spoken.wav(), filename="clip.wav")
    return await _unanswered(client, f"{url}/v1/audio/transcriptions", form)


async def _speaks(client: aiohttp.ClientSession, url: str, spoken: Spoken, model: str) -> str:
    return await _unanswered(client, f"{url}/v1/audio/speech", aiohttp.JsonPayload({"model": model, "input": TEXT}))


async def _unanswered(client: aiohttp.ClientSession, url: str, body: aiohttp.FormData | aiohttp.Payload) -> str:
    try:
        async with asyncio.timeout(ANSWER_SECONDS), client.post(url, data=body) as answer:
            if answer.status != HTTPStatus.OK:
                return f"{answer.status} {await answer.text()}"
            return "" if await answer.content.readany() else "an empty answer"
    except TimeoutError:
        return f"nothing within {ANSWER_SECONDS:g} s"
    except aiohttp.ClientError as error:
        return str(error)


def _spoken(path: Path) -> Spoken:
    with wave.open(str(path)) as opened:
        return Spoken(path.stem, opened.readframes(opened.getnframes()), opened.getframerate())
