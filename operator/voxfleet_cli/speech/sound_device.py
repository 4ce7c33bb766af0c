"""The microphone and the loudspeaker of the caller's machine, by sounddevice (PortAudio), where that is installed."""

from __future__ import annotations

import asyncio
import importlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol, cast

FRAMES_A_SECOND = 50
MAX_WAITING_SECONDS = 30
"""Of audio that was heard and not sent; then the gateway is too slow for a microphone."""
_ADVICE = "pip install 'voxfleet[audio]' (on Linux also the package libportaudio2)"


class NoSoundDevice(Exception):
    """There is no device, or nothing to reach it by; the message says which, and what to do."""


class _Stream(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...
    def write(self, data: bytes) -> bool: ...


_Heard = Callable[[memoryview, int, object, object], None]


class _Library(Protocol):
    """What is used of sounddevice."""

    PortAudioError: type[Exception]

    def query_devices(self, *, kind: str) -> object: ...
    def RawInputStream(  # noqa: N802 # its name there
        self, *, samplerate: int, channels: int, dtype: str, blocksize: int, callback: _Heard
    ) -> _Stream: ...
    def RawOutputStream(self, *, samplerate: int, channels: int, dtype: str) -> _Stream: ...  # noqa: N802 # its name there


class Loudspeaker:
    """Plays PCM16 of one channel. `open_loudspeaker` looks for the device before anything is asked for."""

    def __init__(self, library: _Library) -> None:
        self._library = library
        self._stream: _Stream | None = None

    async def play(self, samples: bytes, rate_hz: int) -> None:
        """Waits while the device has enough to play. Raises NoSoundDevice."""
        try:
            if self._stream is None:
                self._stream = self._library.RawOutputStream(samplerate=rate_hz, channels=1, dtype="int16")
                self._stream.start()
            await asyncio.to_thread(self._stream.write, samples)
        except self._library.PortAudioError as error:
            raise NoSoundDevice(f"the loudspeaker cannot play {rate_hz} Hz ({error}); write --output") from error

    async def finish(self) -> None:
        """Returns once all has been played."""
        if self._stream is not None:
            await asyncio.to_thread(self._stream.stop)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


def open_loudspeaker() -> Loudspeaker:
    """Raises NoSoundDevice."""
    return Loudspeaker(_library("output", "--output FILE writes the speech without one"))


async def microphone(rate_hz: int, stopped: asyncio.Event) -> AsyncIterator[bytes]:
    """PCM16 of one channel, until `stopped`. Raises NoSoundDevice, also when audio waits for too long."""
    library = _library("input", "- reads audio from standard input without one")
    loop, news = asyncio.get_running_loop(), asyncio.Event()
    waiting: deque[bytes] = deque(maxlen=MAX_WAITING_SECONDS * FRAMES_A_SECOND)
    overrun = asyncio.Event()

    def keep(frame: bytes) -> None:
        if len(waiting) == waiting.maxlen:
            overrun.set()
        waiting.append(frame)
        news.set()

    def heard(frame: memoryview, _samples: int, _time: object, _status: object) -> None:
        loop.call_soon_threadsafe(keep, bytes(frame))

    try:
        stream = library.RawInputStream(
            samplerate=rate_hz, channels=1, dtype="int16", blocksize=rate_hz // FRAMES_A_SECOND, callback=heard
        )
        stream.start()
    except library.PortAudioError as error:
        raise NoSoundDevice(f"the microphone cannot record {rate_hz} Hz ({error}); write another --rate") from error
    ending = asyncio.create_task(stopped.wait())
    try:
        while not stopped.is_set():
            hearing = asyncio.create_task(news.wait())
            await asyncio.wait([hearing, ending], return_when=asyncio.FIRST_COMPLETED)
            hearing.cancel()
            news.clear()
            while waiting:
                yield waiting.popleft()
            if overrun.is_set():
                raise NoSoundDevice(f"the gateway is {MAX_WAITING_SECONDS} s behind the microphone; start again")
    finally:
        ending.cancel()
        stream.stop()
        stream.close()


def _library(kind: str, without: str) -> _Library:
    try:
        library = cast(_Library, importlib.import_module("sounddevice"))
    except (ImportError, OSError) as error:  # OSError: there is no PortAudio
        raise NoSoundDevice(f"no audio device can be reached: {_ADVICE}; {without}") from error
    try:
        library.query_devices(kind=kind)
    except (library.PortAudioError, ValueError) as error:
        raise NoSoundDevice(f"this machine has no audio device for {kind}; {without}") from error
    return library
