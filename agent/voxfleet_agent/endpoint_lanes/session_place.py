"""A place for a session on an endpoint's lane: taken before its caller's first message, free once the session ends."""

from __future__ import annotations

from types import TracebackType

from voxfleet_agent.endpoint_lanes.live_lane import LiveLane
from voxfleet_agent.endpoint_lanes.session_requests import file_request, hearing_request, speaking_request
from voxfleet_agent.lanes.lane_session import FileSession, HearingSession, SpeakingSession
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.session_protocol import OpenHearing, OpenSpeaking, OpenUpload, TurnMeasured

OpenedSession = HearingSession | FileSession | SpeakingSession


class SessionPlace:
    """A context manager for as long as the caller is connected. It stays with the generation that it was taken of."""

    def __init__(self, live: LiveLane) -> None:
        self._live = live
        self._awaited = True

    def __enter__(self) -> SessionPlace:
        self._live.sockets += 1
        self._live.awaited_sessions += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.sockets -= 1
        self._give_up_wait()

    def open(self, request: OpenHearing | OpenUpload | OpenSpeaking) -> OpenedSession:
        """To be called once. Raises VoxFleetError: INVALID_INPUT, THROTTLED (full, not warm), MACHINE_RETURNED."""
        self._give_up_wait()
        lane = self._live.lane_for_sessions
        if lane is None:
            raise VoxFleetError(FailureClass.MACHINE_RETURNED, "the lane is given back; open a session on another")
        spec = self._live.spec
        match request:
            case OpenSpeaking():
                return lane.open_speaking(speaking_request(request, spec.synthesis))
            case _ if spec.task is not Task.TRANSCRIBE:
                raise VoxFleetError(FailureClass.INVALID_INPUT, "the endpoint speaks; open a session with a text")
            case OpenUpload():
                return lane.open_file(file_request(request))
            case OpenHearing():
                return lane.open_hearing(hearing_request(request))

    def measured(self, turn: TurnMeasured) -> None:
        """Takes what the caller measured of a turn; also after the session's end."""
        self._live.latencies.measured(turn)

    def _give_up_wait(self) -> None:
        if self._awaited:
            self._awaited = False
            self._live.awaited_sessions -= 1
