"""A lane's child that serves sessions without a model: the channel and the messages are real, the rest is counted.

    python session_stand_in.py '{"load": ["abort", ""]}' --lane-dir DIR

A turn's text is the number of its samples (of a file, of its bytes), and its delta is the whole text. A text to speak
is spoken as one sample for each of its characters, 100 at a time, within the room that was granted; it may name a
behaviour instead:

    die             the process ends by SIGABRT
    grow:MIB        takes memory and goes on
    flood:BYTES     speaks this much, whatever room there is
    silent          says nothing for ever, and the session is never ended
    refuse          the session ends as ContractViolation
    mute            from now on the process answers nothing at all
    foreign         tells something of a session that nobody opened
    strange         answers as if there were a batch

The key `load` of the first argument lists what each load does, the last for all that follow; `hear` what hearing does:

    load: abort | refuse | hang         hear: deaf (takes nothing from its channel any more)

It appends a letter to DIR/loads for each load.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from voxfleet_agent.lane_protocol.channel import LENGTH, REQUEST, LaneRequest, frame
from voxfleet_agent.lane_protocol.messages import BatchDone, Load, Loaded, Message, WorkerRefusal
from voxfleet_agent.lane_protocol.session_messages import (
    AudioTaken,
    CancelSession,
    ClearTurn,
    CommitTurn,
    EndSession,
    FileBytes,
    GrantRoom,
    HearAudio,
    OpenFile,
    OpenHearing,
    OpenSpeaking,
    SessionEnded,
    SessionOpened,
    SpeechStarted,
    SpokenAudio,
    TextDelta,
    TurnCommitted,
    TurnDone,
)
from voxfleet_api.failures import FailureClass

RATE_HZ = 16_000
CHUNK_SAMPLES = 100
WINDOW_BYTES = 2**20
_kept: list[bytearray] = []


class Hearing:
    def __init__(self, sample_bytes: int = 2) -> None:
        self.sample_bytes = sample_bytes
        self.samples = 0
        self.turn = 0
        self.taken_bytes = 0


class Speaking:
    def __init__(self, samples: int, room: int) -> None:
        self.samples = samples
        self.room = room


class StandIn:
    def __init__(self, behaviours: dict[str, list[str]], folder: Path) -> None:
        self._behaviours = behaviours
        self._folder = folder
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._hearing: dict[int, Hearing] = {}
        self._speaking: dict[int, Speaking] = {}
        self._mute = False

    def run(self) -> None:
        with os.fdopen(0, "rb") as requests:
            while len(prefix := requests.read(LENGTH.size)) == LENGTH.size:
                (length_bytes,) = LENGTH.unpack(prefix)
                self._take(REQUEST.validate_json(requests.read(length_bytes)))

    def _send(self, message: Message) -> None:
        if not self._mute:
            self._out.write(frame(message))
            self._out.flush()

    def _take(self, request: LaneRequest) -> None:
        match request:
            case Load():
                self._load(request)
            case OpenHearing():
                self._hearing[request.session] = Hearing()
                self._send(SessionOpened(session=request.session, sample_rate_hz=RATE_HZ, window_bytes=WINDOW_BYTES))
            case HearAudio() if "deaf" in self._behaviours.get("hear", []):
                threading.Event().wait()
            case HearAudio():
                self._hear(request.session, request.pcm)
            case OpenFile():
                self._hearing[request.session] = Hearing(sample_bytes=1)
                self._send(SessionOpened(session=request.session, sample_rate_hz=RATE_HZ, window_bytes=WINDOW_BYTES))
            case FileBytes():
                self._hear(request.session, request.content)
            case CommitTurn():
                self._end_turn(request.session)
            case ClearTurn():
                self._hearing[request.session].samples = 0
            case OpenSpeaking():
                self._open_speaking(request)
            case GrantRoom() if request.session in self._speaking:
                self._speaking[request.session].room += request.samples
                self._speak(request.session)
            case EndSession() if request.session in self._hearing:
                if self._hearing[request.session].samples:
                    self._end_turn(request.session)
                self._end(request.session)
            case CancelSession() if request.session in self._hearing or request.session in self._speaking:
                self._end(request.session)
            case _:
                pass

    def _load(self, request: Load) -> None:
        loads = self._folder / "loads"
        number = len(loads.read_text()) if loads.exists() else 0
        with loads.open("a") as file:
            file.write("x")
        if request.sessions is not None:
            (self._folder / "limits").write_text(request.sessions.model_dump_json())
        behaviours = self._behaviours.get("load", [""])
        behaviour = behaviours[min(number, len(behaviours) - 1)]
        if behaviour == "abort":
            os.kill(os.getpid(), signal.SIGABRT)
        if behaviour == "hang":
            threading.Event().wait()
        if behaviour == "refuse":
            self._send(WorkerRefusal(failure_class=FailureClass.MODEL_UNAVAILABLE, message="no such weights"))
            return
        self._send(
            Loaded(
                sample_rate_hz=RATE_HZ,
                family="stand-in",
                batches=False,
                parameters=7,
                dtype="float32",
                ring_bytes=1000,
                seed=1,
                blas="none",
                warm_up_milliseconds=5,
            )
        )

    def _hear(self, session: int, audio: bytes) -> None:
        hearing = self._hearing.get(session)
        if hearing is not None:
            if not hearing.samples:
                self._send(SpeechStarted(session=session, turn=hearing.turn, audio_milliseconds=0))
            hearing.samples += len(audio) // hearing.sample_bytes
            hearing.taken_bytes += len(audio)
            self._send(AudioTaken(session=session, total_bytes=hearing.taken_bytes))

    def _end_turn(self, session: int) -> None:
        hearing = self._hearing[session]
        text = str(hearing.samples)
        self._send(TurnCommitted(session=session, turn=hearing.turn))
        self._send(TextDelta(session=session, turn=hearing.turn, text=text))
        self._send(TurnDone(session=session, turn=hearing.turn, text=text))
        hearing.samples, hearing.turn = 0, hearing.turn + 1

    def _open_speaking(self, request: OpenSpeaking) -> None:
        behaviour, _, argument = request.text.partition(":")
        session = request.session
        if behaviour == "refuse":
            self._send(
                SessionEnded(session=session, failure_class=FailureClass.CONTRACT_VIOLATION, reason="no such voice")
            )
            return
        self._send(SessionOpened(session=session, sample_rate_hz=RATE_HZ))
        self._speaking[session] = Speaking(len(request.text), request.room_samples)
        match behaviour:
            case "die":
                os.kill(os.getpid(), signal.SIGABRT)
            case "grow":
                _kept.append(bytearray(os.urandom(1) * (int(argument) * 2**20)))
            case "flood":
                for _ in range(int(argument) // 200):
                    self._send(SpokenAudio(session=session, pcm=bytes(200)))
            case "silent":
                del self._speaking[session]
            case "mute":
                self._mute = True
            case "foreign":
                self._send(TextDelta(session=session + 1000, turn=0, text="not yours"))
                self._speak(session)
            case "strange":
                self._send(BatchDone(number=0, footprint_bytes=0))
                time.sleep(60)
            case _:
                self._speak(session)

    def _speak(self, session: int) -> None:
        speaking = self._speaking[session]
        while (samples := min(speaking.samples, speaking.room, CHUNK_SAMPLES)) > 0:
            self._send(SpokenAudio(session=session, pcm=bytes(2 * samples)))
            speaking.samples -= samples
            speaking.room -= samples
        if speaking.samples == 0:
            self._end(session)

    def _end(self, session: int) -> None:
        self._hearing.pop(session, None)
        self._speaking.pop(session, None)
        self._send(SessionEnded(session=session))


if __name__ == "__main__":
    StandIn(json.loads(sys.argv[1]), Path(sys.argv[sys.argv.index("--lane-dir") + 1])).run()
