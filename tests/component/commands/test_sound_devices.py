"""`transcribe --mic` and `speak --stream` with a microphone and a loudspeaker that a small library stands in for."""

from __future__ import annotations

import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator

import pytest
from tests.rig.gateway_stand_in import KEY, RATE_HZ, SAMPLES, GatewayStandIn, gateway_stand_in
from typer.testing import CliRunner, Result

from voxfleet_cli.main import app

FRAMES = 5


class NoDevice(Exception):
    """As sounddevice's PortAudioError."""


class StandInLibrary(types.ModuleType):
    """Of sounddevice, what is used. The microphone hears some frames, and then somebody presses Ctrl-C."""

    PortAudioError = NoDevice

    def __init__(self, *kinds: str) -> None:
        super().__init__("sounddevice")
        self.kinds = kinds
        self.played = b""
        self.played_hz = 0
        self.stopped = 0

    def query_devices(self, *, kind: str) -> object:
        if kind not in self.kinds:
            raise NoDevice("Error querying device -1")
        return {}

    def RawInputStream(  # noqa: N802 # its name there
        self, *, samplerate: int, channels: int, dtype: str, blocksize: int, callback: Callable[..., None]
    ) -> StandInStream:
        assert (channels, dtype) == (1, "int16")

        def hear() -> None:
            for number in range(FRAMES):
                callback(memoryview(bytes([number]) * blocksize * 2), blocksize, None, None)
            os.kill(os.getpid(), signal.SIGINT)

        return StandInStream(self, threading.Thread(target=hear).start)

    def RawOutputStream(self, *, samplerate: int, channels: int, dtype: str) -> StandInStream:  # noqa: N802 # its name
        assert (channels, dtype) == (1, "int16")
        self.played_hz = samplerate
        return StandInStream(self, lambda: None)


class StandInStream:
    def __init__(self, library: StandInLibrary, start: Callable[[], None]) -> None:
        self._library = library
        self.start = start

    def write(self, data: bytes) -> bool:
        self._library.played += data
        return False

    def stop(self) -> None:
        self._library.stopped += 1

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def gateway() -> Iterator[GatewayStandIn]:
    with gateway_stand_in() as started:
        yield started


@pytest.fixture
def with_devices(monkeypatch: pytest.MonkeyPatch) -> Callable[..., StandInLibrary]:
    def install(*kinds: str) -> StandInLibrary:
        library = StandInLibrary(*kinds)
        monkeypatch.setitem(sys.modules, "sounddevice", library)
        return library

    monkeypatch.setenv("VOXFLEET_API_KEY", KEY)
    return install


def invoke(gateway: GatewayStandIn, *words: str, code: int = 0) -> Result:
    ended = CliRunner().invoke(app, [*words, "--url", gateway.url])
    assert ended.exit_code == code, ended.output
    return ended


def test_the_microphone_is_heard_until_ctrl_c_and_its_tail_is_told(
    gateway: GatewayStandIn, with_devices: Callable[..., StandInLibrary]
) -> None:
    library = with_devices("input")
    assert invoke(gateway, "transcribe", "--mic", "--stream", "--rate", "8000").stdout == "hello one.\ntwo three\n"
    assert gateway.audio == b"".join(bytes([number]) * 320 for number in range(FRAMES))
    assert library.stopped == 1


def test_speech_is_played_as_it_comes(gateway: GatewayStandIn, with_devices: Callable[..., StandInLibrary]) -> None:
    library = with_devices("output")
    invoke(gateway, "speak", "hello", "--stream")
    assert (library.played, library.played_hz, library.stopped) == (SAMPLES, RATE_HZ, 1)
    assert gateway.fields["stream"] == "True"


def test_without_a_device_there_is_nothing_to_hear(
    gateway: GatewayStandIn, with_devices: Callable[..., StandInLibrary], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_devices()
    assert "no audio device for output; --output FILE" in invoke(gateway, "speak", "hi", "--stream", code=2).stderr
    assert "no audio device for input" in invoke(gateway, "transcribe", "--mic", code=2).stderr
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert "pip install 'voxfleet[audio]'" in invoke(gateway, "speak", "hi", "--play", "-o", "-", code=2).stderr
