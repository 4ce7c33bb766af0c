"""Two thousand sessions, in order, given up and cut off: what gateway, agent and lanes hold stays flat.

And what a lane takes at most for a turn that is streamed, beside the same audio as a whole recording.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import httpx
from tests.bench.counted_tasks import counted
from tests.bench.failure import MeasurementFailed
from tests.bench.process_account import ProcessAccount, account_of
from tests.bench.report import Figure, Goal
from tests.bench.resident import PeakResident
from tests.bench.session_mixture import Mixture
from tests.bench.socket_clients import Spoken, as_mlx_audio
from tests.bench.socket_figures import CLIPS, SHORT_CONTRACT, demo_clips, spoken_clip
from tests.bench.speech_rig import SpeechRig, lane_children

from voxfleet_api.endpoint_lanes import LaneList, LaneState

SESSIONS = 2000
BLOCK = 200
"""After so many, once all have ended, it is looked what is held."""
AT_ONCE = 4
PLACES = 8
UPLOAD_BYTES = 4 * 2**20
QUIET_SECONDS, WARM_AGAIN_SECONDS = 30.0, 60.0
TURN_SECONDS = 25
PEAK_ROUNDS = 3
MOST_GROWTH = 1.05
MOST_PEAK = 1.05
MOST_MORE = 2
"""Open files, threads and tasks come and go: one that is just being closed may be counted."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Held:
    """After some sessions, while none is open."""

    processes: dict[str, ProcessAccount]
    queued_bytes: int
    scratch_files: int


def session_figures(directory: Path, sessions: int, say: Say) -> list[Figure]:
    """Raises MeasurementFailed, ChildFailed, KubectlFailed."""
    session = {"maxPerLane": PLACES, "maxUploadBytes": UPLOAD_BYTES}
    spec: dict[str, object] = {"turnDetection": {"type": "None"}, "session": session}
    rig = SpeechRig(directory, readable=CLIPS, contract=SHORT_CONTRACT, spec=spec, speaks=True)
    tasks = {name: directory / f"{name}.tasks" for name in ("gateway", "agent")}
    rig.gateway.child.argv = counted(rig.gateway.child.argv, tasks["gateway"])
    rig.macs[0].agent.argv = counted(rig.macs[0].agent.argv, tasks["agent"])
    with rig:
        return [*asyncio.run(_peaks(rig, say)), *asyncio.run(_flatness(rig, tasks, sessions, say))]


async def _flatness(rig: SpeechRig, tasks: dict[str, Path], sessions: int, say: Say) -> list[Figure]:
    path, text = demo_clips()[0]
    held: list[_Held] = []
    connector = aiohttp.TCPConnector(force_close=True)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(headers=rig.headers, timeout=timeout, connector=connector) as client:
        mixture = Mixture(client, rig.url, rig.speaker_url, spoken_clip(path), path.read_bytes(), text)
        for first in range(0, sessions, BLOCK):
            numbers = iter(range(first, min(first + BLOCK, sessions)))

            async def some(numbers: Iterator[int] = numbers) -> None:
                for number in numbers:
                    await mixture.one(number)

            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(some())
            await asyncio.to_thread(_wait_for_quiet, rig)
            held.append(_look(rig, tasks))
            processes = "; ".join(f"{name} {account}" for name, account in held[-1].processes.items())
            say(f"{min(first + BLOCK, sessions)} sessions: {processes}")
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(mixture.ended.items()))
    say(f"sessions by kind: {kinds}; {mixture.waited_for_room} times there was no room at once")
    return _figures(held, sessions)


def _wait_for_quiet(rig: SpeechRig) -> None:
    """Until nobody counts a session any more. Raises MeasurementFailed."""
    gateway = {"voxfleet_gateway_open_sessions 0.0", "voxfleet_gateway_open_calls 0.0"}

    def quiet() -> bool:
        counts = {*rig.gateway.health.answer("/metrics").splitlines(), *_agent_metrics(rig).splitlines()}
        return gateway <= counts and "voxfleet_agent_open_sessions 0.0" in counts

    rig.wait_for("no session is open", quiet, QUIET_SECONDS)


def _agent_metrics(rig: SpeechRig) -> str:
    (mac,) = rig.macs
    answer = httpx.get(f"{mac.url}/metrics", headers={"Authorization": f"Bearer {mac.token}"}, trust_env=False)
    return answer.text


