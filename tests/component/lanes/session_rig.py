"""A real child of a lane and what its sessions say, as the agent's side of a lane hears it."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import mlx_audio_io  # type: ignore[import-untyped] # it ships no types
import numpy as np
import numpy.typing as npt
from tests.component.lanes.lane_rig import END_SECONDS, contract

from voxfleet_agent.lane_protocol.messages import Message, SessionLimits
from voxfleet_agent.lane_protocol.session_messages import (
    EndSession,
    HearAudio,
    OpenHearing,
    SessionEnded,
    SpokenAudio,
    TextDelta,
    TurnDetection,
    TurnDone,
)
from voxfleet_agent.lanes.child_environment import child_environment
from voxfleet_agent.lanes.child_process import ChildProcess
from voxfleet_agent.lanes.lane_types import LaneSpec
from voxfleet_agent.models.resolved_model import ResolvedModel

RATE_HZ = 16_000
VAD = TurnDetection(threshold_percent=50, prefix_padding_milliseconds=300, silence_milliseconds=500)
LIMITS = SessionLimits(most_sessions=8, max_turn_milliseconds=20_000)
Samples = npt.NDArray[np.float32]
T = TypeVar("T", bound=Message)


async def start_child(
    folder: Path, worker: Sequence[str] = (sys.executable, "-m", "voxfleet_agent.worker.main")
) -> ChildProcess:
    return await ChildProcess.start(worker, folder, child_environment(os.environ, folder), 2**30, None)


class Client:
    """Everything that a child says, in order and by session."""

    def __init__(self, child: ChildProcess) -> None:
        self.child = child
        self.heard: list[Message] = []
        self._numbers = itertools.count(1)

    async def load(self, model: ResolvedModel, spec: LaneSpec) -> None:
        await self.child.load(model, spec, memory_cap_bytes=2**30, environment={})

    def number(self) -> int:
        return next(self._numbers)

    def send(self, *requests: Message) -> None:
        for request in requests:
            self.child.send(request)

    async def until(self, kind: type[T], session: int | None = None, count: int = 1) -> T:
        """Listens until so many messages of the kind have come; returns the last."""
        async with asyncio.timeout(2 * END_SECONDS):
            while True:
                found = [
                    message
                    for message in self.heard
                    if isinstance(message, kind) and (session is None or getattr(message, "session", None) == session)
                ]
                if len(found) >= count:
                    return found[count - 1]
                self.heard.append(await self.child.receive())

    def of(self, kind: type[T], session: int) -> list[T]:
        return [m for m in self.heard if isinstance(m, kind) and getattr(m, "session", None) == session]

    def texts(self, session: int) -> list[str]:
        """The text of each turn; each is checked to be what its deltas were."""
        turns = self.of(TurnDone, session)
        for turn in turns:
            deltas = [delta.text for delta in self.of(TextDelta, session) if delta.turn == turn.turn]
            assert "".join(deltas) == turn.text
        return [turn.text for turn in turns]

    def spoken(self, session: int) -> npt.NDArray[np.int16]:
        return np.frombuffer(b"".join(audio.pcm for audio in self.of(SpokenAudio, session)), "<i2")

    async def hear(self, pcm: bytes, frame_milliseconds: int, opening: OpenHearing) -> SessionEnded:
        """A whole session, as fast as possible."""
        self.send(opening, *frames(opening.session, pcm, frame_milliseconds, opening.sample_rate_hz))
        self.send(EndSession(session=opening.session))
        return await self.until(SessionEnded, opening.session)


def opening(
    session: int, *, rate_hz: int = RATE_HZ, detection: TurnDetection | None = None, partial: int = 500
) -> OpenHearing:
    return OpenHearing(
        session=session,
        sample_rate_hz=rate_hz,
        turn_detection=detection,
        partial_milliseconds=partial,
        max_turn_milliseconds=20_000,
    )


def frames(session: int, pcm: bytes, frame_milliseconds: int, rate_hz: int = RATE_HZ) -> Iterable[HearAudio]:
    size = 2 * (rate_hz * frame_milliseconds // 1000)
    return (HearAudio(session=session, pcm=pcm[start : start + size]) for start in range(0, len(pcm), size))


def pcm_of(samples: Samples) -> bytes:
    return np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype("<i2").tobytes()


def clip_samples(path: Path) -> tuple[Samples, int]:
    """(N,) mono float32, and the rate in Hz."""
    samples, rate_hz = mlx_audio_io.load(str(path), mono=True, layout="channels_last")
    return np.asarray(samples, np.float32).reshape(-1), int(rate_hz)


__all__ = [
    "LIMITS",
    "RATE_HZ",
    "VAD",
    "Client",
    "clip_samples",
    "contract",
    "frames",
    "opening",
    "pcm_of",
    "start_child",
]
