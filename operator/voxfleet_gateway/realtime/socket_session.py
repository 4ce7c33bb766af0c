"""One socket from its upgrade to its end: what the client says goes to the lane, what the lane tells to the client."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import web

from voxfleet_api.session_protocol import AudioTaken, Ended, SpeechStarted, TextDelta, TurnCommitted, TurnDone
from voxfleet_gateway.api_call import ApiCall
from voxfleet_gateway.lane_session import LaneSession
from voxfleet_gateway.realtime.client_socket import ClientGone, ClientSocket
from voxfleet_gateway.realtime.endings import FAULTY, Ending, lane_ended, refused
from voxfleet_gateway.realtime.held_lane import HeldLane
from voxfleet_gateway.realtime.lane_feed import LaneFeed
from voxfleet_gateway.realtime.liveness import Ping, Rest, SocketState, SocketTimes, Unreachable, watched
from voxfleet_gateway.realtime.pcm_samples import SAMPLE_BYTES
from voxfleet_gateway.realtime.steps import (
    Clear,
    Close,
    Commit,
    End,
    Hear,
    Open,
    RealtimeFormat,
    Steps,
    Tell,
    TurnEvent,
)
from voxfleet_gateway.realtime.turn_timing import Told, TurnTiming
from voxfleet_gateway.refusals import CallRefused


class _Over(Exception):
    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.message)
        self.ending = ending


async def serve_socket(
    request: web.Request, call: ApiCall, spoken: RealtimeFormat, times: SocketTimes
) -> web.StreamResponse:
    """Raises CallRefused before the upgrade; afterwards the close code says how it ended."""
    limits = call.endpoint.spec.session
    socket = ClientSocket(request, max_frame_bytes=limits.max_frame_bytes, times=times, now_seconds=call.now_seconds)
    socket.check_upgrade()
    lane = HeldLane(call.open_session)
    try:
        await lane.reserve(spoken.reservation())
        await socket.upgrade()
        try:
            ending = await SocketSession(call, socket, spoken, lane, times).run()
        except Exception:
            await _part(socket, spoken, FAULTY)
            raise
        async with asyncio.TaskGroup() as parting:
            parting.create_task(_part(socket, spoken, ending))
            await lane.release()
    finally:
        await lane.release()
    return socket.response


async def _part(socket: ClientSocket, spoken: RealtimeFormat, ending: Ending | None) -> None:
    """`ending`: None for a client that is gone, or was cut off."""
    if ending is None:
        await socket.linger()
        socket.leave()
        return
    try:
        for message in spoken.farewell(ending):
            await socket.tell(message)
        await socket.close(ending)
    except ClientGone:
        socket.leave()


class SocketSession:
    def __init__(
        self, call: ApiCall, socket: ClientSocket, spoken: RealtimeFormat, lane: HeldLane, times: SocketTimes
    ) -> None:
        self._call = call
        self._now = call.now_seconds
        self._socket = socket
        self._format = spoken
        self._lane = lane
        self._times = times
        self._feed = LaneFeed()
        self._timing: TurnTiming | None = None
        self._last_said = self._now()
        self._awaited_turns = 0
        self._audio_ended = False

    async def run(self) -> Ending | None:
        """Returns why it ended; None: the client is gone."""
        ending: Ending | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch())
                await self._follow_client(tasks)
        except* _Over as over:
            ending = _first(over)
        except* ClientGone:
            ending = None
        return ending

    async def _follow_client(self, tasks: asyncio.TaskGroup) -> None:
        """Opens the lane's session too: it is left in the task that entered it."""
        await self._take(self._format.greeting(), tasks)
        while True:
            message = await self._socket.receive()
            self._last_said = self._now()
            await self._take(self._format.client_said(message), tasks)

    async def _take(self, steps: Steps, tasks: asyncio.TaskGroup) -> None:
        arrived = self._now()
        for step in steps:
            match step:
                case Tell():
                    await self._tell(step)
                case Open():
                    try:
                        session = await self._lane.open(step.request)
                    except CallRefused as call:
                        raise _Over(refused(call)) from call
                    self._timing = TurnTiming(step.request.sample_rate_hz)
                    tasks.create_task(self._follow_lane(session, self._timing))
                    tasks.create_task(self._feed.feed(session, self._sent))
                case Hear():
                    if self._timing is not None:
                        self._timing.arrived(len(step.pcm) // SAMPLE_BYTES, arrived)
                    await self._feed.put(step.pcm)
                case End():
                    self._audio_ended = True
                    await self._feed.put(step)
                case Commit() | Clear():
                    await self._feed.put(step)
                case Close():
                    raise _Over(step.ending)

    def _sent(self, samples: int) -> None:
        if self._timing is not None:
            self._timing.sent(samples, self._now())

    async def _follow_lane(self, session: LaneSession, timing: TurnTiming) -> None:
        async for event in session.events():
            match event:
                case Ended():
                    raise _Over(lane_ended(event, asked_for=self._audio_ended))
                case AudioTaken() | bytes():
                    continue
                case TurnCommitted():
                    self._awaited_turns += 1
                case SpeechStarted():
                    timing.speech_started(event)
                case _:
                    pass
            told_seconds = self._now()
            for step in self._format.lane_said(event):
                if isinstance(step, Tell):
                    await self._tell(step)
            await self._measure(event, session, timing, Told(told_seconds, self._now()))

    async def _measure(self, event: TurnEvent, session: LaneSession, timing: TurnTiming, told: Told) -> None:
        measured = None
        if isinstance(event, TextDelta):
            measured = timing.text_told(event, told, tunnel_milliseconds=session.tunnel_milliseconds)
        elif isinstance(event, TurnDone):
            self._awaited_turns = max(0, self._awaited_turns - 1)
            measured = timing.turn_told(event, told, tunnel_milliseconds=session.tunnel_milliseconds)
        if measured is not None:
            await session.measured(measured)

    async def _tell(self, step: Tell) -> None:
        await self._socket.tell(step.message)
        self._last_said = self._now()

    async def _watch(self) -> None:
        limits = self._call.endpoint.spec.session
        while True:
            match watched(self._state(), limits, self._times, self._now()):
                case Ending() as ending:
                    raise _Over(ending)
                case Unreachable.CLIENT:
                    raise ClientGone
                case Ping.NOW:
                    await self._socket.ping()
                case Rest(seconds=seconds):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(seconds):
                            await self._call.closing.wait()

    def _state(self) -> SocketState:
        return SocketState(
            is_draining=self._call.closing.is_set(),
            deadline=self._call.deadline_seconds,
            reading_since=self._socket.reading_since,
            last_received=self._socket.last_received,
            last_said=self._last_said,
            pinged_at=self._socket.pinged_at,
            awaits_text=self._audio_ended or self._awaited_turns > 0,
        )


def _first(over: BaseExceptionGroup[_Over]) -> Ending | None:
    for error in over.exceptions:
        if isinstance(error, _Over):
            return error.ending
        if isinstance(error, BaseExceptionGroup):
            found = _first(error)
            if found is not None:
                return found
    return None