def _look(rig: SpeechRig, tasks: dict[str, Path]) -> _Held:
    (mac,) = rig.macs
    hearing, speaking = lane_children(mac)
    processes = {
        "gateway": account_of(rig.gateway.child.pid, tasks["gateway"]),
        "agent": account_of(mac.agent.pid, tasks["agent"]),
        "first lane": account_of(hearing.pid),
        "second lane": account_of(speaking.pid),
    }
    (queued,) = [
        line.rpartition(" ")[2]
        for line in rig.gateway.health.answer("/metrics").splitlines()
        if line.startswith("voxfleet_gateway_queued_bytes ")
    ]
    return _Held(processes, round(float(queued)), sum(found.is_file() for found in mac.scratch.rglob("*")))


def _figures(held: list[_Held], sessions: int) -> list[Figure]:
    first, last = held[0], held[-1]
    between = f"between the {BLOCK}th and the {sessions}th session"
    figures: list[Figure] = []
    for name, then in first.processes.items():
        now, known = last.processes[name], name.replace(" ", "_")
        figures += [
            Figure(
                f"sessions_{known}_memory_growth",
                now.resident_bytes / then.resident_bytes,
                f"resident memory, {between}; {now.resident_bytes / 2**20:.0f} MiB at the end",
                Goal("<=", MOST_GROWTH),
            ),
            Figure(f"sessions_{known}_files_more", now.files - then.files, between, Goal("<=", MOST_MORE)),
            Figure(f"sessions_{known}_threads_more", now.threads - then.threads, between, Goal("<=", MOST_MORE)),
        ]
        if now.tasks is not None and then.tasks is not None:
            figures.append(
                Figure(f"sessions_{known}_tasks_more", now.tasks - then.tasks, between, Goal("<=", MOST_MORE))
            )
    queued = max(each.queued_bytes for each in held)
    residue = max(each.scratch_files for each in held)
    return [
        *figures,
        Figure("sessions_queued_bytes", queued, "bytes at most, while no session is open", Goal("<=", 0)),
        Figure("sessions_scratch_residue", residue, f"files in scratch at most, of {sessions} sessions", Goal("<=", 0)),
    ]


async def _peaks(rig: SpeechRig, say: Say) -> list[Figure]:
    """Each from a process that has heard nothing yet."""
    path, _ = demo_clips()[0]
    clip = spoken_clip(path)
    turn = Spoken("turn", (clip.pcm * TURN_SECONDS)[: clip.frame_bytes(1000) * TURN_SECONDS], clip.rate_hz)
    recording = turn.wav()
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(headers=rig.headers, timeout=timeout) as client:

        async def whole() -> None:
            form = aiohttp.FormData({"model": "captions"})
            form.add_field("file", recording, filename="turn.wav", content_type="audio/wav")
            async with client.post(f"{rig.url}/v1/audio/transcriptions", data=form) as answer:
                if answer.status != 200:
                    raise MeasurementFailed(f"the recording was answered with {answer.status}: {await answer.text()}")

        async def streamed() -> None:
            heard = await as_mlx_audio(client, rig.url, turn, turn.frame_bytes(100))
            if heard.error or heard.close_code != 1000:
                raise MeasurementFailed(f"the turn was not heard: {heard}")

        peaks: dict[str, int] = {}
        for name, hear in (("whole", whole), ("streamed", streamed)):
            await asyncio.to_thread(_anew, rig)
            with PeakResident(lane_children(rig.macs[0])[0]) as peak:
                for _ in range(PEAK_ROUNDS):
                    await hear()
                peaks[name] = peak.peak_bytes
            say(f"{TURN_SECONDS} s {name}: the lane took {peaks[name] / 2**20:.1f} MiB at most")
    ratio = peaks["streamed"] / peaks["whole"]
    what = f"peak of a lane's memory, a turn of {TURN_SECONDS} s as it comes, over the same as a recording"
    return [Figure("sessions_streamed_peak_ratio", ratio, what, Goal("<=", MOST_PEAK))]


def _anew(rig: SpeechRig) -> None:
    """Returns once all lanes have processes that have heard nothing but their warm-up."""
    before = {child.pid for child in lane_children(rig.macs[0])}
    rig.restart_lane_children()

    def restarted() -> bool:
        now = {child.pid for child in lane_children(rig.macs[0])}
        return len(now) == len(before) and not now & before and rig.warm_lanes() == len(rig.macs)

    rig.wait_for("the lanes' new processes", restarted, WARM_AGAIN_SECONDS)
    _wait_until_ready(rig)


def _wait_until_ready(rig: SpeechRig) -> None:
    """The status may lag behind: the agent says which lanes are ready."""
    (mac,) = rig.macs
    rig.wait_for(
        "the lanes are ready",
        lambda: all(lane.state is LaneState.READY for lane in LaneList.load(mac.get_json("/v1/lanes")).lanes),
        WARM_AGAIN_SECONDS,
    )
