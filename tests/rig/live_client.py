"""A client of an endpoint's socket that speaks as mlx-audio's example does, and a reader of the clips it sends."""

from __future__ import annotations

import json
import wave
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

OPEN_SECONDS = 30.0
SAMPLE_BYTES = 2


def pcm(clip: Path) -> tuple[bytes, int]:
    """The samples of a WAV of one channel, and their rate in Hz."""
    with wave.open(str(clip)) as opened:
        assert (opened.getnchannels(), opened.getsampwidth()) == (1, SAMPLE_BYTES), clip.name
        return opened.readframes(opened.getnframes()), opened.getframerate()


@dataclass(frozen=True, slots=True)
class Heard:
    """What a session told until its socket closed."""

    deltas: list[str] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    close_code: int = 0

    @property
    def text(self) -> str:
        return " ".join(turn for turn in self.turns if turn)


class LiveClient:
    """One session. Opening it raises websockets' InvalidStatus where it is refused."""

    def __init__(self, url: str, key: str, rate_hz: int) -> None:
        address = f"{url.replace('http', 'ws', 1)}/v1/audio/transcriptions/realtime"
        self._socket = connect(
            address,
            additional_headers={"Authorization": f"Bearer {key}"},
            open_timeout=OPEN_SECONDS,
            proxy=None,
        )
        self._socket.send(json.dumps({"sample_rate": rate_hz, "streaming": True}))
        first = json.loads(self._socket.recv(OPEN_SECONDS))
        assert first.get("status") == "ready", first

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, samples: bytes, frame_bytes: int = 3201) -> None:
        """In frames of any size, also of odd ones."""
        for start in range(0, len(samples), frame_bytes):
            self._socket.send(samples[start : start + frame_bytes])

    def stop(self) -> Heard:
        with suppress(ConnectionClosed):  # what came before its end is still there
            self._socket.send(json.dumps({"action": "stop"}))
        return self.until_closed()

    def until_closed(self, timeout_seconds: float = 60.0) -> Heard:
        deltas: list[str] = []
        turns: list[str] = []
        errors: list[str] = []
        try:
            while True:
                message = json.loads(self._socket.recv(timeout_seconds))
                if message.get("type") == "delta":
                    deltas.append(message["delta"])
                elif message.get("type") == "complete":
                    turns.append(message["text"])
                else:
                    errors.append(json.dumps(message))
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd is not None else 1006
            return Heard(deltas, turns, errors, code)
