"""What gateway and tunnel add to a turn: the same turns through them, and by the same lane's protocol to the agent."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from tests.bench.endpoint_calls import (
    TURNS_A_SESSION,
    Latencies,
    Utterance,
    due_frames,
    hearing_session,
)
from tests.bench.failure import MeasurementFailed
from tests.bench.live_rig import LiveRig
from tests.rig.session_caller import SessionCaller, session_caller

from voxfleet_api.protocol import CONTROL_PLANE_HEADER
from voxfleet_api.session_protocol import CommitTurn, Opened, OpenHearing, TurnDone

PARTIAL_MILLISECONDS, MOST_TURN_MILLISECONDS = 500, 30_000
"""As the gateway opens a session of this endpoint."""


@dataclass
class Overhead:
    direct: Latencies = field(default_factory=Latencies)
    through: Latencies = field(default_factory=Latencies)

    def added(self, percent: int) -> float:
        """Milliseconds, of the two distributions."""
        return self.through.percent(percent) - self.direct.percent(percent)


async def overhead(rig: LiveRig, client: aiohttp.ClientSession, spoken: Sequence[Utterance], turns: int) -> Overhead:
    """Turn by turn, now this way and now that: what else happens on the machine meets both."""
    found = Overhead()
    for first in range(0, turns, TURNS_A_SESSION):
        async with (
            _direct_session(rig, spoken[0].rate_hz) as caller,
            hearing_session(client, rig.hearing_url, spoken[0].rate_hz) as session,
        ):
            for number in range(first, min(first + TURNS_A_SESSION, turns)):
                utterance = spoken[number % len(spoken)]
                for is_direct in (True, False) if number % 2 else (False, True):
                    if is_direct:
                        found.direct.record(*await _direct_turn(caller, utterance))
                    else:
                        found.through.record(*await session.turn(utterance))
    if found.direct.texts != found.through.texts:
        raise MeasurementFailed("turns through the gateway have other texts than those to the agent")
    return found


@asynccontextmanager
async def _direct_session(rig: LiveRig, rate_hz: int) -> AsyncIterator[SessionCaller]:
    headers = {CONTROL_PLANE_HEADER: rig.bound_to()}
    async with session_caller(rig.mac.url, rig.hearing_lane(), rig.mac.session_token, headers=headers) as caller:
        opened = await caller.open(
            OpenHearing(
                sample_rate_hz=rate_hz,
                partial_milliseconds=PARTIAL_MILLISECONDS,
                max_turn_milliseconds=MOST_TURN_MILLISECONDS,
            )
        )
        if not isinstance(opened, Opened):
            raise MeasurementFailed(f"the agent opened no session: {opened}")
        yield caller


async def _direct_turn(caller: SessionCaller, utterance: Utterance) -> tuple[float, str]:
    """As HearingSession.turn."""
    sent_seconds = 0.0
    async for frame in due_frames(utterance):
        sent_seconds = time.perf_counter()
        await caller.send_audio(frame)
    await caller.send(CommitTurn())
    while (answer := await caller.next_answer()) is not None:
        if isinstance(answer, TurnDone):
            if answer.failure_class is not None:
                raise MeasurementFailed(f"{answer.failure_class}: {answer.reason}")
            return (time.perf_counter() - sent_seconds) * 1000, answer.text
    raise MeasurementFailed("the agent closed the session before the text")
